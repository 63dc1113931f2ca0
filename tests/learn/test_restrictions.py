"""Restrictions: the strictest hold, whatever else was declared, until enough keys lift them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from audition.learn import PROCESS, TEACHERS_ONLY, Forbidden, held_to
from audition.learn.restrictions import check_horizon, check_lifting, check_signal, stopped
from audition.ledger import PrivateKey
from audition.ledger.events import RestrictionLifted, lifting_note
from audition.step import Evidence, Lifting, Limits, Restriction, Role, Signature

RUN = "ab" * 16
KEYS = [PrivateKey(name, bytes([number]) * 32) for number, name in enumerate(("ann", "bob", "eve"))]
SIGNALS = ("approval", "comparison", "demonstration")


def restriction(name: str = "short", **fields: Any) -> Restriction:
    return Restriction(name=name, says="Keep to it.", scope="training", **fields)


def subsets(of: Any) -> st.SearchStrategy[Any]:
    return st.none() | st.lists(st.sampled_from(list(of)), unique=True).map(tuple)


LIMITS = st.builds(
    Limits,
    signals=subsets(SIGNALS),
    horizon=st.none() | st.integers(1, 5),
    roles=subsets(Role),
    unseen=subsets(Evidence),
    updates=st.none() | st.integers(0, 5),
    lessons=st.none() | st.integers(0, 5),
)


@given(st.lists(LIMITS, max_size=4), st.permutations(range(4)))
def test_what_is_in_force_is_allowed_by_every_restriction(
    every: list[Limits], order: list[int]
) -> None:
    declared = [restriction(f"r{number}", limits=one) for number, one in enumerate(every)]
    held = held_to(declared)
    assert held == held_to([declared[number] for number in order if number < len(declared)])
    assert held.signals is not None and held.roles is not None and held.unseen is not None
    for one in [*every, TEACHERS_ONLY]:
        assert one.signals is None or set(held.signals) <= set(one.signals)
        assert one.roles is None or set(held.roles) <= set(one.roles)
        assert one.unseen is None or set(held.unseen) >= set(one.unseen)
        for name in ("horizon", "updates", "lessons"):
            limit, mine = getattr(one, name), getattr(held, name)
            assert limit is None or (mine is not None and mine <= limit)


def test_teachers_only_holds_of_a_run_that_declares_nothing_or_something_weaker() -> None:
    weak = restriction("process", limits=Limits())
    for declared in ([], [weak], [PROCESS], [restriction("other", limits=Limits(horizon=9))]):
        held = held_to(declared)
        assert held.horizon == 1 and held.roles == (Role.TEACHER,)
        assert set(held.unseen or ()) == {Evidence.THOUGHT, Evidence.INTERNALS, Evidence.OUTCOME}


def test_only_lifting_process_itself_lifts_what_every_run_is_held_to() -> None:
    declared = [PROCESS, restriction("short", limits=Limits(updates=1))]
    assert held_to(declared, ["short"]) == held_to([PROCESS])
    assert held_to(declared, ["process"]) == Limits(updates=1)
    assert held_to(declared, ["process", "short"]) == Limits()


@pytest.mark.parametrize("signal", ["outcome", "reward", "comparison", ""])
def test_imitation_only_allows_demonstrations_and_nothing_else(signal: str) -> None:
    limits = held_to([restriction(limits=Limits(signals=("demonstration",)))])
    check_signal(limits, "demonstration")
    with pytest.raises(Forbidden, match=f"learning by {signal} is forbidden"):
        check_signal(limits, signal)


@pytest.mark.parametrize(("horizon", "why"), [(2, "over 2 steps"), (None, "without end")])
def test_credit_beyond_the_horizon_is_forbidden(horizon: int | None, why: str) -> None:
    check_horizon(TEACHERS_ONLY, 1)
    check_horizon(Limits(horizon=3), 3)
    check_horizon(Limits(), None)
    with pytest.raises(Forbidden, match=why):
        check_horizon(TEACHERS_ONLY, horizon)


@pytest.mark.parametrize(
    ("limits", "updates", "lessons", "why"),
    [
        (Limits(), 10**6, 10**6, ""),
        (Limits(updates=3), 2, 0, ""),
        (Limits(updates=3), 3, 0, "3 updates are made"),
        (Limits(updates=0), 0, 0, "0 updates are made"),
        (Limits(lessons=5), 9, 4, ""),
        (Limits(lessons=5), 0, 5, "5 lessons are taken"),
    ],
)
def test_training_stops_where_it_was_declared_to(
    limits: Limits, updates: int, lessons: int, why: str
) -> None:
    assert stopped(limits, updates, lessons) == why


# ------------------------------------------------------------------------------------- lifting


def liftable(needs: int = 2, keys: int = 3, name: str = "short") -> Restriction:
    lifting = Lifting(needs=needs, keys=tuple(str(one.public) for one in KEYS[:keys]))
    return restriction(name, limits=Limits(updates=1), lifting=lifting)


def lifted(*keys: PrivateKey, **changes: Any) -> RestrictionLifted:
    given: dict[str, Any] = {"run": RUN, "restriction": "short", "reason": "a test"}
    signed = {name: changes.pop("signed_" + name, value) for name, value in given.items()}
    note = lifting_note(signed["run"], signed["restriction"], signed["reason"])
    signatures = tuple(Signature(key=one.public.id, value=one.sign(note)) for one in keys)
    return RestrictionLifted(
        restriction=given["restriction"], reason=given["reason"], signatures=signatures
    )


@given(
    needs=st.integers(1, 3),
    signing=st.lists(st.integers(0, 2), min_size=1, max_size=6),
    forged=st.sets(st.integers(0, 2)),
)
def test_m_distinct_keys_of_n_lift_and_fewer_do_not(
    needs: int, signing: list[int], forged: set[int]
) -> None:
    """Whoever signs twice counts once, and a signature by another under one's name not at all."""
    body = lifted(*(KEYS[number] for number in signing))
    thief = PrivateKey("thief", b"t" * 32)
    note = lifting_note(RUN, "short", "a test")
    signatures = tuple(
        one.model_copy(update={"value": thief.sign(note)}) if number in forged else one
        for number, one in zip(signing, body.signatures, strict=True)
    )
    body = body.model_copy(update={"signatures": signatures})
    if len(set(signing) - forged) >= needs:
        check_lifting([liftable(needs)], RUN, body)
    else:
        with pytest.raises(Forbidden, match=f"needs {needs} of its keys"):
            check_lifting([liftable(needs)], RUN, body)


@pytest.mark.parametrize(
    "changes",
    [{"signed_run": "cd" * 16}, {"signed_restriction": "other"}, {"signed_reason": "another"}],
)
def test_a_signature_under_another_note_lifts_nothing(changes: dict[str, str]) -> None:
    check_lifting([liftable()], RUN, lifted(*KEYS[:2]))
    with pytest.raises(Forbidden, match="needs 2 of its keys, 0 signed"):
        check_lifting([liftable()], RUN, lifted(*KEYS[:2], **changes))


def test_a_key_that_was_not_declared_lifts_nothing() -> None:
    with pytest.raises(Forbidden, match="1 signed"):
        check_lifting([liftable(2, keys=2)], RUN, lifted(KEYS[0], KEYS[2]))


@pytest.mark.parametrize(
    ("declared", "why"),
    [
        ([], "no restriction is called 'short'"),
        ([liftable(name="other")], "no restriction is called 'short'"),
        ([restriction("short", limits=Limits(updates=1))], "without keys that lift it"),
        ([liftable(), restriction("short")], "2 restrictions are called 'short'"),
        (
            [restriction("short", lifting=Lifting(needs=1, keys=("no+key",)))],
            "restriction 'short': ",
        ),
    ],
)
def test_what_cannot_be_lifted_says_why(declared: list[Restriction], why: str) -> None:
    with pytest.raises(Forbidden, match=why):
        check_lifting(declared, RUN, lifted(*KEYS))


@pytest.mark.parametrize(
    "fields",
    [
        {"needs": 0, "keys": ["a"]},
        {"needs": 2, "keys": ["a"]},
        {"needs": 2, "keys": ["a", "a"]},
        {"needs": 1, "keys": []},
    ],
)
def test_a_lifting_that_nobody_or_anybody_could_do_cannot_be_declared(
    fields: dict[str, Any],
) -> None:
    with pytest.raises(ValidationError):
        Lifting.model_validate(fields)


def test_limits_bound_training_alone() -> None:
    with pytest.raises(ValidationError, match="limits bound training"):
        Restriction(name="short", says="", scope="acting", limits=Limits(updates=1))
