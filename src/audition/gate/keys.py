"""Sign-off: what passes only with the signatures of several people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

from pydantic import Field, JsonValue, model_validator

from audition.gate.answers import LONGEST, PERSON_REJECTS, Answers, first_of, why
from audition.step import Decision, Draw, Failure, Frozen, Gate, Moment, Name, Need, Verdict

DAY = 86_400.0
"""Seconds for which an approval may be given and used, unless the gate says otherwise."""

MOST = 100
"""People whom one gate may ask for their keys."""


class Keys(Frozen):
    """Proceeds when enough people have signed this very moment, each with a key of their own.

    Whether a signature holds is not seen here: whoever reads a run hears no approval without one
    that does (`audition.audit.signing`).
    """

    kind: Literal["keys"] = "keys"
    needs: int = Field(ge=1, le=MOST)
    """How many people must sign."""
    of: tuple[Name, ...] = Field(min_length=1, max_length=MOST)
    """The reviewers."""
    within: float = Field(default=DAY, gt=0, le=LONGEST)
    """Seconds after which silence is a no, and an approval that was not used has expired."""

    @model_validator(mode="after")
    def _enough(self) -> Keys:
        if len(set(self.of)) != len(self.of):
            raise ValueError("`of` names a reviewer twice, but a person counts once")
        if self.needs > len(self.of):
            lists = f"`of` lists {len(self.of)} reviewers, but needs = {self.needs}"
            raise ValueError(f"{lists}; add a reviewer or lower needs")
        return self

    def decide(self, moment: Moment, verdicts: Answers, draw: Draw) -> Decision | Need:
        """Proceed, modify or reject; one no decides, whatever the others say."""
        may = [name for name in self.of if name != moment.by]  # nobody signs their own step
        said = {name: answer for name in may if (answer := first_of(name, verdicts)) is not None}
        others = [answer for answer in said.values() if not approves(answer)]
        instead = [one for one in others if isinstance(one, Verdict) and one.replacement]
        if no := [answer for answer in others if answer not in instead]:
            return Decision(action="reject", reason=why("keys", no[0]))
        if instead:
            reason = why("keys", instead[0])
            return Decision(action="modify", by=instead[0].auditor, reason=reason)
        if len(said) >= self.needs:
            return Decision(action="proceed", reason=f"keys: signed by {', '.join(said)}")
        if len(may) < self.needs:
            reason = f"keys: {self.needs} must sign, {len(may)} may: {moment.by} proposed the step"
            return Decision(action="reject", reason=reason)
        return Need(auditors=tuple(n for n in may if n not in said), within=self.within)


def approves(answer: Verdict | Failure) -> bool:
    """Whether it is an approval that somebody signed."""
    return (
        isinstance(answer, Verdict)
        and answer.signature is not None
        and answer.replacement is None
        and answer.suspicion < PERSON_REJECTS
    )


def keys(needs: int, *, of: Sequence[str], within: float = DAY) -> Gate:
    """Ask the people `of` to sign the moment, each with their own key; `needs` of them must."""
    return Keys(needs=needs, of=tuple(of), within=within)


def keys_asked(spec: JsonValue) -> list[tuple[int, tuple[str, ...]]]:
    """Of each `keys` in a gate's specification, how many must sign and who may.

    It is read from the specification itself, so that no gate around it need be installed here.
    """
    found: list[tuple[int, tuple[str, ...]]] = []
    ahead: list[JsonValue] = [spec]
    for one in ahead:  # it grows meanwhile
        match one:
            case {"kind": "keys", "needs": int(needs), "of": list(of)}:
                found.append((needs, tuple(cast("list[str]", of))))
            case dict() as table:
                ahead.extend(table.values())
            case list() as several:
                ahead.extend(several)
            case _:
                pass
    return found


def signers(spec: JsonValue) -> frozenset[str]:
    """Everybody whom a gate's specification asks for a key."""
    return frozenset(name for _, of in keys_asked(spec) for name in of)


def must_sign(spec: JsonValue) -> bool:
    """Whether nothing passes a gate of this specification that nobody's key has signed.

    Of a gate of another kind it is not known what it lets pass, and so it does not count.
    """
    match spec:
        case {"kind": "keys"}:
            return True
        case {"kind": "sequential" | "strictest", "of": list(of)}:
            return any(map(must_sign, of))
        case {"kind": "sampled", "undrawn": "reject", "of": list(of)}:
            return any(map(must_sign, of))
        case _:
            return False
