"""Policy optimisation by groups: TRL's loss and gradients, and none beyond the step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

from audition.learn import LessonError
from audition.learn.step_grpo import Group, Objective, Step, accumulate
from audition.model.sharing import sharing
from models import ROOM, WORDS, _one_thread, ids, made

pytestmark = pytest.mark.usefixtures(_one_thread.__name__)

HISTORIES = ids(2, 10, 6)
LENGTHS = ((7, 5, 3, 7), (1, 6, 7, 2))
MOST = 20
CLOSE = 1e-5
NORMALISERS = ("grpo", "dr_grpo", "luspo", "bnpo", "dapo")
CERTIFIABLE = ("grpo", "dr_grpo", "luspo")


def groups(seed: int = 0, *, lengths: Sequence[Sequence[int]] = LENGTHS) -> list[Group]:
    """Two moments; the second one's candidates and what is said of them depend on the seed."""
    model, found = made(), list[Group]()
    for number, (history, some) in enumerate(zip(HISTORIES, lengths, strict=True)):
        chance = torch.Generator().manual_seed(7 + number + seed * number)
        texts = ids(11 + number + seed * number, *some)
        logps = [told(model, history, text) for text in texts]

        def near(logps: list[Tensor], by: float, chance: Any = chance) -> tuple[Tensor, ...]:
            noise = [torch.randn(one.shape, generator=chance) for one in logps]
            pairs = zip(logps, noise, strict=True)
            return tuple((one + by * other).clamp(max=0) for one, other in pairs)

        sampled, reference = near(logps, 0.15), near(logps, 0.2)
        approval = tuple(torch.rand(len(some), generator=chance).tolist())
        found.append(Group(history, texts, sampled, approval, reference=reference))
    return found


def told(model: PreTrainedModel, history: Tensor, text: Tensor) -> Tensor:
    """Log-probability of each token of a text behind a history, the usual way."""
    logits = model(torch.cat((history, text))[None]).logits[0, len(history) - 1 : -1]
    return logits.detach().log_softmax(-1).gather(1, text[:, None])[:, 0]


def learned(model: PreTrainedModel) -> dict[str, Tensor]:
    """The gradient, which is taken away."""
    found = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
    model.zero_grad()
    return found


def apart(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    assert found.keys() == expected.keys()
    return max(
        ((found[name] - one).norm() / one.norm()).item()
        for name, one in expected.items()
        if one.norm()
    )


def trl(tmp_path: Path, some: Sequence[Group], **options: Any) -> tuple[float, dict[str, Tensor]]:
    """The loss that TRL's trainer finds on the same batch, and its gradient."""
    beta = options.pop("beta")
    config = GRPOConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=8,
        num_generations=4,
        max_completion_length=MOST,
        report_to=[],
        use_cpu=True,
        bf16=False,
        **options,
    )
    words = Tokenizer(WordLevel({f"w{one}": one for one in range(WORDS)}, unk_token="w0"))
    trainer = GRPOTrainer(
        model=made(),
        reward_funcs=lambda **given: [0.0] * len(given["prompts"]),
        args=config,
        train_dataset=Dataset.from_dict({"prompt": ["w5"] * 8}),
        processing_class=PreTrainedTokenizerFast(
            tokenizer_object=words, pad_token="w0", eos_token="w1"
        ),
    )
    trainer.beta, trainer.current_gradient_accumulation_steps = beta, 1
    rows = [(group, number) for group in some for number in range(len(group.candidates))]
    longest = max(len(group.history) for group in some)
    mask = [[1] * len(group.candidates[number]) for group, number in rows]

    def padded(parts: Sequence[Any]) -> Tensor:
        given = [torch.as_tensor(part) for part in parts]
        return torch.nn.utils.rnn.pad_sequence(given, batch_first=True)

    before = [longest - len(group.history) for group, _ in rows]
    inputs = {
        "prompt_ids": torch.stack(
            [
                torch.cat((torch.zeros(gap, dtype=torch.long), group.history))
                for gap, (group, _) in zip(before, rows, strict=True)
            ]
        ),
        "prompt_mask": torch.stack([(torch.arange(longest) >= gap).long() for gap in before]),
        "completion_ids": padded([group.candidates[number] for group, number in rows]),
        "completion_mask": padded(mask),
        "advantages": torch.cat([group.advantages("group") for group in some]),
        "old_per_token_logps": padded([group.sampled[number] for group, number in rows]),
        "ref_per_token_logps": padded(
            [group.reference[number] for group, number in rows if group.reference]
        ),
        "num_items_in_batch": padded(mask).sum(),
    }
    loss = trainer._compute_loss(trainer.model, inputs)
    loss.backward()
    return loss.item(), learned(trainer.model)


@pytest.mark.parametrize("ratio", ["token", "sequence"])
@pytest.mark.parametrize("normaliser", NORMALISERS)
@pytest.mark.filterwarnings("ignore")
def test_text_is_trl_s_loss_with_trl_s_gradient(
    normaliser: str, ratio: str, tmp_path: Path
) -> None:
    some = groups()
    for beta, delta in ((0.0, None), (0.04, 1.3)):
        loss, gradient = trl(
            tmp_path,
            some,
            loss_type=normaliser,
            importance_sampling_level=ratio,
            beta=beta,
            delta=delta,
            epsilon=0.02,
            epsilon_high=0.03,
        )
        objective = Objective(
            normaliser=normaliser,  # type: ignore[arg-type]
            ratio=ratio,  # type: ignore[arg-type]
            beta=beta,
            delta=delta,
            epsilon_low=0.02,
            epsilon_high=0.03,
            most=MOST,
        )
        model = sharing(made())
        step = accumulate(model, some, objective)
        assert step.loss == pytest.approx(loss, rel=CLOSE)
        assert apart(learned(model), gradient) < CLOSE
        assert step.clipped > 0  # there was something to clip
        assert (step.kl > 0) == (beta > 0)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of peft's own calls
def test_adapters_learn_what_they_would_the_usual_way() -> None:
    """LoRA, whose first gradient is that of one of its two factors."""
    some, objective = groups(), Objective(normaliser="grpo")
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"], lora_dropout=0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = get_peft_model(made(), config)
    for group in some:
        advantage = group.advantages("group")
        for number, text in enumerate(group.candidates):
            whole = torch.cat((group.history, text))
            logits = model(whole[None]).logits[0, len(group.history) - 1 : -1]
            logp = logits.log_softmax(-1).gather(1, text[:, None])[:, 0]
            assert group.sampled is not None
            ratio = (logp - group.sampled[number]).exp()
            clipped = torch.minimum(
                ratio * advantage[number], ratio.clamp(0.8, 1.2) * advantage[number]
            )
            (-clipped.mean() / 8).backward()
    expected = learned(model)
    sharing(model.get_base_model())
    accumulate(model, some, objective)
    found = learned(model)
    assert all("lora" in name for name in found)
    assert apart(found, expected) < CLOSE


def test_state_is_a_cache_cut_off_before_the_step() -> None:
    """Against a candidate at a time over a detached cache, its loss written out.

    In exact arithmetic they are one; in single precision ours is the nearer to that.
    """
    exact, expected = cut_off(torch.float64)
    assert apart(exact, expected) < 1e-12
    found, usual = cut_off(torch.float32)
    assert off(found, exact) < 1e-6
    assert off(found, exact) < off(usual, exact)


def cut_off(dtype: torch.dtype) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Our gradient in mode `state`, and that of the usual way over a cache."""
    some, objective = groups(), Objective(boundary="state", normaliser="grpo")
    model = made().to(dtype)
    for group in some:
        advantage = group.advantages("group")
        for number, text in enumerate(group.candidates):
            with torch.no_grad():
                cache = model(
                    group.history[:-1][None], past_key_values=DynamicCache()
                ).past_key_values
            row = torch.cat((group.history[-1:], text[:-1]))
            seen = torch.ones(1, len(group.history) - 1 + len(row))
            logits = model(row[None], past_key_values=cache, attention_mask=seen).logits[0]
            logp = logits.log_softmax(-1).gather(1, text[:, None])[:, 0]
            assert group.sampled is not None
            ratio = (logp - group.sampled[number]).exp()
            clipped = torch.minimum(
                ratio * advantage[number], ratio.clamp(0.8, 1.2) * advantage[number]
            )
            (-clipped.mean() / 8).backward()
    expected = learned(model)
    accumulate(sharing(model), some, objective)
    return learned(model), expected


def off(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """How far a gradient as a whole is from another, relative to it."""
    gap = sum(float((found[name] - one).norm()) ** 2 for name, one in expected.items())
    return (gap / sum(float(one.norm()) ** 2 for one in expected.values())) ** 0.5


@pytest.mark.parametrize("boundary", ["text", "state"])
def test_nothing_before_the_boundary_takes_a_gradient_in_state(boundary: str) -> None:
    """A word of the history alone is learned by reading the history, or not at all."""
    group = groups()[0]
    only = set(group.history[:-1].tolist())
    only -= {int(one) for text in (*group.candidates, group.history[-1:]) for one in text}
    assert only
    model = sharing(made())
    accumulate(model, [group], Objective(boundary=boundary))  # type: ignore[arg-type]
    gradient = learned(model)["model.embed_tokens.weight"]
    assert all(bool(gradient[word].any()) == (boundary == "text") for word in only)


@pytest.mark.parametrize("boundary", ["text", "state"])
@pytest.mark.parametrize("normaliser", CERTIFIABLE)
def test_what_a_moment_contributes_is_the_same_whatever_follows_it(
    normaliser: str, boundary: str
) -> None:
    """To the bit, though the later steps and all that is said of them differ."""

    def contributed(some: Sequence[Group]) -> list[dict[str, Tensor]]:
        model, found = sharing(made()), list[dict[str, Tensor]]()

        def backward(loss: Tensor) -> None:
            loss.backward()
            found.append(learned(model))

        objective = Objective(normaliser=normaliser, boundary=boundary, beta=0.1)  # type: ignore[arg-type]
        assert objective.certifiable
        accumulate(model, some, objective, backward=backward)
        return found

    one, other = contributed(groups()), contributed(groups(1, lengths=(LENGTHS[0], (9, 2, 8, 8))))
    assert all(torch.equal(gradient, other[0][name]) for name, gradient in one[0].items())
    assert any(not torch.equal(gradient, other[1][name]) for name, gradient in one[1].items())


@pytest.mark.parametrize("normaliser", ["bnpo", "dapo"])
def test_where_tokens_of_others_divide_it_it_cannot_be_certified(normaliser: str) -> None:
    assert not Objective(normaliser=normaliser).certifiable  # type: ignore[arg-type]


def test_a_ranking_counts_as_even_approvals() -> None:
    group = groups()[0]
    ranked = Group(group.history, group.candidates, group.sampled, ranking=(2, 0, 3, 1))
    rated = Group(group.history, group.candidates, group.sampled, approval=(2 / 3, 0, 1, 1 / 3))
    assert torch.allclose(ranked.advantages("none"), rated.advantages("none"))


def test_where_all_are_approved_of_alike_nothing_is_learned_and_that_is_counted() -> None:
    group = groups()[0]
    even = Group(group.history, group.candidates, group.sampled, approval=(0.7,) * 4)
    model = sharing(made())
    step = accumulate(model, [even], Objective())
    assert (step.even, step.moments, step.loss) == (1, 0, 0)
    assert not learned(model)
    alone = accumulate(model, [group], Objective())
    learned(model)
    both = accumulate(model, [group, even], Objective())  # which the others are still divided by
    assert both == Step(alone.loss / 2, 1, 1, alone.clipped, alone.kl)


def test_who_sampled_the_ids_is_told_from_who_did_not() -> None:
    group = groups()[0]
    model = sharing(made())
    accumulate(model, [group], Objective(), produced=True)
    other = tuple(one - 2 for one in group.sampled)
    with pytest.raises(LessonError, match=r"moment 0: .* nats apart: it did not produce"):
        accumulate(
            model,
            [Group(group.history, group.candidates, other, group.approval)],
            Objective(),
            produced=True,
        )


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"history": torch.zeros(0, dtype=torch.long)}, "without a history"),
        ({"candidates": ids(1, 3), "sampled": (torch.zeros(3),)}, "group of one"),
        ({"candidates": ids(1, 3, 0, 2, 2)}, "an empty step"),
        ({"sampled": tuple(torch.zeros(one) for one in (7, 5, 3, 6))}, "sampled: one log-prob"),
        ({"sampled": tuple(torch.full((one,), torch.nan) for one in LENGTHS[0])}, "finite"),
        ({"sampled": tuple(torch.full((one,), -torch.inf) for one in LENGTHS[0])}, "finite"),
        ({"sampled": tuple(torch.full((one,), 0.5) for one in LENGTHS[0])}, "at most 0"),
        ({"reference": tuple(torch.full((one,), torch.nan) for one in LENGTHS[0])}, "reference"),
        ({"approval": None}, "approvals or a ranking"),
        ({"ranking": (0, 1, 2, 3)}, "not both"),
        ({"approval": (0.1, 0.2, 0.3)}, "4 candidates need as many approvals"),
        ({"approval": (0.1, 0.2, 0.3, float("nan"))}, "4 candidates need as many approvals"),
        ({"approval": None, "ranking": (0, 0, 1, 2)}, "each of 4 candidates once"),
    ],
)
def test_what_is_no_group_is_refused(changed: dict[str, Any], says: str) -> None:
    group = groups()[0]
    fields: dict[str, Any] = {
        "history": group.history,
        "candidates": group.candidates,
        "sampled": group.sampled,
        "approval": group.approval,
    }
    with pytest.raises(LessonError, match=says):
        Group(**fields | changed)


def test_what_the_model_cannot_learn_is_refused_with_its_moment() -> None:
    one, other = groups()
    model = sharing(made())
    long = ids(1, ROOM)[0]
    far = Group(long, other.candidates, other.sampled, other.approval)
    with pytest.raises(LessonError, match=f"moment 1: .* the model has positions for {ROOM}"):
        accumulate(model, [one, far], Objective())
    texts = (torch.full((7,), WORDS), *one.candidates[1:])
    strange = Group(one.history, texts, one.sampled, one.approval)
    with pytest.raises(LessonError, match=f"moment 0: token {WORDS} of a model that knows {WORDS}"):
        accumulate(model, [strange], Objective())
    bare = Group(one.history, one.candidates, one.sampled, one.approval)
    with pytest.raises(LessonError, match="a reference that the group does not have"):
        accumulate(model, [bare], Objective(beta=0.1))
    with pytest.raises(LessonError, match="no moments"):
        accumulate(model, [], Objective())
    broken = sharing(made())
    with torch.no_grad():
        broken.model.norm.weight.fill_(torch.nan)  # type: ignore[union-attr]
    with pytest.raises(LessonError, match="moment 0: a loss of nan"):
        accumulate(broken, [one], Objective())
