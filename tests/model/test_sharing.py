"""A history read once: what follows says, and learns, what it would behind a copy of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from audition.model.sampling import sample
from audition.model.sharing import CannotShare, Past, follow, read, sharing
from models import KINDS, ROOM, WORDS, _one_thread, ids, made

pytestmark = pytest.mark.usefixtures(_one_thread.__name__)

CLOSE = 5e-6
"""Relative; single precision, sums in another order."""

HISTORIES = ids(2, 20, 3)
CONTINUATIONS = ids(3, 7, 5, 11, 4, 8)
OF = (0, 0, 0, 1, 1)


def behind_its_own(model: PreTrainedModel, texts: Sequence[Tensor], of: Sequence[int]) -> Tensor:
    """Logits behind each token, every continuation behind a copy of its history."""
    return torch.cat(
        [
            model(torch.cat((HISTORIES[one], text))[None]).logits[0, len(HISTORIES[one]) :]
            for text, one in zip(texts, of, strict=True)
        ]
    )


def cached(model: PreTrainedModel, texts: Sequence[Tensor], of: Sequence[int]) -> Tensor:
    """The same over a cache of the history, through which no gradient flows."""
    found: list[Tensor] = []
    for text, one in zip(texts, of, strict=True):
        with torch.no_grad():
            cache = model(HISTORIES[one][None], past_key_values=DynamicCache(), use_cache=True)
        seen = torch.ones(1, len(HISTORIES[one]) + len(text))
        out = model(text[None], past_key_values=cache.past_key_values, attention_mask=seen)
        found.append(out.logits[0])
    return torch.cat(found)


def gradients(model: PreTrainedModel, logits: Tensor) -> dict[str, Tensor]:
    """Of a sum of logits in which each has a weight of its own."""
    weight = torch.randn(logits.shape, generator=torch.Generator().manual_seed(4))
    model.zero_grad()
    (logits * weight).sum().backward()
    return {
        name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None
    }


def apart(one: Tensor, other: Tensor) -> float:
    return ((one - other).norm() / other.norm().clamp(min=1e-12)).item()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("through", [True, False], ids=["text", "state"])
def test_what_follows_a_shared_history_is_what_follows_a_copy_of_it(
    kind: str, through: bool
) -> None:
    model = made(kind)
    alone: Callable[..., Tensor] = behind_its_own if through else cached
    expected = alone(model, CONTINUATIONS, OF)
    learned = gradients(model, expected)
    sharing(model)
    with torch.set_grad_enabled(through):
        past = read(model, HISTORIES)
    found = follow(model, past, CONTINUATIONS, OF)
    assert apart(found, expected) < CLOSE
    for name, gradient in gradients(model, found).items():
        assert apart(gradient, learned[name]) < CLOSE, name


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_shares_says_the_same_to_everybody_else(kind: str) -> None:
    model = made(kind)
    before = behind_its_own(model, CONTINUATIONS, OF)
    assert torch.equal(behind_its_own(sharing(model), CONTINUATIONS, OF), before)
    assert sharing(model) is model


@pytest.mark.parametrize("kind", KINDS)
def test_a_history_may_be_read_in_parts(kind: str) -> None:
    model = sharing(made(kind))
    with torch.no_grad():
        whole = read(model, HISTORIES)
        part = read(model, [HISTORIES[0][:9], HISTORIES[1][:1]])
        part = read(model, [HISTORIES[0][9:], HISTORIES[1][1:]], part)
    assert part.lengths == whole.lengths
    for some, others in zip(part.layers, whole.layers, strict=True):
        for pair, other in zip(some, others, strict=True):
            assert all(apart(one, two) < CLOSE for one, two in zip(pair, other, strict=True))


@settings(max_examples=25)
@given(
    groups=st.lists(
        st.tuples(st.integers(1, 15), st.lists(st.integers(1, 9), min_size=1, max_size=4)),
        min_size=1,
        max_size=4,
    ),
    kind=st.sampled_from(["llama", "gemma3"]),
)
def test_whatever_is_packed_together_stands_alone(
    groups: list[tuple[int, list[int]]], kind: str
) -> None:
    """Any number of histories and continuations of any length, in one row."""
    model = sharing(made(kind))
    histories = ids(5, *(length for length, _ in groups))
    texts = ids(6, *(length for _, lengths in groups for length in lengths))
    of = [number for number, (_, lengths) in enumerate(groups) for _ in lengths]
    with torch.no_grad():
        together = follow(model, read(model, histories), texts, of)
        parts = together.split([len(text) for text in texts])
        for part, text, number in zip(parts, texts, of, strict=True):
            alone = model(torch.cat((histories[number], text))[None]).logits[0]
            assert apart(part, alone[len(histories[number]) :]) < CLOSE


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_sampled_has_the_log_probabilities_that_are_told(kind: str) -> None:
    model, history = sharing(made(kind)), HISTORIES[0]
    with torch.no_grad():
        past = read(model, [history[:-1]])
        ends = set(range(5))
        written = sample(model, past, history[-1:], [0] * 5, chances(5, 30), ends=ends)
        assert len({len(one.ids) for one in written}) > 1
        for one in written:
            assert one.ended == (int(one.ids[-1]) in ends)
            assert not ends & set(one.ids[:-1].tolist())
            logits = model(torch.cat((history, one.ids))[None]).logits[0, len(history) - 1 : -1]
            logps = logits.log_softmax(-1).gather(1, one.ids[:, None])[:, 0]
            assert (logps - one.logps).abs().max() < 1e-5


def chances(count: int, most: int) -> Tensor:
    return torch.rand(count, most, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", KINDS)
def test_runs_sampled_together_say_what_each_says_alone(kind: str) -> None:
    """Continuations of several histories in one batch, one of which has little room left."""
    model = sharing(made(kind))
    histories = [*HISTORIES, ids(3, ROOM - 3)[0]]
    of, chance, ends = [0, 0, 1, 2], chances(4, 12), set(range(3))
    with torch.no_grad():
        past = read(model, [one[:-1] for one in histories])
        last = torch.stack([one[-1] for one in histories])
        together = sample(model, past, last, of, chance, ends=ends)
        for number, one in zip(of, range(4), strict=True):
            alone = sample(
                model,
                read(model, [histories[number][:-1]]),
                last[number : number + 1],
                [0],
                chance[one : one + 1],
                ends=ends,
            )[0]
            assert together[one].ids.tolist() == alone.ids.tolist()
            assert (together[one].logps - alone.logps).abs().max() < 1e-5
    assert len(together[3].ids) <= 4


def test_without_temperature_the_likeliest_token_is_taken() -> None:
    model, history = sharing(made()), HISTORIES[0]
    with torch.no_grad():
        past = read(model, [history[:-1]])
        one = sample(model, past, history[-1:], [0], chances(1, 3), ends=(), temperature=0)[0]
        spread = model(history[None]).logits[0, -1].log_softmax(-1)
    assert int(one.ids[0]) == int(spread.argmax())
    assert float(one.logps[0]) == pytest.approx(float(spread.max()), abs=1e-5)


def test_tokens_are_sampled_as_often_as_they_are_likely() -> None:
    model, history = sharing(made()), HISTORIES[1]
    with torch.no_grad():
        past = read(model, [history[:-1]])
        expected = (model(history[None]).logits[0, -1] / 2).softmax(-1)
        last, each = history[-1:], [0] * 4000
        drawn = sample(model, past, last, each, chances(4000, 1), ends=(), temperature=2.0)
    counts = torch.bincount(torch.cat([one.ids for one in drawn]), minlength=WORDS) / 4000
    assert (counts - expected).abs().sum() / 2 < 0.06  # total variation; of chance about .04


def test_gradients_survive_checkpointing() -> None:
    model = made()
    learned = gradients(model, behind_its_own(model, CONTINUATIONS, OF))
    sharing(model).train().activation_checkpointing_enable()
    found = gradients(model, follow(model, read(model, HISTORIES), CONTINUATIONS, OF))
    assert found.keys() == learned.keys()
    assert all(apart(one, learned[name]) < CLOSE for name, one in found.items())


def test_half_precision_is_no_worse_than_it_is_alone() -> None:
    exact = behind_its_own(made(), CONTINUATIONS, OF).detach()
    half = made().to(torch.bfloat16)
    alone = apart(behind_its_own(half, CONTINUATIONS, OF).float(), exact)
    with torch.no_grad():
        shared = follow(sharing(half), read(half, HISTORIES), CONTINUATIONS, OF).float()
    assert apart(shared, exact) < 1.5 * alone


def test_what_does_not_fit_is_refused() -> None:
    model = sharing(made())
    with torch.no_grad():
        past = read(model, HISTORIES)
        long = ids(1, ROOM)[0]
        with pytest.raises(CannotShare, match=f"{ROOM + 20} tokens, and the model has positions"):
            follow(model, past, [long], [0])
        with pytest.raises(CannotShare, match="no tokens"):
            follow(model, past, [long[:0]], [0])
        with pytest.raises(CannotShare, match="history 2 of 2"):
            follow(model, past, [long[:1]], [2])
        with pytest.raises(CannotShare, match="stand together"):
            follow(model, past, [long[:1]] * 3, [0, 1, 0])
        with pytest.raises(CannotShare, match="1 texts behind 2"):
            read(model, [long[:1]], past)
        with pytest.raises(CannotShare, match="at least one continuation"):
            sample(model, past, long[:1], [0], chances(0, 2), ends=())
    dropping = made("gpt2")
    for layer in dropping.transformer.h:  # type: ignore[union-attr]
        layer.attn.attn_dropout.p = 0.1
    with pytest.raises(CannotShare, match="attention dropout"):
        read(sharing(dropping).train(), HISTORIES)


def test_an_empty_past_is_a_beginning() -> None:
    model = sharing(made())
    with torch.no_grad():
        found = follow(model, None, [CONTINUATIONS[0]], [0])
        assert apart(found, model(CONTINUATIONS[0][None]).logits[0]) < CLOSE
        assert read(model, [HISTORIES[0]], Past((0,), ())).lengths == (20,)
