"""Asking an auditor: the declared evidence goes in, a verdict or a recorded failure comes out.

Nothing that an auditor does, or that a proposal makes it do, can end in silence: a crash, a stall,
an answer of another type, about another moment, in another role or under another name is a
`Failure`, and a failure is suspicion 1 at the gate.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, TypeVar

import anyio

from audition.audit.dialogue import Unparsable
from audition.canonical import canonical
from audition.failing import told
from audition.ledger import Journal, PrivateKey
from audition.ledger.events import AuditRecorded
from audition.ledger.store import MAX_CONTENT, MAX_EVENT
from audition.step import (
    Auditor,
    AuditorCard,
    Digest,
    Evidence,
    Failure,
    Moment,
    Role,
    Signature,
    Usage,
    Verdict,
    View,
    Words,
    digest_of,
)
from audition.unfinished import Unfinished, left

A = TypeVar("A", Verdict, Failure)

NOTHING = Unfinished()
"""What there is of a judgement of which nothing was heard."""

HIDDEN_FROM_TEACHERS = frozenset({Evidence.THOUGHT, Evidence.INTERNALS, Evidence.OUTCOME})
"""What a teacher may not see: its word becomes a lesson."""


class Left(Exception):
    """A person went away in the middle of an answer: nothing was said, and the question stands."""


def card(auditor: Auditor) -> AuditorCard:
    """What is declared of an auditor before the run.

    Raises:
        ValueError: a teacher declares evidence that teachers may not see.
    """
    if auditor.role is Role.TEACHER and (seen := auditor.sees & HIDDEN_FROM_TEACHERS):
        raise ValueError(f"auditor {auditor.name}: a teacher may not see {sorted(seen)[0].upper()}")
    configuration = getattr(auditor, "configuration", None)
    return AuditorCard(
        name=auditor.name,
        role=auditor.role,
        sees=tuple(sorted(auditor.sees)),
        rules=configuration() if configuration else None,
        trained_from=getattr(auditor, "trained_from", None),
        person=getattr(auditor, "person", False),
    )


def view(
    auditor: Auditor, moment: Moment, sealed: Digest, goal: str, evidence: Mapping[Evidence, Any]
) -> View:
    """What an auditor is handed: of all the evidence there is, what it declares."""
    shown = {str(kind): evidence.get(kind) for kind in auditor.sees if kind in evidence}
    return View(moment=moment, moment_digest=sealed, goal=goal, **shown)


async def ask(auditor: Auditor, shown: View, *, seconds: float | None = None) -> Verdict | Failure:
    """Ask, and take whatever happens as an answer.

    An auditor that waits for nothing may have `judge` beside `audit`: that is called then.

    Args:
        auditor: who judges.
        shown: what it is handed.
        seconds: how long it may take; None waits without end.

    Raises:
        Left: a person went away; the moment still waits for an answer.
    """

    def failed(kind: Any, cause: Any, detail: str) -> Failure:
        return Failure(
            auditor=auditor.name,
            moment=shown.moment_digest,
            kind=kind,
            cause=cause,
            detail=detail[:300],
            words=Words(exchanges=had.exchanges) if had.exchanges else None,
            usage=had.usage if had.usage != Usage() else None,
        )

    answer: object = None
    had = NOTHING
    due = math.inf if seconds is None else time.monotonic() + seconds
    try:
        if judge := getattr(auditor, "judge", None):
            answer = judge(shown)
        else:
            with nullcontext() if seconds is None else anyio.move_on_after(seconds):
                try:
                    answer = await auditor.audit(shown)
                except BaseException as error:  # an interruption ends here, with what it carries
                    had = left(error)
                    raise
    except Left:
        raise
    except OSError as error:
        return failed("crashed", "infrastructure", told(error))
    except Unparsable as error:
        return failed("unparsable", "moment", told(error))
    except Exception as error:  # noqa: BLE001  whatever it is, it is no approval
        return failed("crashed", "moment", told(error))
    verdict = checked(auditor, shown.moment_digest, answer)
    if verdict is not None and (verdict.words is not None or verdict.usage is not None):
        said = verdict.words.exchanges if verdict.words is not None else None
        had = Unfinished(exchanges=said or (), usage=verdict.usage or Usage())
    if time.monotonic() >= due:  # though it may have paid no heed to it
        return failed("late", "moment", f"no answer within {seconds} s")
    if verdict is None:
        says = f"a {type(answer).__name__} that is no verdict on this moment"
        return failed("unparsable", "moment", says)
    each, count = verdict.ranking or verdict.approvals, len(shown.candidates or ())
    if each is not None and len(each) != count:
        says = f"an answer about {len(each)} candidates where {count} were shown"
        return failed("unparsable", "moment", says)
    return verdict


def checked(auditor: Auditor, moment: Digest, answer: object) -> Verdict | None:
    """The answer, if it is this auditor's own verdict on this moment in its declared role.

    It is taken as the ledger will hold it, whatever object the auditor made of it.
    """
    if not isinstance(answer, Verdict):
        return None
    try:
        fields = answer.model_dump(exclude_none=True, warnings=False)
        written = canonical(fields)
        verdict = Verdict.parse(written)
        if not _carriable(verdict, written):
            return None
    except Exception:  # noqa: BLE001  an auditor's object may fail in any way
        return None
    if (
        verdict.auditor == auditor.name
        and verdict.role is auditor.role
        and verdict.moment == moment
        and set(verdict.saw) <= auditor.sees
        and verdict.said is None  # digests of words stand in for them in the ledger alone
        and verdict.replacement is None
    ):
        return verdict
    return None


def _carriable(verdict: Verdict, written: bytes) -> bool:
    """Whether the ledger can hold it: an answer that cannot be written down is none."""
    words = verdict.words
    if words is None:
        return len(written) <= MAX_EVENT // 2
    bare = without_words(verdict).canonical()
    return len(bare) <= MAX_EVENT // 2 and len(words.canonical()) <= MAX_CONTENT


def recorded(answer: Verdict | Failure, journal: Journal) -> AuditRecorded:
    """The event that records an answer; words go into the content beside it."""
    if answer.words is not None:
        journal.put(answer.words)
        if answer.words.replacement is not None:
            journal.put(answer.words.replacement)
    if isinstance(answer, Failure):
        return AuditRecorded(failure=without_words(answer))
    return AuditRecorded(verdict=without_words(answer))


def without_words(answer: A) -> A:
    """An answer as an event has it: its words by digest."""
    words = answer.words
    if words is None:
        return answer
    told: dict[str, object] = {"words": None, "said": digest_of(words)}
    if words.replacement is not None:
        told["replacement"] = digest_of(words.replacement)
    return answer.model_copy(update=told)


def signed(verdict: Verdict, key: PrivateKey) -> Verdict:
    """The verdict with its auditor's signature over the form that enters the ledger."""
    value = key.sign(without_words(verdict).canonical())
    return verdict.model_copy(update={"signature": Signature(key=key.public.id, value=value)})
