"""The certificate of a trained thinker: what fed it, under which restrictions, and how far shown.

Three levels, each with what it can see and what it cannot:

*recorded*  the ledger's events, batches and lessons agree with each other, the plan and the
            restrictions, for the thinker and for whatever its teachers were trained from;
*opened*    leaves drawn by whoever verifies, after they were sealed, could have happened, and their
            machine teacher says of them what was recorded;
*replayed*  training again from the base gives the same batches, lessons and weights, to the bit.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

import anyio

from audition.learn import PROCESS, Plan, PlanError, Study
from audition.learn.plan import study_of
from audition.learn.replay import Differs, replay
from audition.ledger import LedgerError, PublicKey, parse_event
from audition.ledger.evidence import Evidence
from audition.step import Digest, Event, Frozen, Name, Role, RunId
from audition.verify.choice import Choice
from audition.verify.leaves import Opened, open_leaves
from audition.verify.simulated import Course
from audition.verify.verification import Examined, Verification, examine

NEVER_CERTIFIED = (
    "what the base weights had learned before this training began",
    "selection off the ledger: seeds, checkpoints, hyper-parameters or whole ledgers that were "
    "tried and not shown",
    "why this one of the siblings is the one that is used",
    "whether the teachers' judgement was right, or a person who taught knew of an outcome",
    "whether what the study calls context is fixed before the step, and what its code does with "
    "it: replaying runs the code that is installed here",
)
"""What no level of a certificate shows."""

RECORDED_ONLY = (
    "recorded, not opened: whether the steps could have happened, and whether their teacher says "
    "so again"
)
DEMONSTRATED = (
    "whose steps the demonstrations were: that the teacher took them is the word of the study"
)
LIVE = (
    "whether the lessons of live moments are all that this ledger gives: `audition lessons` draws "
    "them again"
)
UNSIGNED = "who wrote the ledger: no key that is trusted here signed it"
NOT_REPLAYED = "not replayed: whether the weights follow from the lessons; nothing else binds them"

LAST = "last"
"""Stands for the thinker that was trained last."""

FindStudy = Callable[[Plan, int, Callable[[Digest], bytes]], Study]
"""Makes the study of a plan, one of its seeds, and a reader of the ledger's content."""


class CertificateError(ValueError):
    """There is nothing to certify; the message says what the ledger holds."""


class Level(Frozen):
    """One level of a certificate."""

    holds: bool
    """Whether nothing speaks against it."""
    against: tuple[str, ...] = ()
    """What does."""


class Leaves(Level):
    """The level *opened*."""

    leaves: int
    """Leaves that were opened, with replacement, over all runs concerned."""
    rows: int
    """Steps in them."""
    violating_at_most: float
    """Upper bound (95 %) on the fraction of leaves that are inadmissible, where none was found."""


class Held(Frozen):
    """A restriction, and whether it held to the end."""

    name: Name
    """Its name."""
    says: str
    """What it forbids or bounds."""
    lifted: bool
    """Whether keys lifted it."""


class Taught(Frozen):
    """Who taught, and how much."""

    auditor: Name
    """The auditor."""
    role: Role
    """Its role."""
    moments: int
    """Moments that it judged."""
    trained_from: Digest | None = None
    """The weights it judged by, where it was trained; their run is held to the same."""


class Certificate(Frozen):
    """What a ledger shows of how a thinker was trained."""

    thinker: Digest
    """Its weights."""
    run: RunId
    """The run that ended with them."""
    project: Name
    """What was trained."""
    plan: Digest
    """The plan that was declared."""
    seed: int
    """Its seed."""
    siblings: dict[str, Digest]
    """The weights of every declared seed that the ledger holds, by seed."""
    chosen: bool
    """Whether a rule committed to before training chose it among them, on this ledger."""
    base: Digest
    """The weights that training began from."""
    base_known: bool
    """Whether this ledger holds how they were trained; False for those that the seed gives."""
    restrictions: tuple[Held, ...]
    """The restrictions declared."""
    taught: tuple[Taught, ...]
    """Whose verdicts fed it."""
    lessons: int
    """Lessons taken."""
    updates: int
    """Updates made."""
    rests_on: tuple[RunId, ...]
    """Runs that trained its teachers or its base, held to the same at every level."""
    recorded: Level
    """What the events show."""
    opened: Leaves | None
    """What opened leaves show; None: not asked for."""
    replayed: Level | None
    """What training again shows; None: not asked for."""
    level: Literal["none", "recorded", "opened", "replayed"]
    """The highest level that holds, every lower one that was looked at included."""
    not_seen: tuple[str, ...]
    """What the levels that were looked at cannot see, and what none can."""
    verification: Verification
    """The ledger itself."""


def certify(
    where: str | Path,
    thinker: str,
    *,
    trusted: Iterable[PublicKey] = (),
    checkpoint: str | Path | None = None,
    leaves: int = 0,
    again: bool = False,
    find: FindStudy = study_of,
    progress: Callable[[str, float], None] | None = None,
) -> Certificate:
    """Certify how a thinker was trained.

    Args:
        where: the ledger; read, never written.
        thinker: digest of its weights, or the beginning of it (8 digits or more); `last` for the
            one that was trained last.
        trusted: keys whose signatures count.
        checkpoint: a checkpoint from outside the ledger.
        leaves: leaves to open in each run concerned, drawn now; 0 leaves them closed.
        again: whether to replay.
        find: makes the study of a plan; the installed one unless told otherwise.
        progress: told what is being done, and how far it is in [0, 1].

    Raises:
        CertificateError: the ledger holds no such thinker.
        LedgerError: there is no ledger that could be read.
    """
    tell = progress or (lambda _what, _part: None)
    tell("verifying", 0.0)
    examined = examine(where, trusted, checkpoint)
    course = _course(examined, thinker)
    thinker = course.last if thinker == LAST else thinker
    recorded, rests_on = _recorded(examined, course, thinker)
    concerned = [course, *rests_on]
    opened = replayed = None
    with Evidence(where) as evidence:
        get = functools.partial(_get, evidence)
        if leaves:
            tell("opening", 0.0)
            opened = _opened([open_leaves(one, leaves, get, find) for one in concerned])
        if again:
            replayed = _replayed(evidence, concerned, get, find, tell)
    level: Literal["none", "recorded", "opened", "replayed"] = "none"
    if recorded.holds:
        level = "recorded"
        if opened is not None and opened.holds:
            level = "opened"
        if replayed is not None and replayed.holds and (opened is None or opened.holds):
            level = "replayed"
    not_seen = [*NEVER_CERTIFIED]
    if not again:
        not_seen[:0] = [NOT_REPLAYED] if leaves else [RECORDED_ONLY, NOT_REPLAYED]
    if any(one.plan is not None and one.plan.signal == "demonstration" for one in concerned):
        not_seen.insert(0, DEMONSTRATED)
    if any(one.live for one in concerned):
        not_seen.insert(0, LIVE)
    if not examined.verification.signed_by:
        not_seen.insert(0, UNSIGNED)
    assert course.opened.training is not None
    return Certificate(
        thinker=_whole(course, thinker),
        run=course.run,
        project=course.opened.project,
        plan=course.opened.training.plan,
        seed=course.opened.training.seed,
        siblings={str(seed): one.last for seed, one in _siblings(examined, course) if one.closed},
        chosen=any(
            one.complete and one.chosen == course.last for one in _choices(examined, course)
        ),
        base=course.first,
        base_known=any(course.first in one.updates for one in examined.courses),
        restrictions=tuple(
            Held(name=one.name, says=one.says, lifted=one.name in course.lifted)
            for one in course.restrictions
        ),
        taught=tuple(
            Taught(
                auditor=card.name,
                role=card.role,
                moments=course.audits.get(card.name, 0),
                trained_from=card.trained_from,
            )
            for card in course.opened.auditors
        ),
        lessons=course.lessons,
        updates=len(course.updates),
        rests_on=tuple(one.run for one in rests_on),
        recorded=recorded,
        opened=opened,
        replayed=replayed,
        level=level,
        not_seen=tuple(not_seen),
        verification=examined.verification,
    )


def thinkers(examined: Examined) -> list[tuple[Digest, Course]]:
    """Every thinker whose training a ledger holds to its end: weights and run."""
    return [(one.last, one) for one in examined.courses if one.updates and one.closed]


# ------------------------------------------------------------------------ recorded


def _course(examined: Examined, thinker: str) -> Course:
    """The run that the thinker comes from: the last that made these weights."""
    found = [
        one
        for one in examined.courses
        if (thinker == LAST and one.closed and one.updates)
        or (len(thinker) >= 8 and any(digest.startswith(thinker) for digest in one.updates))
    ]
    if not found or found[-1].opened.training is None:
        held = [digest[:12] for digest, _ in thinkers(examined)]
        listed = f"it holds {', '.join(held[:10])}" if held else "it holds no trained thinker"
        raise CertificateError(f"no thinker {thinker[:64]!r} was trained in this ledger; {listed}")
    return found[-1]


def _whole(course: Course, thinker: str) -> Digest:
    return next(digest for digest in reversed(course.updates) if digest.startswith(thinker))


def _recorded(examined: Examined, course: Course, thinker: str) -> tuple[Level, list[Course]]:
    against: list[str] = []
    for finding in examined.verification.findings:
        if finding.run is None or finding.guarantee == 10:
            against.append(f"the ledger: {finding}")
    if examined.verification.found > len(examined.verification.findings):
        against.append("the ledger: more was found than is listed; verify it first")
    if _whole(course, thinker) != course.last:
        against.append("these are not the weights its plan ends with: a checkpoint was chosen")
    rests_on, missing = _provenance(examined, course)
    against += missing
    for one in [course, *rests_on]:
        name = "" if one is course else f"run {one.run[:8]}, on which it rests: "
        if one.becomes is Role.GUARD:
            against.append(f"{name}it trained a guard, which neither thinks nor teaches")
        against += [name + says for says in _against(examined, one)]
    return Level(holds=not against, against=tuple(against)), rests_on


def _against(examined: Examined, course: Course) -> Iterator[str]:
    """What the events say against one run of training."""
    yield from (str(finding) for finding in examined.findings.get(course.run, ()))
    if course.plan is None:
        yield "its plan is gone, so nothing it did can be held against what was declared"
        return
    if course.plan.signal == "outcome" or course.outcome:
        yield "it learned from outcomes, and can never be certified"
    if course.closed != "trained":
        yield f"its training is not complete ({course.closed or 'still open'})"
    if PROCESS.name in course.lifted:
        yield f"restriction {PROCESS.name!r} was lifted: what it learned from is not limited"
    if course.unread:
        yield f"{course.unread} of its batches are gone"
    seen: dict[int, int] = {}
    begun: dict[int, int] = {}
    for seed, one in _siblings(examined, course):
        begun[seed] = begun.get(seed, 0) + 1
        seen[seed] = seen.get(seed, 0) + (one.closed == "trained")
    for seed in course.plan.seeds:
        if not seen.get(seed):
            yield f"seed {seed} was declared and is missing: a sibling may have been dropped"
        elif begun[seed] > 1:  # a run broken off counts: nobody can tell why it was
            yield f"seed {seed} was trained {begun[seed]} times: one may have been chosen"
    choices = _choices(examined, course)
    if len(choices) > 1:
        yield f"{len(choices)} rules of selection were committed to: one may have been chosen"
    for selection in choices:
        if not selection.complete:
            yield "a rule of selection was committed to, and the choice is not complete"
        elif selection.chosen != course.last:
            yield "the choice that this ledger records fell on another sibling"
        yield from (str(finding) for finding in examined.findings.get(selection.run, ()))
    for other in examined.courses:
        for choice in other.chosen:
            if choice.by in ("outcome", "approval") and course.last in choice.among:
                yield f"it was chosen by {choice.by} among {len(choice.among)}"


def _siblings(examined: Examined, course: Course) -> list[tuple[int, Course]]:
    """The runs of the same plan, by seed."""
    assert course.opened.training is not None
    plan = course.opened.training.plan
    return [
        (one.opened.training.seed, one)
        for one in examined.courses
        if one.opened.training is not None and one.opened.training.plan == plan
    ]


def _choices(examined: Examined, course: Course) -> list[Choice]:
    """The runs that choose among the siblings of this one's plan."""
    training = course.opened.training
    return [one for one in examined.choices if training is not None and one.plan == training.plan]


def _provenance(examined: Examined, course: Course) -> tuple[list[Course], list[str]]:
    """The runs that trained its teachers and its base, theirs included; and what is missing."""
    made: dict[Digest, list[Course]] = {}
    for one in examined.courses:
        for digest in dict.fromkeys(one.updates):
            made.setdefault(digest, []).append(one)
    found = [one for one in made.get(course.last, ()) if one is not course]
    missing: list[str] = []
    ahead = [course, *found]
    while ahead:
        one = ahead.pop()
        due = [(card.trained_from, f"teacher {card.name}") for card in one.opened.auditors]
        base = one.plan.base if one.plan is not None else None
        for digest, whose in [*due, (one.first, "its base")]:
            if digest is None:
                continue
            sources = made.get(digest, [])
            if whose == "its base":  # a run may learn nothing and end where it began
                sources = [source for source in sources if source is not one]
            if not sources and whose != "its base":
                missing.append(
                    f"{whose} was trained from {digest[:12]}…, which this ledger does not hold"
                )
            if sources and whose == "its base" and base is None:
                missing.append("it began from weights trained in this ledger, and declares no base")
            for source in sources:
                if source.last != digest:
                    missing.append(f"{whose} is a checkpoint of run {source.run[:8]}, chosen")
                if source.ended is None or source.ended > one.began:
                    missing.append(f"{whose} comes from run {source.run[:8]}, which had not ended")
                if source is not course and source not in found:
                    found.append(source)
                    ahead.append(source)
    return found, list(dict.fromkeys(missing))


# ------------------------------------------------------------------------ opened, replayed


def _opened(found: list[Opened]) -> Leaves:
    against = [says for one in found for says in one.against]
    least = min((one.leaves for one in found), default=0)
    return Leaves(
        holds=not against,
        against=tuple(against[:100]),
        leaves=sum(one.leaves for one in found),
        rows=sum(one.rows for one in found),
        violating_at_most=1.0 if against or not least else 1 - 0.05 ** (1 / least),
    )


def _replayed(
    evidence: Evidence,
    concerned: list[Course],
    get: Callable[[Digest], bytes],
    find: FindStudy,
    tell: Callable[[str, float], None],
) -> Level:
    against: list[str] = []
    for number, course in enumerate(concerned):
        tell("replaying", number / len(concerned))

        def progress(now: int, of: int, _: object, before: int = number) -> None:
            tell("replaying", (before + now / of) / len(concerned))

        name = f"run {course.run[:8]}: "
        if course.plan is None or course.secret is None or course.opened.training is None:
            against.append(name + "its plan or its lottery's secret is not there")
            continue
        try:
            study = find(course.plan, course.opened.training.seed, get)
            again = functools.partial(replay, study=study, progress=progress)
            events = _events(evidence, course.run)
            anyio.run(functools.partial(again, course.run, events, course.plan, course.secret, get))
        except (Differs, PlanError, LedgerError, ValueError) as error:
            against.append(f"{name}{error}{_other_libraries(course.plan)}")
        except Exception as error:  # noqa: BLE001 a study is foreign code: its crash is no replay
            against.append(f"{name}the study failed: {type(error).__name__}: {error}")
    return Level(holds=not against, against=tuple(against))


def _other_libraries(plan: Plan) -> str:
    """Which libraries differ from those that the plan names, as an explanation."""
    found: list[str] = []
    for name, due in sorted(plan.libraries.items()):
        try:
            here = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            here = "none"
        if here != due:
            found.append(f"{name} {due}, here {here}")
    return f" (the plan names {'; '.join(found)})" if found else ""


def _events(evidence: Evidence, run: RunId) -> list[Event]:
    name = bytes.fromhex(run)
    return [parse_event(data) for _, of, _, _, data in evidence.rows() if of == name]


def _get(evidence: Evidence, digest: Digest) -> bytes:
    for _, _, data in evidence.get({bytes.fromhex(digest)}):
        if isinstance(data, bytes):
            return data
    raise LedgerError(f"content {digest[:12]}… is not in this ledger")
