"""A small language model: what it samples is what it reads back, and each step learns alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audition.learn import Boundary, LessonError, Lessons, Outcomes, Plan, PlanError
from audition.learn.probe import probe
from audition.learn.probe_update import probe_update
from audition.learn.token_policy import Settings, TokenPolicy
from audition.learn.vocabulary import END, PAD, Vocabulary

TOKENS, WINDOW, PROMPT, ROOM, LANES, STEPS = 7, 9, 5, 4, 3, 2
MODES = ("text", "state")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def policy(horizon: int | None = 1, *, seed: int = 0, **changes: Any) -> TokenPolicy:
    fields: dict[str, Any] = {"width": 8, "layers": 2, "heads": 2, "parts": 1, "epochs": 1}
    settings = Settings(**(fields | changes))
    made = TokenPolicy(TOKENS, WINDOW, settings, Boundary(horizon), seed=seed)
    with torch.no_grad():  # fresh weights are small: nothing would depend on much
        for parameter in made.model.parameters():
            parameter *= 4
    return made


def rows(subject: TokenPolicy | None = None, seed: int = 0) -> dict[str, Any]:
    """Two steps a lane, prompts of several lengths, spans as a policy writes them."""
    rng = np.random.default_rng(seed)
    count = LANES * STEPS
    prompt = np.full((count, PROMPT), PAD, np.uint8)
    for row, length in enumerate(rng.integers(2, PROMPT + 1, count)):
        prompt[row, :length] = rng.integers(2, TOKENS, length)
    limit = np.tile(np.array([ROOM, 2], np.uint8), LANES)
    tokens = np.full((count, ROOM), PAD, np.uint8)
    logp = np.zeros((count, ROOM), np.float32)
    for step, most in enumerate((ROOM, 2)):
        written = (subject or policy()).write(prompt[step::STEPS], most, rng)
        tokens[step::STEPS, :most], logp[step::STEPS, :most] = written
    return {
        "context.prompt": prompt,
        "context.limit": limit,
        "context.t": np.tile(np.arange(STEPS), LANES).astype(np.uint8),
        "span.tokens": tokens,
        "span.logp": logp,
        "approval": rng.random(count),
        "weight": 1 / rng.uniform(0.2, 1, count),
        "moment": np.arange(count),
    }


def lessons(arrays: dict[str, Any] | None = None, **changes: Any) -> Lessons:
    found = (arrays or rows()) | changes
    named = {"context": ("prompt", "limit", "t"), "span": ("tokens", "logp")}
    parts = {part: {one: found[f"{part}.{one}"] for one in ones} for part, ones in named.items()}
    signal = "demonstration" if found["approval"] is None else "approval"
    return Lessons(
        signal=signal,
        auditor="judge",
        **parts,
        weight_L=found["weight"],
        moment_L=found["moment"],
        population=2 * len(found["moment"]),
        approval_L=found["approval"],
    )


def tensors(arrays: dict[str, Any] | None = None) -> dict[str, torch.Tensor]:
    return {
        name: torch.tensor(array.astype(np.int64) if array.dtype.kind in "iu" else array)
        for name, array in (arrays or rows()).items()
    }


# --------------------------------------------------------------------------------- sampling


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(3))
def test_what_was_sampled_reads_back_with_the_same_probability(mode: str, seed: int) -> None:
    subject = policy(mode=mode)
    held = rows(subject, seed)
    logp, _, _ = subject._read(tensors(held))
    own = held["span.tokens"] != PAD
    np.testing.assert_allclose(logp.detach().numpy()[own], held["span.logp"][own], atol=1e-4)
    assert (held["span.logp"][~own] == 0).all()


def test_tokens_come_as_often_as_the_model_says() -> None:
    subject, count = policy(), 4000
    prompt = np.tile(np.array([2, 3], np.uint8), (count, 1))
    found = subject.write(prompt, 1, np.random.default_rng(0))
    drawn, logp = found.tokens_N_S[:, 0], found.logp_N_S[:, 0]
    assert (drawn != PAD).all()
    chances = {int(token): np.exp(logp[drawn == token][0]) for token in set(drawn)}
    assert len(chances) > 2
    for token, chance in chances.items():
        assert abs((drawn == token).mean() - chance) < 5 * np.sqrt(chance / count)


def test_nothing_stands_behind_an_end_and_no_span_is_longer_than_its_limit() -> None:
    found = policy().write(np.full((300, 2), 2, np.uint8), ROOM, np.random.default_rng(0))
    ended = 0
    for span in found.tokens_N_S.tolist():
        own = span[: span.index(END) + 1] if END in span else span
        ended += END in span
        assert PAD not in own and not any(span[len(own) :])
    assert 0 < ended < 300
    assert found.tokens_N_S.shape == (300, ROOM)


def test_how_long_other_prompts_are_does_not_matter() -> None:
    subject, rng = policy(), np.random.default_rng
    short = np.array([[2, 3, 0, 0], [2, 3, 4, 5]], np.uint8)
    alone = subject.write(short[:1, :2], ROOM, rng(0))
    beside = subject.write(short, ROOM, rng(0))
    np.testing.assert_array_equal(alone.tokens_N_S, beside.tokens_N_S[:1])
    np.testing.assert_allclose(alone.logp_N_S, beside.logp_N_S[:1], atol=1e-4)


# -------------------------------------------------------------------------------- the boundary


@pytest.mark.parametrize("mode", MODES)
def test_no_later_row_moves_an_earlier_lesson(mode: str) -> None:
    found = probe(policy(mode=mode), rows(), STEPS)
    assert found.tight, found
    assert found.measured == ("gradient", "difference", "bits")
    assert probe_update(policy(mode=mode), lessons(), STEPS).tight


@pytest.mark.parametrize("mode", MODES)
def test_without_a_boundary_a_later_approval_does(mode: str) -> None:
    leaks = probe(policy(None, mode=mode), rows(), STEPS).leaks
    after = {(leak.found, leak.array) for leak in leaks if leak.source == "after"}
    assert after >= {(found, "approval") for found in ("gradient", "difference", "bits")}
    assert {leak.step for leak in leaks if leak.source == "after"} == {0}
    carried = {leak.array for leak in leaks if leak.source == "before"}
    assert carried == ({"what is carried"} if mode == "state" else set())


@pytest.mark.parametrize("mode", MODES)
def test_the_baseline_is_of_the_prompt_alone(mode: str) -> None:
    subject, held = policy(mode=mode), tensors()
    with torch.no_grad():
        subject.critic.weight += 1
        _, _, before = subject._read(held)
        held["span.tokens"] = torch.where(held["span.tokens"] > END, 2, held["span.tokens"])
        _, _, after = subject._read(held)
    assert torch.equal(before, after) and before.unique().numel() > 1


def test_a_state_gets_no_gradient_and_a_text_does() -> None:
    """Positions before the prompt's last token are read, and not the step's own."""
    for mode, reached in (("text", True), ("state", False)):
        subject, held = policy(mode=mode), tensors()
        length = int((held["context.prompt"] != PAD).sum(1).min())
        positions = subject.model.transformer.wpe.weight
        (gradient,) = torch.autograd.grad(subject.losses(held).sum(), [positions])
        assert bool(gradient[: length - 1].any()) is reached
        assert gradient[length - 1 :].any()


def test_the_baseline_credits_a_step_with_every_reward_to_come_and_the_closed_boundary_not() -> (
    None
):
    held = tensors()
    outcomes = {name: held[name].unflatten(0, (LANES, STEPS)) for name in held if "." in name}
    last = torch.tensor([[False, True]] * LANES)
    for horizon, moved in ((None, True), (1, False)):
        losses = [
            policy(horizon).losses(
                {**outcomes, "reward": torch.tensor([[0.0, later]] * LANES), "last": last}
            )
            for later in (0.0, 1.0)
        ]
        apart = (losses[0] - losses[1])[::STEPS]
        assert bool(apart.any()) is moved


def test_nothing_is_credited_across_the_end_of_an_episode() -> None:
    held = tensors()
    outcomes = {name: held[name].unflatten(0, (LANES, STEPS)) for name in held if "." in name}
    last = torch.ones((LANES, STEPS), dtype=torch.bool)
    losses = [
        policy(None).losses(
            {**outcomes, "reward": torch.tensor([[0.0, later]] * LANES), "last": last}
        )
        for later in (0.0, 1.0)
    ]
    assert not (losses[0] - losses[1])[::STEPS].any()


# ----------------------------------------------------------------------------------- learning


def test_approved_spans_become_likelier_and_disapproved_ones_rarer() -> None:
    subject = policy(rate=3e-3, epochs=2, parts=2)
    prompt = np.tile(np.array([2, 3], np.uint8), (64, 1))
    rng = np.random.default_rng(0)

    def share() -> float:
        return float((subject.write(prompt, 1, np.random.default_rng(9)).tokens_N_S == 5).mean())

    before = share()
    for _ in range(30):
        tokens, logp = subject.write(prompt, 1, rng)
        subject.update(
            Lessons(
                signal="approval",
                auditor="judge",
                context={"prompt": prompt, "limit": np.ones(64, np.uint8)},
                span={"tokens": tokens, "logp": logp},
                weight_L=np.ones(64),
                moment_L=np.arange(64),
                population=64,
                approval_L=(tokens[:, 0] == 5).astype(float),
            ),
            rng,
        )
    assert share() > 0.9 > before


def test_a_demonstration_becomes_likelier() -> None:
    subject, held = policy(rate=3e-3), rows()
    shown = lessons(held, approval=None)
    own = torch.tensor(held["span.tokens"] != PAD)

    def likelihood() -> float:
        with torch.no_grad():
            return float((subject._read(tensors(held))[0] * own).sum())

    before = likelihood()
    for _ in range(10):
        subject.update(shown, np.random.default_rng(0))
    assert likelihood() > before + 1


@pytest.mark.parametrize("mode", MODES)
def test_the_same_lessons_and_draws_give_the_same_weights_to_the_bit(mode: str) -> None:
    one, other = (policy(mode=mode, epochs=2, parts=3) for _ in range(2))
    torch.manual_seed(1)  # the global generator decides nothing
    for subject in (one, other):
        for number in range(3):
            subject.update(lessons(), np.random.default_rng(number))
    assert one.weights() == other.weights()
    assert one.weights() != policy(mode=mode).weights()


def test_making_one_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    policy(seed=5)
    assert torch.equal(before, torch.get_rng_state())


def test_weights_come_back_and_go_on_with_fresh_moments() -> None:
    one, other = policy(), policy(seed=1)
    for subject in (one, other):
        subject.update(lessons(), np.random.default_rng(0))
    other.restore(one.weights())
    assert other.weights() == one.weights()
    third = policy()
    third.restore(one.weights())
    for subject in (other, third):
        subject.update(lessons(), np.random.default_rng(1))
    assert other.weights() == third.weights()


# -------------------------------------------------------------------------------- what is refused


def test_weights_of_another_model_are_refused() -> None:
    with pytest.raises(LessonError, match="not"):
        policy().restore(policy(width=16).weights())
    with pytest.raises(LessonError, match="other layers"):
        policy().restore(policy(layers=1).weights())
    with pytest.raises(LessonError, match="weights of token-policy"):
        policy().restore(b"nothing")


@pytest.mark.parametrize(
    ("name", "place", "value", "why"),
    [
        ("context.prompt", (0, slice(None)), PAD, "a prompt without tokens"),
        ("context.prompt", (0, 0), PAD, "nothing inside it"),
        ("context.limit", 0, 0, "no or more than 9 tokens"),
        ("context.limit", 0, WINDOW, "no or more than 9 tokens"),
        ("span.tokens", (1, slice(None)), 3, "longer than its limit"),
        ("span.tokens", (0, slice(None)), (PAD, 3, PAD, PAD), "nothing inside it"),
    ],
)
def test_rows_that_are_no_steps_are_refused(name: str, place: Any, value: Any, why: str) -> None:
    held = rows()
    held[name][place] = value
    with pytest.raises(LessonError, match=why):
        policy().update(lessons(held), np.random.default_rng(0))


def test_a_prompt_that_leaves_no_room_is_not_answered() -> None:
    with pytest.raises(LessonError, match="more than 9 tokens"):
        policy().write(np.full((1, 7), 2, np.uint8), 3, np.random.default_rng(0))


def test_fewer_lessons_than_minibatches_are_refused() -> None:
    with pytest.raises(LessonError, match="6 lessons for 7 minibatches"):
        policy(parts=7).update(lessons(), np.random.default_rng(0))


def test_outcomes_are_learned_from_only_as_outcomes() -> None:
    held = rows()
    named = {"context": ("prompt", "limit"), "span": ("tokens", "logp")}
    lanes = {
        part: {
            one: held[f"{part}.{one}"].reshape(LANES, STEPS, *held[f"{part}.{one}"].shape[1:])
            for one in ones
        }
        for part, ones in named.items()
    }
    reward = np.array([[0, 1]] * LANES, np.float32)
    outcomes = Outcomes(**lanes, reward_NT=reward, last_NT=np.array([[False, True]] * LANES))
    measures = policy(None).update(outcomes, np.random.default_rng(0))
    assert measures["signal"] == 1
    assert policy(1).update(outcomes, np.random.default_rng(0))["signal"] == 0.5


@pytest.mark.parametrize(
    ("learner", "why"),
    [
        ({"width": 3}, "learner.width"),
        ({"width": 10, "heads": 4}, "10 does not divide into 4 heads"),
        ({"mode": "dream"}, "learner.mode"),
        ({"rate": 0}, "learner.rate"),
        ({"depth": 2}, "learner.depth"),
    ],
)
def test_settings_that_make_no_model_are_refused(learner: Any, why: str) -> None:
    plan = Plan(
        name="p",
        says="x",
        study="s",
        learner=learner,
        signal="approval",
        batches=1,
        leaf=2,
        seeds=(0,),
    )
    with pytest.raises(PlanError, match=why):
        Settings.of(plan)


# --------------------------------------------------------------------------------- vocabulary

WORDS = Vocabulary(("a", "b", "c"))


@given(st.lists(st.sampled_from(WORDS.words), max_size=6))
def test_words_come_back_from_their_tokens(words: list[str]) -> None:
    tokens = [*WORDS.encode(words, len(words)), END, PAD]
    assert WORDS.decode(tokens) == tuple(words)


@given(st.lists(st.integers(0, 9), max_size=6))
def test_tokens_that_are_no_span_are_no_words(tokens: list[int]) -> None:
    words = WORDS.decode(tokens)
    if words is not None:
        ended = [*WORDS.encode(words, len(words)), END]
        assert tokens == ended + [PAD] * (len(tokens) - len(ended))


@pytest.mark.parametrize("words", [("a", "a"), ("",), tuple(map(str, range(255)))])
def test_words_that_make_no_vocabulary_are_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"vocabulary|254"):
        Vocabulary(words)


@pytest.mark.parametrize(("words", "why"), [(("d",), "not in the vocabulary"), ("abc", "room")])
def test_words_that_do_not_fit_are_refused(words: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        WORDS.encode(words, 2)
