"""Sign-off as a gate: a pure function from answers to what may pass."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from audition.gate import (
    GateError,
    build,
    keys,
    keys_asked,
    named,
    person,
    sequential,
    signers,
    spec,
    strictest,
    threshold,
)
from audition.step import Decision, Draw, Failure, Gate, Need, Role, Signature, Verdict, digest_of
from rehearsal import a_moment

MOMENT = a_moment()
DRAW = Draw(stratum="all", rate=1, drawn=True)
PEOPLE = ("ann", "bob", "cat")
SIGNATURE = Signature(key="some+key", value=b"s" * 64)


def says(name: str, score: float | None = 0.0, *, moment: Any = MOMENT, **fields: Any) -> Verdict:
    given = {"signature": SIGNATURE, "abstains": "undecided" if score is None else None} | fields
    sealed = digest_of(moment)
    return Verdict(auditor=name, role=Role.GUARD, moment=sealed, score=score, **given)


def decide(gate: Gate, *answers: Verdict | Failure, moment: Any = MOMENT) -> Decision | Need:
    return gate.decide(moment, answers, DRAW)


def failed(name: str) -> Failure:
    sealed = digest_of(MOMENT)
    return Failure(auditor=name, moment=sealed, kind="late", cause="infrastructure")


def action(answer: Decision | Need) -> str:
    return answer.action if isinstance(answer, Decision) else f"need {', '.join(answer.auditors)}"


TWO = keys(2, of=PEOPLE, within=60)


def test_two_of_three_people_are_needed() -> None:
    assert decide(TWO) == Need(auditors=PEOPLE, within=60)
    assert action(decide(TWO, says("ann"))) == "need bob, cat"
    assert action(decide(TWO, says("ann"), says("cat"))) == "proceed"


def test_one_person_counts_once_whatever_the_keys() -> None:
    other = Signature(key="another+key", value=b"t" * 64)
    assert action(decide(TWO, says("ann"), says("ann", signature=other))) == "need bob, cat"


@pytest.mark.parametrize(
    "no",
    [says("cat", 1.0), says("cat", 0.5), says("cat", None), failed("cat")],
    ids=["reject", "torn", "abstain", "late"],
)
def test_one_no_decides_before_and_after_any_yes(no: Verdict | Failure) -> None:
    yes = [says("ann"), says("bob")]
    for answers in ([no], [no, *yes], [*yes, no], [yes[0], no]):
        assert action(decide(TWO, *answers)) == "reject"


def test_an_approval_without_a_signature_is_a_no() -> None:
    assert action(decide(TWO, says("ann"), says("bob", signature=None))) == "reject"


def test_a_replacement_is_judged_anew_unless_somebody_says_no() -> None:
    instead = says("bob", 1.0, replacement="a" * 64)
    assert action(decide(TWO, says("ann"), instead)) == "modify"
    assert action(decide(TWO, instead, says("cat", 1.0))) == "reject"


def test_whoever_put_the_step_there_neither_is_asked_nor_counts() -> None:
    own = a_moment(attempt=1, by="ann")
    assert action(decide(TWO, moment=own)) == "need bob, cat"
    assert action(decide(TWO, says("ann"), says("bob"), moment=own)) == "need cat"
    assert action(decide(TWO, says("cat"), says("bob"), moment=own)) == "proceed"
    alone = keys(2, of=("ann", "bob"))
    assert action(decide(alone, says("bob"), moment=own)) == "reject"


def test_a_word_of_somebody_else_is_not_looked_at() -> None:
    assert action(decide(TWO, says("dan"), says("eve"), failed("fay"))) == "need ann, bob, cat"


@given(
    st.lists(
        st.tuples(st.sampled_from([*PEOPLE, "dan"]), st.sampled_from([0.0, 0.4, 0.5, 1.0, None]))
    )
)
def test_what_proceeds_was_signed_by_enough_and_refused_by_none(
    answers: list[tuple[str, float | None]],
) -> None:
    first: dict[str, float | None] = {}
    for name, score in answers:
        first.setdefault(name, score)
    heard = [score for name, score in first.items() if name in PEOPLE]
    yes = sum(score is not None and score < 0.5 for score in heard)
    expected = "reject" if yes < len(heard) else "proceed" if yes >= 2 else "need"
    found = action(decide(TWO, *(says(name, score) for name, score in answers)))
    assert found.split()[0] == expected


@pytest.mark.parametrize(
    ("fields", "says_what"),
    [
        ({"needs": 4, "of": PEOPLE}, "`of` lists 3 reviewers, but needs = 4"),
        ({"needs": 2, "of": ["ann", "ann", "bob"]}, "names a reviewer twice"),
        ({"needs": 0, "of": PEOPLE}, "greater than or equal to 1"),
        ({"needs": 1, "of": []}, "at least 1 item"),
        ({"needs": 1, "of": PEOPLE, "within": 0}, "greater than 0"),
        ({"needs": 1, "of": [f"p{n}" for n in range(101)]}, "at most 100 items"),
        ({"needs": 1, "of": PEOPLE, "without": 1}, "Extra inputs"),
    ],
)
def test_a_wrong_specification_is_refused(fields: dict[str, Any], says_what: str) -> None:
    with pytest.raises(ValidationError, match=says_what):
        build({"kind": "keys", **fields})


@pytest.mark.parametrize(
    "gate",
    [
        sequential(person("ann"), TWO),
        strictest(TWO, threshold("rules", reject_at=0.9, escalate_at=0.5, to="bob")),
    ],
)
def test_nobody_is_asked_for_a_key_and_for_a_judgement(gate: Gate) -> None:
    with pytest.raises(GateError, match="asked for a key and elsewhere"):
        spec(gate)


def test_a_gate_is_its_specification_and_names_its_reviewers() -> None:
    gate = sequential(threshold("rules", reject_at=1), strictest(TWO, keys(1, of=("dan", "ann"))))
    described = spec(gate)
    assert build(described) == gate
    assert named(gate) == {"rules", "ann", "bob", "cat", "dan"}
    assert signers(described) == {"ann", "bob", "cat", "dan"}
    assert sorted(keys_asked(described)) == [(1, ("dan", "ann")), (2, PEOPLE)]
    assert signers({"kind": "unheard of", "inside": {"deep": [described]}}) == signers(described)
    assert signers({}) == frozenset()
