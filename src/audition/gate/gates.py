"""What may pass: pure functions from recorded verdicts to a decision, closed by default.

A gate names the auditors that it needs; auditors know nothing of gates. Suspicion is what is
compared; a failure or an abstention is suspicion 1. A gate is its specification: `spec(gate)` goes
into the ledger when a run opens, and `build(spec)` gives the same gate to whoever checks it later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import entry_points
from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from audition.gate.answers import LONGEST, PERSON_REJECTS, Answers, first_of, why
from audition.gate.keys import Keys
from audition.step import (
    Decision,
    Draw,
    Failure,
    Frozen,
    Gate,
    JsonObject,
    Moment,
    Name,
    Need,
    Unit,
    Verdict,
)

_SEVERITY = {"proceed": 0, "modify": 1, "escalate": 2, "reject": 3, "terminate": 4}


class GateError(ValueError):
    """A gate's specification is wrong; the message names the field and the way out."""


def build(spec: Any) -> Gate:
    """The gate that a specification describes: a table with `kind` and that kind's fields.

    Kinds that are not built in are looked up among the entry points of group `audition.gates`.

    Raises:
        GateError: no such kind.
        ValueError: a field is wrong (pydantic's message).
    """
    if callable(getattr(spec, "decide", None)):
        return cast(Gate, spec)  # already a gate, composed by hand
    if not isinstance(spec, dict):
        raise GateError(f"a {type(spec).__name__} is no gate; write a table with `kind`")
    fields = cast("dict[str, Any]", spec)
    kind = fields.get("kind")
    if isinstance(kind, str) and kind in _KINDS:
        return cast(Gate, _KINDS[kind].model_validate(fields))
    for entry in entry_points(group="audition.gates", name=str(kind)):
        return entry.load()(**{key: value for key, value in fields.items() if key != "kind"})
    raise GateError(f"gate.kind: no gate is called {kind!r}; known: {', '.join(sorted(_KINDS))}")


def spec(gate: Gate) -> JsonObject:
    """The specification of a gate.

    Raises:
        GateError: the gate is not a value that can be written down, samples at two rates, or asks
            somebody both for a key and for a judgement.
    """
    every = list(parts(gate))
    rates = sorted({part.rate for part in every if isinstance(part, Sampled)})
    if len(rates) > 1:
        raise GateError(f"there is one lottery, but two rates: {rates[0]} and {rates[1]}")
    signing = {name for part in every if isinstance(part, Keys) for name in part.of}
    judging = (name for part in every if not isinstance(part, Keys) for name in _asks(part))
    if signing and (both := signing.intersection(judging)):
        raise GateError(
            f"{min(both)} is asked for a key and elsewhere in the gate too; name another person"
        )
    return _specified(gate)


def parts(gate: Gate) -> Iterator[Gate]:
    """The gate and every gate inside it."""
    yield gate
    for inner in () if isinstance(gate, Keys) else getattr(gate, "of", ()):
        yield from parts(inner)


def named(gate: Gate) -> set[str]:
    """Names of all auditors that a gate may ask for."""
    return {name for part in parts(gate) for name in _asks(part)}


def bars(gate: Gate) -> dict[str, float]:
    """The least suspicion of each auditor from which a gate does not simply go on."""
    found: dict[str, float] = {}
    for part in parts(gate):
        levels = [getattr(part, level, None) for level in ("at", *_LEVELS)]
        own = min((level for level in levels if level is not None), default=PERSON_REJECTS)
        for name in _asks(part):
            bar = own if name == getattr(part, "auditor", None) else PERSON_REJECTS
            found[name] = min(bar, found.get(name, 1.0))
    return found


def rate(gate: Gate) -> float:
    """The declared rate of the lottery: that of the gate's `sampled`, 1 where it has none."""
    rates = [part.rate for part in parts(gate) if isinstance(part, Sampled)]
    return rates[0] if rates else 1.0


def _specified(gate: Gate) -> JsonObject:
    if not isinstance(gate, Frozen) or not callable(getattr(gate, "decide", None)):
        raise GateError(f"{type(gate).__name__} has no specification, so nobody could re-run it")
    return gate.model_dump(mode="json", exclude_none=True)


_Inner = Annotated[Any, BeforeValidator(build), PlainSerializer(_specified, return_type=JsonObject)]


_LEVELS = ("escalate_at", "reject_at", "terminate_at")


class RedLines(Frozen):
    """Ends the run when the auditor suspects a breach."""

    kind: Literal["red_lines"] = "red_lines"
    auditor: Name
    """Whose word it is: usually rules."""
    at: Unit = 1.0
    """Suspicion from which it is a breach."""

    def decide(self, moment: Moment, verdicts: Answers, draw: Draw) -> Decision | Need:
        """Proceed or terminate."""
        answer = first_of(self.auditor, verdicts)
        if answer is None:
            return Need(auditors=(self.auditor,))
        if answer.suspicion >= self.at:
            return Decision(action="terminate", reason=why("red line", answer))
        return Decision(action="proceed", reason=f"{self.auditor} sees no breach")


class Threshold(Frozen):
    """Compares one auditor's suspicion with up to three levels."""

    kind: Literal["threshold"] = "threshold"
    auditor: Name
    """Who is asked."""
    reject_at: Unit
    """Suspicion from which the step is rejected."""
    terminate_at: Unit | None = None
    """Suspicion from which the run ends."""
    escalate_at: Unit | None = None
    """Suspicion from which a person decides."""
    to: Name | None = None
    """That person."""
    within: float | None = Field(default=None, gt=0, le=LONGEST)
    """Seconds the person has; silence is a no."""

    @model_validator(mode="after")
    def _levels(self) -> Threshold:
        if (self.escalate_at is None) != (self.to is None):
            raise ValueError("escalate_at and to belong together: name the person who decides")
        if self.escalate_at is not None and self.escalate_at >= self.reject_at:
            raise ValueError("escalate_at lies at or above reject_at, so nobody would be asked")
        return self

    def decide(self, moment: Moment, verdicts: Answers, draw: Draw) -> Decision | Need:
        """Proceed, modify, escalate, reject or terminate."""
        answer = first_of(self.auditor, verdicts)
        if answer is None:
            return Need(auditors=(self.auditor,))
        if self.terminate_at is not None and answer.suspicion >= self.terminate_at:
            return Decision(action="terminate", reason=why("threshold", answer))
        if isinstance(answer, Verdict) and answer.replacement is not None:
            return Decision(action="modify", by=answer.auditor, reason=why("threshold", answer))
        if answer.suspicion >= self.reject_at:
            return Decision(action="reject", reason=why("threshold", answer))
        if self.escalate_at is not None and answer.suspicion >= self.escalate_at and self.to:
            person = first_of(self.to, verdicts)
            if person is None:
                reason = why("threshold", answer)
                return Decision(action="escalate", to=self.to, within=self.within, reason=reason)
            return _person(person)
        return Decision(action="proceed", reason=why("threshold", answer))


class Person(Frozen):
    """Asks a person about every moment; silence is a no."""

    kind: Literal["person"] = "person"
    auditor: Name
    """The person."""
    within: float | None = Field(default=None, gt=0, le=LONGEST)
    """Seconds the person has; None waits without end."""

    def decide(self, moment: Moment, verdicts: Answers, draw: Draw) -> Decision | Need:
        """Proceed, modify or reject."""
        answer = first_of(self.auditor, verdicts)
        if answer is None:
            return Need(auditors=(self.auditor,), within=self.within)
        return _person(answer)


class Sampled(Frozen):
    """Applies the gates inside to moments that the secret lottery drew, and to no others."""

    kind: Literal["sampled"] = "sampled"
    rate: Unit
    """The declared share of moments that are drawn."""
    of: tuple[_Inner, ...] = Field(min_length=1)
    """What drawn moments must pass, in order."""
    undrawn: Literal["proceed", "reject"] = "reject"
    """What becomes of the rest; say `proceed` if you mean it."""

    def decide(self, moment: Moment, verdicts: Answers, draw: Draw) -> Decision | Need:
        """As the gates inside, or as `undrawn` says."""
        if draw.drawn:
            return _in_order(self.of, moment, verdicts, draw)
        return Decision(action=self.undrawn, reason="not drawn")


class Sequential(Frozen):
    """Gates one after the other; the first that does not let the moment proceed decides."""

    kind: Literal["sequential"] = "sequential"
    of: tuple[_Inner, ...] = Field(min_length=1)
    """The gates, in order."""

    def decide(self, moment: Moment, verdicts: Answers, draw: Draw) -> Decision | Need:
        """The first answer that is not `proceed`."""
        return _in_order(self.of, moment, verdicts, draw)


class Strictest(Frozen):
    """All gates; the most severe answer decides, and a no does not wait for the others."""

    kind: Literal["strictest"] = "strictest"
    of: tuple[_Inner, ...] = Field(min_length=1)
    """The gates."""

    def decide(self, moment: Moment, verdicts: Answers, draw: Draw) -> Decision | Need:
        """The most severe decision, once nobody is left to ask who could change it."""
        answers = [gate.decide(moment, verdicts, draw) for gate in self.of]
        decisions = [answer for answer in answers if isinstance(answer, Decision)]
        needs = [answer for answer in answers if isinstance(answer, Need)]
        worst = max(decisions, key=lambda decision: _SEVERITY[decision.action], default=None)
        if worst is not None and (not needs or worst.action in ("reject", "terminate")):
            return worst
        asked = tuple(dict.fromkeys(name for need in needs for name in need.auditors))
        limits = [need.within for need in needs if need.within is not None]
        return Need(auditors=asked, within=min(limits, default=None))


_KINDS: dict[str, type[Frozen]] = {
    "red_lines": RedLines,
    "threshold": Threshold,
    "person": Person,
    "keys": Keys,
    "sampled": Sampled,
    "sequential": Sequential,
    "strictest": Strictest,
}

GATES: tuple[type[Frozen], ...] = tuple(_KINDS.values())
"""The kinds of gate that are built in."""


def red_lines(auditor: str, *, at: float = 1.0) -> Gate:
    """End the run when `auditor`'s suspicion reaches `at`."""
    return RedLines(auditor=auditor, at=at)


def threshold(
    auditor: str,
    *,
    reject_at: float,
    terminate_at: float | None = None,
    escalate_at: float | None = None,
    to: str | None = None,
    within: float | None = None,
) -> Gate:
    """Compare `auditor`'s suspicion with up to three levels."""
    return Threshold(
        auditor=auditor,
        reject_at=reject_at,
        terminate_at=terminate_at,
        escalate_at=escalate_at,
        to=to,
        within=within,
    )


def person(name: str, *, within: float | None = None) -> Gate:
    """Ask a person about every moment."""
    return Person(auditor=name, within=within)


def sampled(rate: float, *gates: Gate, undrawn: Literal["proceed", "reject"] = "reject") -> Gate:
    """Apply `gates` to a secret share of moments."""
    return Sampled(rate=rate, of=gates, undrawn=undrawn)


def sequential(*gates: Gate) -> Gate:
    """One gate after the other."""
    return Sequential(of=gates)


def strictest(*gates: Gate) -> Gate:
    """All gates at once; the most severe answer counts."""
    return Strictest(of=gates)


def _asks(gate: Gate) -> tuple[str, ...]:
    """Whom a gate itself asks, those inside it aside."""
    if isinstance(gate, Keys):
        return gate.of
    names = (getattr(gate, "auditor", None), getattr(gate, "to", None))
    return tuple(name for name in names if name)


def _in_order(
    gates: Sequence[Gate], moment: Moment, verdicts: Answers, draw: Draw
) -> Decision | Need:
    answer: Decision | Need | None = None
    for gate in gates:
        answer = gate.decide(moment, verdicts, draw)
        if isinstance(answer, Need) or answer.action != "proceed":
            return answer
    assert answer is not None  # the specification requires at least one gate
    return answer


def _person(answer: Verdict | Failure) -> Decision:
    if isinstance(answer, Verdict) and answer.replacement is not None:
        return Decision(action="modify", by=answer.auditor, reason=why("person", answer))
    rejects = answer.suspicion >= PERSON_REJECTS
    return Decision(action="reject" if rejects else "proceed", reason=why("person", answer))
