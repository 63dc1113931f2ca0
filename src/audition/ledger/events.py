"""The event schema: what each kind of event says. The list may grow, never change its meaning.

Content (goals, thoughts, proposals, outcomes, messages) is never inside an event: events name it by
digest and the ledger keeps it beside them, so that it can be redacted without breaking the chain.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self, cast

from pydantic import Field, ValidationError, model_validator

from audition.canonical import canonical, digest_bytes, loads
from audition.ledger.exact import Exact, exactly
from audition.plain import shown
from audition.step import (
    MOST,
    AuditorCard,
    Body,
    Decision,
    Digest,
    Event,
    Failure,
    Frozen,
    JsonObject,
    Micros,
    Moment,
    Name,
    Restriction,
    RunId,
    Signal,
    Signature,
    Unit,
    Usage,
    Verdict,
)

FORMAT = 1
"""Version of the ledger's format; a reader refuses what is newer."""

MOST_CANDIDATES = 16
"""Candidates of one moment, number 0 among them."""


MOST_PLANTS = 10_000
"""Planted steps that one run can be given."""


class Source(Frozen):
    """Where an imported record stood."""

    file: str
    """Name of the file, without its folder."""
    record: int = Field(ge=0)
    """Number of the record in it, from 0."""
    format: Name
    """Which importer read it."""


class Training(Frozen):
    """What a run of mode `simulated` trains."""

    plan: Digest
    """The plan, declared before anything is learned; siblings share it."""
    seed: int = Field(ge=0)
    """Which of the plan's seeds this run is."""


class RunOpened(Body):
    """A run begins; everything that judges it is fixed here."""

    kind: ClassVar[str] = "run.opened"
    format: int = FORMAT
    """Version of this schema."""
    mode: Literal["live", "record", "simulated"]
    """`live`: acts are performed; `record`: a transcript from elsewhere is reviewed; `simulated`:
    a thinker learns in a world without effects, whose steps travel as sealed batches."""
    project: Name
    """Name of the project."""
    goal: Digest
    """What the run is for."""
    thinker: Name
    """Who thinks."""
    thinking: Digest | None = None
    """Digest of the thinker's own configuration, where it has one."""
    auditors: tuple[AuditorCard, ...]
    """Who may judge, and in which role."""
    gate: JsonObject
    """The gate's specification; `verify` builds it again and re-runs every decision."""
    tools: tuple[Digest, ...] = ()
    """Schemas of the tools that may act."""
    box: Digest | None = None
    """How the thinker's box is laid out and what binds it."""
    confinement: Digest | None = None
    """What held on this machine when the box opened, and what that does not cover."""
    budget: JsonObject = Field(default={})
    """Limits on the run."""
    restrictions: Digest
    """Digest of the list of restrictions."""
    secret: Digest | None = None
    """Hash of the lottery's secret; the secret itself appears when the run closes."""
    source: Source | None = None
    """Where a record came from."""
    training: Training | None = None
    """What a simulated run trains."""
    candidates: int | None = Field(default=None, ge=2, le=MOST_CANDIDATES)
    """Candidates of a drawn step, number 0 among them; None: that one alone."""
    start: Digest | None = None
    """Where steps have candidates, digest of the box's state in which the run begins."""
    state: Digest | None = None
    """Archive of that state."""


class RunResumed(Body):
    """A process takes a run up again."""

    kind: ClassVar[str] = "run.resumed"
    box: Digest | None = None
    """Digest of the box's state, rebuilt."""
    confinement: Digest | None = None
    """What held on this machine when the box opened again."""
    savepoint: Digest | None = None
    """The newest savepoint, as this process found it."""


class RunSaved(Body):
    """Where a run stands between two steps; whoever takes it up need not read what came before."""

    kind: ClassVar[str] = "run.saved"
    savepoint: Digest
    """The savepoint (`audition.ledger.savepoint`)."""


class RestrictionDeclared(Body):
    """A restriction in force from the start."""

    kind: ClassVar[str] = "restriction.declared"
    restriction: Restriction
    """The restriction."""


class PlantSealed(Body):
    """Some of the run's steps will be planted; which ones they are is fixed and not yet shown."""

    kind: ClassVar[str] = "plant.sealed"
    count: int = Field(ge=1, le=MOST_PLANTS)
    """Planted steps that there are."""
    rate: Unit
    """Share of the steps, from the second on, that are planted while there are any left."""
    leaves: Digest
    """The list of their salted digests, in the order in which they come."""


class PlantOpened(Body):
    """The step under judgement was planted: whatever is decided, nothing is done."""

    kind: ClassVar[str] = "plant.opened"
    moment: Digest
    """The moment."""
    number: int = Field(ge=0, lt=MOST_PLANTS)
    """Its place in the list that was sealed."""
    harmful: bool
    """The answer that was known: whether an auditor should stop it."""
    label: Name | None = None
    """What kind of step it is, where that was said."""
    salt: bytes = Field(min_length=32, max_length=32)
    """With which its digest was sealed."""


class TranscriptRecorded(Body):
    """A message of a record that is no proposal of its thinker."""

    kind: ClassVar[str] = "transcript.recorded"
    role: Name
    """Who spoke."""
    name: str | None = None
    """The speaker's own name."""
    content: Digest
    """What was said."""


class StepThought(Body):
    """A thought ended in a proposal; what the thinker did since its previous one."""

    kind: ClassVar[str] = "step.thought"
    turn: int = Field(ge=1)
    """Number of the step."""
    content: Digest | None = None
    """What was thought."""
    calls: Digest | None = None
    """The calls of tools in the box."""
    exchanges: Digest | None = None
    """Requests to models and their replies."""
    box: Digest | None = None
    """Digest of the box's state afterwards."""
    state: Digest | None = None
    """Archive of the box's state, from which a killed run goes on."""
    usage: Usage | None = None
    """What the thinking cost."""


class ThoughtFailed(Body):
    """A thought ended in no proposal; the run ends with it."""

    kind: ClassVar[str] = "thought.failed"
    turn: int = Field(ge=1)
    """Number of the step that it was to end in."""
    content: Digest | None = None
    """What was thought so far."""
    calls: Digest | None = None
    """The calls of tools in the box."""
    exchanges: Digest | None = None
    """Requests to models and their replies."""
    usage: Usage
    """What it cost all the same."""
    reason: str = Field(max_length=500)
    """Why it failed, in one line."""


class StepProposed(Body):
    """A proposal as the thinker made it, or as a `modify` replaced it."""

    kind: ClassVar[str] = "step.proposed"
    turn: int = Field(ge=1)
    """Number of the step."""
    attempt: int = Field(default=0, ge=0)
    """0 for the thinker's own, then one more for each replacement."""
    proposal: Digest
    """The proposal."""
    what: Literal["act", "ask", "think", "finish"]
    """Its kind."""
    by: Name | None = None
    """Who made it, where several think (a record), or whose verdict replaced it."""


class MomentSealed(Body):
    """The moment is frozen; from here on it is judged."""

    kind: ClassVar[str] = "moment.sealed"
    moment: Moment
    """The moment."""


class AuditDrawn(Body):
    """The lottery's result for a turn."""

    kind: ClassVar[str] = "audit.drawn"
    moment: Digest
    """The moment."""
    stratum: Name
    """Its stratum."""
    rate: Unit
    """The declared rate."""
    drawn: bool
    """Whether the auditors under `sampled` are asked."""


class Candidate(Frozen):
    """Another step that the thinker would have put forward, from a call like that before it."""

    proposal: Digest
    """The step."""
    content: Digest | None = None
    """What was thought."""
    calls: Digest | None = None
    """The calls of tools in the box."""
    exchanges: Digest | None = None
    """Requests to models and their replies."""
    box: Digest
    """Digest of the state in which it left its own box, which is gone."""
    usage: Usage
    """What it cost; no budget counts it."""


class Missing(Frozen):
    """A candidate that there is not."""

    reason: str = Field(max_length=500)
    """Why, in one line."""
    content: Digest | None = None
    """What was thought so far."""
    calls: Digest | None = None
    """The calls of tools in the box."""
    exchanges: Digest | None = None
    """Requests to models and their replies."""
    usage: Usage
    """What it cost all the same."""


class CandidatesSealed(Body):
    """What else could have been done, thought after the draw and sealed before anybody is asked."""

    kind: ClassVar[str] = "candidates.sealed"
    moment: Digest
    """The moment, whose own proposal is candidate 0."""
    before: Digest | None = None
    """Digest of the box's state before the thought, from which each began; None if it was lost."""
    candidates: tuple[Candidate, ...] = Field(default=(), max_length=MOST_CANDIDATES - 1)
    """The further candidates; the first is number 1."""
    missing: tuple[Missing, ...] = Field(default=(), max_length=MOST_CANDIDATES - 1)
    """Those that could not be had."""


class AuditAsked(Body):
    """An auditor outside this process (a person, a model) is asked."""

    kind: ClassVar[str] = "audit.asked"
    moment: Digest
    """The moment."""
    auditor: Name
    """Who is asked."""
    deadline: Micros | None = None
    """After this, silence is a no."""


class AuditRecorded(Body):
    """An auditor answered, or failed to."""

    kind: ClassVar[str] = "audit.recorded"
    verdict: Verdict | None = None
    """The answer."""
    failure: Failure | None = None
    """Or how it failed."""

    @model_validator(mode="after")
    def _one_without_words(self) -> Self:
        if (self.verdict is None) == (self.failure is None):
            raise ValueError("exactly one of verdict and failure")
        if self.answer.words is not None:
            raise ValueError("an event names words by digest")
        return self

    @property
    def answer(self) -> Verdict | Failure:
        """Whichever of the two it is."""
        answer = self.failure if self.verdict is None else self.verdict
        assert answer is not None
        return answer


class StepDecided(Body):
    """What the gate decided."""

    kind: ClassVar[str] = "step.decided"
    moment: Digest
    """The moment."""
    decision: Decision
    """The decision."""


class TicketIssued(Body):
    """Permission for one act, once."""

    kind: ClassVar[str] = "ticket.issued"
    moment: Digest
    """The moment that was judged."""
    ticket: Digest
    """Digest of the ticket, which is its name."""
    proposal: Digest
    """What it permits."""
    tool: Digest
    """The schema of the tool that it permits it to."""
    expires: Micros
    """When it lapses."""


class ActStarted(Body):
    """A ticket is redeemed: from here on the act may have happened."""

    kind: ClassVar[str] = "act.started"
    ticket: Digest
    """The ticket."""


class ActFinished(Body):
    """The world answered."""

    kind: ClassVar[str] = "act.finished"
    ticket: Digest
    """The ticket."""
    status: Literal["done", "failed", "refused"]
    """How it went."""
    outcome: Digest
    """What the world answered."""


class ActRecorded(Body):
    """The outcome of a step that happened elsewhere, before this ledger saw it."""

    kind: ClassVar[str] = "act.recorded"
    moment: Digest
    """The moment."""
    outcome: Digest | None = None
    """What the record says came back, if it does."""


class ActInDoubt(Body):
    """An act was started, and nobody knows whether it happened."""

    kind: ClassVar[str] = "act.in_doubt"
    ticket: Digest
    """The ticket."""
    outcome: Digest | None = None
    """What the executor could say of it; None: its process died."""


class ActSettled(Body):
    """A person says whether an act in doubt happened."""

    kind: ClassVar[str] = "act.settled"
    ticket: Digest
    """The ticket."""
    happened: bool
    """Whether it did."""
    by: Name
    """Who says so."""
    outcome: Digest
    """What the run is told."""


class RestrictionLifted(Body):
    """A restriction no longer holds, by the keys that it names."""

    kind: ClassVar[str] = "restriction.lifted"
    restriction: Name
    """Its name."""
    reason: str = Field(max_length=2000)
    """Why."""
    signatures: tuple[Signature, ...] = Field(min_length=1, max_length=100)
    """Over `lifting_note(run, restriction, reason)`, by as many of its keys as it needs."""


def lifting_note(run: RunId, restriction: str, reason: str) -> bytes:
    """What whoever lifts a restriction signs."""
    return canonical({"lifts": restriction, "reason": reason, "run": run})


REGISTER: RunId = digest_bytes(b"audition/register/1")[:32]
"""Under this name stand the key events of a ledger itself; no run bears it."""

VerifierKey = Annotated[str, Field(max_length=400)]
"""A public key as C2SP writes it: `name+hash+base64`."""


class KeyEnrolled(Body):
    """A person may sign off with this key; in a run, a copy of what the register says."""

    kind: ClassVar[str] = "key.enrolled"
    person: Name
    """Whose key it is."""
    key: VerifierKey
    """The public key."""
    signature: Signature
    """Over `enrolment_note(origin, person, key)`, by the ledger's operator."""


class KeyRevoked(Body):
    """The key is good for nothing more; in a run, an approval that it signed is taken back."""

    kind: ClassVar[str] = "key.revoked"
    person: Name
    """Whose key it was."""
    key: VerifierKey
    """The public key."""
    signature: Signature
    """Over `revocation_note(origin, person, key)`, by the ledger's operator."""


def enrolment_note(origin: str, person: str, key: str) -> bytes:
    """What the operator of the ledger `origin` signs to enrol a key."""
    return canonical({"enrols": key, "ledger": origin, "person": person})


def revocation_note(origin: str, person: str, key: str) -> bytes:
    """What the operator of the ledger `origin` signs to revoke a key."""
    return canonical({"ledger": origin, "person": person, "revokes": key})


class Column(Frozen):
    """One column of a batch."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,59}$")]
    """Its name."""
    dtype: Literal["u1", "u2", "u4", "i1", "i2", "i4", "i8", "f4", "f8"]
    """Kind and bytes of a number, little-endian."""
    shape: tuple[Annotated[int, Field(ge=1, le=65536)], ...] = Field(default=(), max_length=4)
    """Shape of one row's entry; a scalar's is empty."""
    part: Literal[
        "context",
        "carried",
        "span",
        "stratum",
        "drawn",
        "candidates",
        "approval",
        "ranking",
        "reward",
        "note",
    ]
    """What it is to a lesson: the fixed context; what the thinker carried over from before (context
    too, and never shown to a teacher); the step's own span; the lottery's stratum and result;
    alternatives; a teacher's approval or ranking; a reward (never learned from but by the `outcome`
    baseline); or a note that nothing reads."""


class BatchSealed(Body):
    """Many simulated steps at once: a Merkle root over leaves of consecutive rows."""

    kind: ClassVar[str] = "batch.sealed"
    number: int = Field(ge=0)
    """Place among the run's batches, from 0."""
    rows: int = Field(ge=1, le=MOST)
    """Steps."""
    leaf: int = Field(ge=1, le=MOST)
    """Rows of one leaf: one simulated environment's consecutive steps."""
    columns: tuple[Column, ...] = Field(min_length=1, max_length=60)
    """What each row says."""
    data: Digest
    """The rows, as content."""
    root: Digest
    """Root of the RFC 6962 tree over the leaves."""
    environment: Digest
    """The environment's specification."""
    thinker: Digest
    """The weights that acted."""
    auditor: Name | None = None
    """Who gave the approvals or rankings in the rows; None: verdicts follow as events, or none."""
    judge: Digest | None = None
    """What that auditor was: its weights, or its rules."""
    rates: dict[str, Unit] = Field(default={})
    """The lottery's declared rate for each stratum, by its number."""


class LessonTaken(Body):
    """Lessons are drawn from what was judged."""

    kind: ClassVar[str] = "lesson.taken"
    of: Name
    """Who is to learn: the thinker, or an auditor that is trained."""
    batch: Digest | None = None
    """Root of the batch that they come from; None: they are of the ledger's live moments."""
    signal: Signal
    """What they consist of."""
    auditor: Name
    """Whose verdicts they are, or who demonstrated."""
    population: int = Field(ge=0)
    """Moments from which the lottery drew, the ones not drawn included."""
    admissible: int = Field(ge=0)
    """Lessons that could have been taken."""
    taken: int = Field(ge=0)
    """Lessons that were."""
    refused: dict[str, int] = Field(default={})
    """What was refused, counted by reason."""
    lessons: Digest
    """Digest of the lessons' arrays."""


class ThinkerUpdated(Body):
    """New weights."""

    kind: ClassVar[str] = "thinker.updated"
    of: Name
    """Who learned: the thinker, or an auditor that is trained."""
    number: int = Field(ge=0)
    """Place among its updates, from 0."""
    before: Digest
    """The weights before."""
    after: Digest
    """The weights after."""
    lessons: Digest | None = None
    """Digest of the lessons, as the `lesson.taken` before has it; None for an outcome."""
    signal: Literal["approval", "comparison", "demonstration", "outcome"]
    """What it learned from; `outcome` is the baseline, and never certified."""
    horizon: int | None = Field(default=None, ge=1)
    """Steps that one signal's credit reached; None: all."""
    weights: Digest | None = None
    """The new weights as content, where they are kept; equal to `after`."""
    measures: dict[str, float] = Field(default={})
    """What the learner reports of the update."""


class ThinkerChosen(Body):
    """One of several trained thinkers goes on."""

    kind: ClassVar[str] = "thinker.chosen"
    among: tuple[Digest, ...] = Field(min_length=1, max_length=10_000)
    """The weights to choose from."""
    chosen: Digest
    """The weights that go on."""
    by: Literal["declared", "lottery", "approval", "outcome"]
    """By what: fixed before training, by the run's lottery, or by results."""


class ContentRedacted(Body):
    """Content was deleted; its digest stays."""

    kind: ClassVar[str] = "content.redacted"
    content: Digest
    """What was deleted."""
    reason: str
    """Why."""


class RunClosed(Body):
    """A run ends."""

    kind: ClassVar[str] = "run.closed"
    status: Literal["finished", "terminated", "exhausted", "failed", "recorded", "trained"]
    """Finished; stopped by a red line or a person; out of budget; the thinker failed; imported;
    trained to the end of its plan."""
    reason: str = ""
    """Why, in one line."""
    answer: Digest | None = None
    """The root's answer; of a run that trains, the weights that it ends with, where the ledger
    keeps them."""
    secret: bytes | None = None
    """The lottery's secret, now shown, so that anyone can check every draw."""
    labels: Digest | None = None
    """What the record's own authors say of it; recorded last, after every judgement."""


BODIES: dict[str, type[Body]] = {
    body.kind: body
    for body in (
        RunOpened,
        RunResumed,
        RunSaved,
        RestrictionDeclared,
        PlantSealed,
        TranscriptRecorded,
        StepThought,
        ThoughtFailed,
        StepProposed,
        MomentSealed,
        AuditDrawn,
        CandidatesSealed,
        AuditAsked,
        AuditRecorded,
        PlantOpened,
        StepDecided,
        TicketIssued,
        ActStarted,
        ActFinished,
        ActRecorded,
        ActInDoubt,
        ActSettled,
        ContentRedacted,
        RestrictionLifted,
        KeyEnrolled,
        KeyRevoked,
        BatchSealed,
        LessonTaken,
        ThinkerUpdated,
        ThinkerChosen,
        RunClosed,
    )
}
"""Every kind of event that this version writes and reads."""


class EventError(ValueError):
    """Bytes that are no event of this version; the message says what is wrong."""


def parse_event(data: bytes, *, strict: bool = True) -> Event:
    """The event that canonical bytes stand for.

    Args:
        data: the bytes of a leaf.
        strict: also require that the bytes are exactly what this version would write.

    Raises:
        EventError: anything else.
    """
    if (event := _at_once(data)) is not None:
        return event
    try:
        fields = loads(data)
        if not isinstance(fields, dict):
            raise EventError("an event is a JSON object")
        fields = cast("dict[str, Any]", fields)
        kind = fields.pop("kind", None)
        if not isinstance(kind, str) or kind not in BODIES:
            raise EventError(f"unknown kind of event {str(kind)[:60]!r}; a newer version wrote it?")
        body = BODIES[kind].model_validate(fields.pop("body", None))
        event = Event.model_validate({**fields, "body": body})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise EventError(shown(f"{place or 'event'}: {first['msg']}", 300)) from None
    except EventError:
        raise
    except ValueError as error:
        raise EventError(str(error)) from None
    if not strict and b"~i:" not in data:  # all but integers of any length can be written again
        return event
    try:
        plain = event.canonical()
    except ValueError as error:  # a number that can be read and not written again
        raise EventError(str(error)) from None
    if strict and plain != data:
        raise EventError("not in canonical form")
    return event


def _at_once(data: bytes) -> Event | None:
    """The event, if these bytes are so plainly what this version writes that one look will do."""
    end = data.rfind(b'","run":"')
    body = _NAMED.get(data[data.rfind(b'"', 0, end) + 1 : end])
    exact = None if body is None else _exact(body)
    return None if exact is None else exact.read(data)


_NAMED = {kind.encode(): body for kind, body in BODIES.items()}


@cache
def _exact(body: type[Body]) -> Exact | None:
    return exactly(body)


def json_schema() -> JsonObject:
    """JSON schema of every kind of event, by kind (before the tags of the canonical form)."""
    return {kind: body.model_json_schema() for kind, body in BODIES.items()}
