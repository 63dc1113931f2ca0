"""Restrictions on training: declared before the run, held to by code, lifted only by keys."""

from __future__ import annotations

from collections.abc import Iterable

from audition.ledger import NoteError, PublicKey
from audition.ledger.events import RestrictionLifted, lifting_note
from audition.step import Evidence, Limits, Restriction, Role, RunId, Signal

TEACHERS_ONLY = Limits(
    signals=("approval", "comparison", "demonstration"),
    horizon=1,
    roles=(Role.TEACHER,),
    unseen=(Evidence.INTERNALS, Evidence.OUTCOME, Evidence.THOUGHT),
)
"""What holds of every run unless keys lift it."""

GUARDS_ONLY = Limits(signals=("approval",), horizon=1, roles=(Role.GUARD,))
"""What holds in its place of a run that trains a guard, from whose word nothing ever learns."""

PROCESS = Restriction(
    name="process",
    says="Learn from teachers' verdicts and demonstrations alone, each step from its own; "
    "no guard, no outcome, no thought.",
    scope="training",
    limits=TEACHERS_ONLY,
)
"""The restriction that a training run declares when it is given none of its own."""

GUARDED = Restriction(
    name="guarded",
    says="Learn from a guard's suspicions; what comes of it is a guard, from which nothing learns.",
    scope="training",
    limits=GUARDS_ONLY,
)
"""What it declares in its place when it trains a guard."""


class Forbidden(ValueError):
    """A restriction forbids it; the message names the restriction."""


def held_to(
    restrictions: Iterable[Restriction], lifted: Iterable[str] = (), becomes: Role | None = None
) -> Limits:
    """The limits in force: the strictest of those declared and not lifted.

    `TEACHERS_ONLY` is among them whether or not it was declared, unless the restriction `process`
    was: whoever wants to be able to lift it declares it under that name, with its keys. Of a run
    that trains a guard, it is `GUARDS_ONLY`.
    """
    gone = set(lifted)
    held = [one.limits for one in restrictions if one.limits is not None and one.name not in gone]
    if becomes is Role.GUARD:
        return _strictest([*held, GUARDS_ONLY])
    return _strictest(held if PROCESS.name in gone else [*held, TEACHERS_ONLY])


def check_signal(limits: Limits, signal: Signal | str) -> None:
    """Refuse a signal that may not be learned from.

    Raises:
        Forbidden: it may not.
    """
    if limits.signals is not None and signal not in limits.signals:
        raise Forbidden(
            f"learning by {signal} is forbidden by a restriction: {', '.join(limits.signals)} may"
        )


def check_horizon(limits: Limits, horizon: int | None) -> None:
    """Refuse credit that reaches too far back.

    Raises:
        Forbidden: it does.
    """
    if limits.horizon is not None and (horizon is None or horizon > limits.horizon):
        reach = "without end" if horizon is None else f"over {horizon} steps"
        raise Forbidden(f"credit {reach} is forbidden by a restriction: {limits.horizon} may")


def stopped(limits: Limits, updates: int, lessons: int) -> str:
    """Which condition stops training after so many updates and lessons; empty if none does."""
    if limits.updates is not None and updates >= limits.updates:
        return f"{limits.updates} updates are made"
    if limits.lessons is not None and lessons >= limits.lessons:
        return f"{limits.lessons} lessons are taken"
    return ""


def check_lifting(restrictions: Iterable[Restriction], run: RunId, body: RestrictionLifted) -> None:
    """Whether enough of a restriction's keys have signed its lifting.

    Raises:
        Forbidden: no such restriction, or two, or one that may not be lifted, or too few valid
            signatures.
    """
    found = [one for one in restrictions if one.name == body.restriction]
    if not found:
        raise Forbidden(f"no restriction is called {body.restriction!r}")
    if len(found) > 1:
        raise Forbidden(f"{len(found)} restrictions are called {body.restriction!r}: which?")
    lifting = found[0].lifting
    if lifting is None:
        raise Forbidden(f"restriction {body.restriction!r} was declared without keys that lift it")
    note = lifting_note(run, body.restriction, body.reason)
    keys: dict[str, PublicKey] = {}
    for text in lifting.keys:
        try:
            key = PublicKey.parse(text)
        except NoteError as error:
            raise Forbidden(f"restriction {body.restriction!r}: {error}") from None
        keys[key.id] = key
    signed = {
        keys[one.key].raw  # one key under two names is one person's
        for one in body.signatures
        if one.key in keys and keys[one.key].verifies(note, one.value)
    }
    if len(signed) < lifting.needs:
        raise Forbidden(
            f"lifting {body.restriction!r} needs {lifting.needs} of its keys, {len(signed)} signed"
        )


def _strictest(every: list[Limits]) -> Limits:
    def least(name: str) -> int | None:
        given = [value for one in every if (value := getattr(one, name)) is not None]
        return min(given) if given else None

    signals: list[set[Signal]] = [set(one.signals) for one in every if one.signals is not None]
    roles: list[set[Role]] = [set(one.roles) for one in every if one.roles is not None]
    unseen: list[set[Evidence]] = [set(one.unseen) for one in every if one.unseen is not None]
    return Limits(
        signals=tuple(sorted(set.intersection(*signals))) if signals else None,
        roles=tuple(sorted(set.intersection(*roles))) if roles else None,
        unseen=tuple(sorted(set.union(*unseen))) if unseen else None,
        horizon=least("horizon"),
        updates=least("updates"),
        lessons=least("lessons"),
    )
