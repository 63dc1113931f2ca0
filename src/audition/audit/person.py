"""A person as auditor, at a terminal, by keyboard alone.

The person sees the goal, what happened last, and the proposal in full; must commit to one word, a
degree of certainty and a reason before anything is recorded; and the time it took is recorded too.
One who ranks sees all candidates in an order drawn by lot, and puts them from best to worst.
Every character of untrusted text is shown plainly, so that it cannot move the cursor, reorder the
line or pretend to be the question.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import ValidationError

from audition.audit.asking import signed
from audition.audit.comparing import LABELS
from audition.canonical import canonical
from audition.ledger import PrivateKey
from audition.plain import shown
from audition.step import (
    Evidence,
    History,
    Message,
    Proposal,
    Role,
    Turn,
    Usage,
    Verdict,
    View,
    Words,
    parse_proposal,
)

ENTRIES = 6
"""Entries of the history that are shown."""

LONGEST = 100_000
"""Characters of a proposal that can be shown; what cannot be shown whole is not approved."""

TRIES = 20
"""Answers that are no answer before the person is taken to abstain."""


class Person:
    """Asks whoever sits at the keyboard.

    Args:
        name: the person's name, as the gate has it.
        role: guard (suspicion) or teacher (approval).
        ranks: whether a teacher ranks the candidates of a moment, where it has several.
        say: shows a line.
        hear: asks for a line and waits for it; raises `Left` where the person is gone.
        present: whether the person sits at this terminal; if not, the run waits.
        key: signs the verdict, if the person has one.

    Raises:
        ValueError: a guard was to rank.
    """

    person = True
    outside = True

    def __init__(
        self,
        name: str,
        *,
        role: Role = Role.GUARD,
        ranks: bool = False,
        say: Callable[[str], None] = print,
        hear: Callable[[str], Awaitable[str]] | None = None,
        key: PrivateKey | None = None,
    ) -> None:
        if ranks and role is not Role.TEACHER:
            raise ValueError(f"auditor {name}: only a teacher ranks; make it one")
        self.name = name
        self.role = role
        self.sees = frozenset(
            {Evidence.PROPOSAL, Evidence.HISTORY} | ({Evidence.CANDIDATES} if ranks else set())
        )
        self.present = hear is not None
        self._say = say
        self._hear = hear
        self._key = key

    async def audit(self, view: View) -> Verdict:
        """Show the evidence, and wait for a committed answer.

        Raises:
            Left: the person went away; nothing is recorded.
        """
        begun = time.monotonic()
        self._show_past(view)
        several = len(view.candidates or ()) > 1
        given = await (self._ranked(view) if several else self._rated(view))
        verdict = Verdict(
            auditor=self.name,
            role=self.role,
            moment=view.moment_digest,
            **given,
            saw=tuple(sorted(self.sees)),
            usage=Usage(seconds=round(time.monotonic() - begun, 3)),
        )
        return signed(verdict, self._key) if self._key else verdict

    async def _rated(self, view: View) -> dict[str, Any]:
        """A verdict's answer and words, about the proposal alone."""
        self._show(view)
        word, replacement = await self._chosen(view)
        if word == "abstain":
            return {"abstains": "undecided", "words": Words()}
        sure = await self._sure()
        words = Words(rationale=await self._reason(), replacement=replacement)
        against = word != "approve"
        suspicion = sure if against else 1 - sure
        score = suspicion if self.role is Role.GUARD else 1 - suspicion
        return {"score": score, "words": words}

    async def _ranked(self, view: View) -> dict[str, Any]:
        """A verdict's answer and words, about all candidates."""
        assert view.candidates is not None
        count = len(view.candidates)
        labelled = dict(
            zip(LABELS, random.SystemRandom().sample(range(count), count), strict=False)
        )
        if len(labelled) < count or not all(map(_whole, view.candidates)):
            self._say(f"{count} candidates are more than can be shown here; they are not ranked.")
            return {"abstains": "not shown", "words": Words()}
        place = _below(view.moment.place)
        self._say(
            f"Step {view.moment.turn}{place} has {count} candidates, in an order of no meaning:"
        )
        for label, number in labelled.items():
            self._show_whole(view.candidates[number], f"{label}: ")
        order = await self._order(view, sorted(labelled))
        if order is None:
            return {"abstains": "undecided", "words": Words()}
        key = ", ".join(f"{label} = {number}" for label, number in labelled.items())
        words = Words(rationale=f"{key}: {await self._reason()}")
        return {"ranking": tuple(labelled[label] for label in order), "words": words}

    def _show_past(self, view: View) -> None:
        history: History = view.history
        self._say(f"\nGoal: {shown(view.goal, 2000)}")
        if len(history) > ENTRIES:
            self._say(f"({len(history) - ENTRIES} earlier entries)")
        for entry in history.last(ENTRIES):
            self._say(f"  | {_line(entry)}")

    def _show(self, view: View) -> None:
        assert view.proposal is not None
        self._say(f"Step {view.moment.turn}{_below(view.moment.place)} proposes:")
        self._show_whole(view.proposal)
        if not _whole(view.proposal):
            self._say(
                f"The proposal is longer than the {LONGEST} characters that are shown here; "
                "what is not seen whole cannot be approved."
            )

    def _show_whole(self, proposal: Proposal, label: str = "") -> None:
        for line in written(proposal).split("\n"):
            self._say(f"  | {label}{line}")
        if proposal.reason:
            self._say(f"{label}The thinker's reason: {shown(proposal.reason, 2000)}")

    async def _chosen(self, view: View) -> tuple[str, Proposal | None]:
        assert view.proposal is not None
        for _ in range(TRIES):
            word = await self._word(view)
            if word != "modify":
                return word, None
            if (replacement := await self._replacement(view.proposal)) is not None:
                return word, replacement
        return "abstain", None

    async def _word(self, view: View) -> str:
        assert view.proposal is not None
        whole = _whole(view.proposal)
        words = ("approve", "reject", "modify", "abstain") if whole else ("reject", "abstain")
        code = view.moment_digest[:4]
        choice = f"{', '.join(words[:-1])} or {words[-1]}"
        for _ in range(TRIES):
            said = (await self._heard(f"{choice}, then {code}: ")).split()
            if len(said) == 2 and said[0] in words and said[1] == code:
                return said[0]
            self._say(f"Type {choice}, and the moment's code, as in: reject {code}")
        return "abstain"

    async def _order(self, view: View, labels: list[str]) -> list[str] | None:
        """All labels from best to worst; None if the person abstains."""
        code = view.moment_digest[:4]
        choice = f"The candidates from best to worst, or abstain, then {code}"
        for _ in range(TRIES):
            *said, last = (await self._heard(f"{choice}: ")).split() or [""]
            if last == code and said == ["abstain"]:
                return None
            if last == code and sorted(said) == labels:
                return said
            self._say(f"Type every letter once and the moment's code: {' '.join(labels)} {code}")
        return None

    async def _sure(self) -> float:
        for _ in range(TRIES):
            said = (await self._heard("How sure are you, from 50 to 100 percent? ")).rstrip("% ")
            if said.isascii() and said.isdigit() and len(said) <= 3 and 50 <= int(said) <= 100:
                return int(said) / 100
            self._say("A whole number from 50 to 100.")
        raise ValueError("no degree of certainty was given")

    async def _reason(self) -> str:
        for _ in range(TRIES):
            if len(said := await self._heard("Why? ")) >= 3:
                return said
            self._say("A reason of at least three characters.")
        raise ValueError("no reason was given")

    async def _replacement(self, proposal: Proposal) -> Proposal | None:
        """The step to take instead; None if the person thinks better of it."""
        fields = proposal.model_dump(exclude_defaults=True) | {"kind": proposal.kind}
        self._say(f"  | {json.dumps(fields)}")
        for _ in range(TRIES):
            said = await self._heard("The step to take instead, as JSON; an empty line goes back: ")
            if not said:
                return None
            try:
                return parse_proposal(canonical(json.loads(said)))
            except (ValueError, RecursionError) as error:
                self._say(shown(_amiss(error), 300))
        raise ValueError("no replacement was given")

    async def _heard(self, question: str) -> str:
        assert self._hear is not None
        return (await self._hear(question))[:10_000].strip()


def written(proposal: Proposal) -> str:
    """A proposal in full, for a person: nothing in it can act on the screen."""
    fields = proposal.model_dump(exclude={"kind", "reason", "alternatives"}, exclude_none=True)
    lines = [proposal.kind.upper()]
    for name, value in fields.items():
        text = value if isinstance(value, str) else canonical(value).decode()
        if isinstance(value, dict):
            lines += [
                f"{name}.{shown(key, LONGEST)}: {_value(item)}" for key, item in value.items()
            ]
        else:
            lines.append(f"{name}: {shown(text, LONGEST)}")
    return "\n".join(lines)


def _value(value: object) -> str:
    return shown(value if isinstance(value, str) else canonical(value).decode(), LONGEST)


def _whole(proposal: Proposal) -> bool:
    """Whether every field is shown to its end."""
    return len(proposal.canonical().decode()) <= LONGEST


def _below(place: str) -> str:
    return "" if place == "1" else f" at {place}"


def _amiss(error: Exception) -> str:
    """What is wrong with a replacement, in one short line."""
    match error:
        case json.JSONDecodeError():
            return f"no JSON: {error.msg} at character {error.pos + 1}"
        case ValidationError():
            first = error.errors(include_url=False, include_input=False)[0]
            if first["type"].startswith("union_tag"):
                return "kind: one of act, ask, think, finish"
            if first["type"].startswith("model_"):
                return 'a step is an object with a kind, as in {"kind": "finish", "answer": "no"}'
            return f"{'.'.join(map(str, first['loc'][1:]))}: {first['msg'][:200]}"
        case _:
            return "no step: it is nested too deep or holds what JSON cannot"


def _line(entry: Message | Turn) -> str:
    if isinstance(entry, Message):
        return f"[{shown(entry.role, 40)}] {shown(entry.content, 300)}"
    proposed = written(entry.proposal).replace("\n", ", ")[:600]
    told = f"[{entry.number}{_below(entry.place)}, {entry.action}] {proposed}"
    if entry.outcome is None:
        return told
    return f"{told} -> {entry.outcome.status}: {shown(entry.outcome.output, 300)}"
