"""The words of Audition: one module of frozen types through which everything flows.

Sections: content and cost; proposals; the moment; judging; permission and outcome; restrictions;
the event envelope; the protocols. Every value has one canonical form (`audition.canonical`) and so
one digest, whatever the process, the order of fields or the version of the library: fields that
are None are left out, so a later optional field changes no digest of today.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    TypeAdapter,
    field_validator,
    model_validator,
)

from audition.canonical import canonical, canonical_fields, digest_bytes, loads
from audition.shape import fixed, whole

Digest: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 as 64 hexadecimal digits (half of HMAC-SHA-512 under a salt for private content)."""

RunId: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
"""Name of a run: 32 hexadecimal digits, random for a live run, derived for a record."""

Name: TypeAlias = Annotated[
    str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")
]
"""A short printable name."""

Unit: TypeAlias = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""A real number in [0, 1]."""

MOST = 2**53 - 1
"""Largest cost of a kind: sums stop here, and every reader of JSON can carry it."""

Micros: TypeAlias = Annotated[int, Field(ge=0, le=2**53 - 1)]
"""Time in microseconds since 1970-01-01 UTC."""

JsonObject: TypeAlias = dict[str, JsonValue]
"""A JSON object."""


class Frozen(BaseModel):
    """An immutable value; unknown fields are refused, so that a slip of the pen cannot pass."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, val_json_bytes="base64"
    )

    def canonical(self) -> bytes:
        """The canonical bytes of this value."""
        fields = self.__pydantic_serializer__.to_python(self, exclude_none=True)
        kind = type(self)
        return canonical_fields(fields, whole=whole(kind)) if fixed(kind) else canonical(fields)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The value that canonical bytes stand for.

        Raises:
            ValueError: not canonical JSON, or not a value of this type.
        """
        return cls.model_validate(loads(data))


def digest_of(value: Frozen) -> Digest:
    """The digest of a value: SHA-256 of its canonical bytes."""
    return digest_bytes(value.canonical())


def now() -> int:
    """The clock: microseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1000


# ------------------------------------------------------------------------ content and cost


class Usage(Frozen):
    """What something cost."""

    seconds: float = Field(default=0.0, ge=0, le=MOST, allow_inf_nan=False)
    """Wall-clock time."""
    calls: int = Field(default=0, ge=0, le=MOST)
    """Calls of tools in the box."""
    tokens_in: int = Field(default=0, ge=0, le=MOST)
    """Tokens read by a model."""
    tokens_out: int = Field(default=0, ge=0, le=MOST)
    """Tokens written by a model."""
    usd: float = Field(default=0.0, ge=0, le=MOST, allow_inf_nan=False)
    """Money."""

    @classmethod
    def total(cls, costs: Iterable[Usage]) -> Usage:
        """What several things cost together; no sum goes beyond `MOST`."""
        seconds = calls = tokens_in = tokens_out = usd = 0
        for one in costs:
            seconds += one.seconds
            calls += one.calls
            tokens_in += one.tokens_in
            tokens_out += one.tokens_out
            usd += one.usd
        return cls(
            seconds=min(MOST, seconds),
            calls=min(MOST, calls),
            tokens_in=min(MOST, tokens_in),
            tokens_out=min(MOST, tokens_out),
            usd=min(MOST, usd),
        )


class Completed(Frozen):
    """What a command in the box left behind."""

    argv: tuple[str, ...]
    """The command, as given."""
    returncode: int | None
    """Exit status; negative for a signal, None if a limit stopped it."""
    stdout: bytes
    """Standard output, cut at the box's output limit."""
    stderr: bytes
    """Standard error, cut likewise."""
    truncated: bool = False
    """Whether output was cut."""
    stopped: str | None = None
    """Which limit stopped it (`time`, `memory`, `output` …), if one did."""
    seconds: float = Field(default=0.0, ge=0)
    """Wall-clock time."""


class Exchange(Frozen):
    """One request to a model outside the box and its reply, both exactly as they were sent."""

    request: bytes
    """The body of the request; never a header, so never a key."""
    reply: bytes
    """The body of the reply as it came; what had come of it, where it broke off."""


class Snapshot(Frozen):
    """A box's state at one instant; opening it gives that state with a separate future."""

    id: str
    """Name of the snapshot within its box."""
    digest: Digest
    """Digest of the state."""


class Message(Frozen):
    """Something said in a run that is not a proposal: by the system, a person or a tool."""

    role: Name
    """Who speaks, as the record says: `system`, `user`, `tool` …"""
    content: str
    """What was said."""
    name: str | None = None
    """The speaker's own name, where several share a role."""


# ------------------------------------------------------------------------ proposals


class _Proposed(Frozen):
    reason: str = ""
    """Why, in the thinker's own words; shown to auditors, trusted by nobody."""
    alternatives: tuple[Proposal, ...] = ()
    """Other steps the thinker would have been content with; they have none of their own."""

    @field_validator("alternatives")
    @classmethod
    def _flat(cls, alternatives: tuple[Proposal, ...]) -> tuple[Proposal, ...]:
        if any(other.alternatives for other in alternatives):
            raise ValueError("an alternative may not offer alternatives")
        return alternatives


class Act(_Proposed):
    """Something that a script can do at once."""

    kind: Literal["act"] = "act"
    tool: Annotated[str, Field(max_length=1000)]
    """Which executor's tool is to do it."""
    arguments: JsonObject = {}
    """The tool's arguments."""
    malformed: str | None = None
    """The arguments as written, where they were no JSON object; such an act never runs."""


class Ask(_Proposed):
    """A question, or a message, for a person."""

    kind: Literal["ask"] = "ask"
    question: str
    """What is asked or said."""
    to: str = "user"
    """Who is asked."""


class Think(_Proposed):
    """Think more, with this prompt: opens a child step."""

    kind: Literal["think"] = "think"
    prompt: str
    """What to think about; in a recorded chain of reasoning, the step as written."""


class Finish(_Proposed):
    """Closes the innermost open step with its answer; closing the root ends the run."""

    kind: Literal["finish"] = "finish"
    answer: str
    """The answer."""


Proposal: TypeAlias = Annotated[Act | Ask | Think | Finish, Field(discriminator="kind")]
"""What a thinker puts forward: `Act`, `Ask`, `Think` or `Finish`."""

for _word in (Act, Ask, Think, Finish):
    _word.model_rebuild()

_proposal: TypeAdapter[Proposal] = TypeAdapter(Proposal)


def parse_proposal(data: bytes) -> Proposal:
    """The proposal that canonical bytes stand for.

    Raises:
        ValueError: not canonical JSON, or no proposal.
    """
    return _proposal.validate_python(loads(data))


class Thought(Frozen):
    """What happened in the box since the previous proposal; ends in a proposal."""

    proposal: Proposal
    """The step put forward."""
    content: str = ""
    """What was thought, as far as it can be written down."""
    calls: tuple[Completed, ...] = ()
    """Tools called in the box, in order."""
    exchanges: tuple[Exchange, ...] = ()
    """What was said to models and what they answered, in order."""
    usage: Usage = Usage()
    """What the thinking cost."""


# ------------------------------------------------------------------------ the moment


class Moment(Frozen):
    """The audit-able moment: all that a judgement is about, by digest, fixed before any verdict."""

    run: RunId
    """The run."""
    turn: int = Field(ge=1)
    """Number of the step in its run, from 1."""
    attempt: int = Field(default=0, ge=0)
    """0, and one more for each `modify` of this turn."""
    place: str = Field(pattern=r"^[1-9][0-9]*(\.[1-9][0-9]*)*$", max_length=400)
    """Place in the decomposition: `1`, `1.1`, `1.1.2` …; several turns may share one."""
    goal: Digest
    """Digest of what the run is for."""
    history: Digest
    """Chained digest of all that happened before this step (see `after`)."""
    proposal: Digest
    """Digest of candidate 0, the proposal that may run."""
    thought: Digest | None = None
    """Digest of the thought that ended in it."""
    box: Digest | None = None
    """Digest of the box's state when the proposal was made."""
    tool: Digest | None = None
    """Digest of the schema of the tool that would act."""
    restrictions: Digest
    """Digest of the restrictions in force."""
    reviewers: Digest
    """Digest of the gate and of the auditors it may name."""
    by: Name | None = None
    """Whose replacement it is, where the gate asks for keys: nobody signs their own step."""


def after(history: Digest, entry: Mapping[str, Any]) -> Digest:
    """The history that follows `history` by one entry.

    The chain begins at the goal's digest. An entry is one of::

        {"message": {"role": …, "name": …, "content": digest}}
        {"turn": {"number", "attempt", "place", "thought", "proposal", "action", "outcome"}}

    where `action` is the decision and absent digests are left out. Turns of one recorded message
    (parallel calls) share the history before it and enter the chain one after the other.
    """
    return digest_bytes(canonical_fields({"after": history, **entry}, whole=True))


class Turn(Frozen):
    """One past step as a history tells it."""

    number: int
    """Number of the step in its run, planted ones left out."""
    place: str
    """Its place in the decomposition."""
    proposal: Proposal
    """What was put forward (and judged; the last attempt)."""
    action: str
    """What was decided, or `recorded`."""
    outcome: Outcome | None = None
    """What the world answered."""
    thought: str | None = None
    """What was thought, where the reader may see it."""


class Evidence(StrEnum):
    """What an auditor may declare that it sees."""

    PROPOSAL = "proposal"
    HISTORY = "history"
    CANDIDATES = "candidates"
    THOUGHT = "thought"
    INTERNALS = "internals"
    OUTCOME = "outcome"


class History(Protocol):
    """The run so far, read from the ledger as far as it is looked at; never copied."""

    goal: str
    """What the run is for."""
    place: str
    """Place of the innermost open step."""
    prompt: str
    """What the innermost open step is to do: the goal, or the `Think` that opened it."""
    digest: Digest
    """The chained digest."""
    turns: int
    """Steps that are complete."""

    def __len__(self) -> int:
        """How many entries there are, messages and turns."""
        ...

    def last(self, count: int) -> Sequence[Message | Turn]:
        """The last `count` entries, oldest first."""
        ...


class View(Frozen):
    """What one auditor is handed: the moment, and exactly the evidence that it declares."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    moment: Moment
    """What is judged."""
    moment_digest: Digest
    """Its digest, which a verdict names."""
    goal: str
    """What the run is for."""
    proposal: Proposal | None = None
    """Candidate 0, if the auditor sees `PROPOSAL`."""
    candidates: tuple[Proposal, ...] | None = None
    """All candidates of the moment, number 0 the proposal, if it sees `CANDIDATES`."""
    history: Any = None
    """A `History`, without thoughts unless `THOUGHT` is declared, if it sees `HISTORY`."""
    thought: str | None = None
    """What was thought, if it sees `THOUGHT`."""


# ------------------------------------------------------------------------ judging


class Role(StrEnum):
    """What an auditor's word is for; declared before the run."""

    TEACHER = "teacher"
    """Gives approval in [0, 1], judged with foresight; lessons come from teachers alone."""
    GUARD = "guard"
    """Gives suspicion in [0, 1]; never trained against."""


class Signature(Frozen):
    """An Ed25519 signature over the canonical form of a value without its signature."""

    key: Name
    """Name of the key, `name+hash` as in C2SP signed notes."""
    value: bytes
    """The signature, 64 bytes."""


class Words(Frozen):
    """What an auditor says beside its answer; kept as content, so that it can be redacted."""

    rationale: str = ""
    """Why."""
    citations: tuple[str, ...] = ()
    """Verbatim pieces of the view on which the judgement rests."""
    replacement: Proposal | None = None
    """A step to take instead; it becomes a moment of its own and is judged again."""
    exchanges: tuple[Exchange, ...] | None = None
    """What was said to the model that judged, and what it answered."""


class Verdict(Frozen):
    """An auditor's answer about one moment; exactly one of score, ranking or abstention."""

    auditor: Name
    """Who judged."""
    role: Role
    """In which role."""
    moment: Digest
    """Digest of the moment judged."""
    score: Unit | None = None
    """A teacher's approval, a guard's suspicion."""
    ranking: tuple[int, ...] | None = None
    """Candidates from best to worst, by number."""
    approvals: tuple[Unit, ...] | None = None
    """A teacher's approval of each candidate, by number; `score` is the first."""
    abstains: Literal["undecided", "out of scope", "not shown"] | None = None
    """Why no judgement was possible."""
    words: Words | None = None
    """What it says beside; an event carries `said` and `replacement` in its place."""
    said: Digest | None = None
    """Digest of `words`."""
    replacement: Digest | None = None
    """Digest of the replacement in `words`, if there is one."""
    saw: tuple[Evidence, ...] = ()
    """The evidence it was handed, sorted."""
    trained_from: Digest | None = None
    """What the auditor itself was trained from, if it was trained."""
    usage: Usage | None = None
    """What judging cost."""
    signature: Signature | None = None
    """The auditor's own signature, where it holds a key."""

    @model_validator(mode="after")
    def _one_answer(self) -> Self:
        if (self.score, self.ranking, self.abstains).count(None) != 2:
            answers = {"score": self.score, "ranking": self.ranking, "abstains": self.abstains}
            given = [name for name, said in answers.items() if said is not None]
            raise ValueError(f"exactly one of score, ranking, abstains; got {given or 'none'}")
        if self.ranking is not None and sorted(self.ranking) != list(range(len(self.ranking))):
            raise ValueError("a ranking names every candidate once, from 0")
        each = self.approvals
        if each is not None and not (self.role is Role.TEACHER and each[:1] == (self.score,)):
            raise ValueError("approvals of each candidate are a teacher's, the first its score")
        return self

    @property
    def rationale(self) -> str:
        """Why, if it is at hand."""
        return self.words.rationale if self.words else ""

    @property
    def suspicion(self) -> float:
        """What a gate compares: a guard's score, 1 less a teacher's; an abstention is 1.

        Of a ranking it is the share of the other candidates that stand before candidate 0.
        """
        if self.ranking is not None and len(self.ranking) > 1:
            return self.ranking.index(0) / (len(self.ranking) - 1)
        if self.score is None:
            return 1.0
        return self.score if self.role is Role.GUARD else 1 - self.score


class Failure(Frozen):
    """An audit that gave no verdict; the gate takes it as suspicion 1."""

    auditor: Name
    """Who was asked."""
    moment: Digest
    """About which moment."""
    kind: Literal["crashed", "late", "unparsable", "missing"]
    """How it failed."""
    cause: Literal["moment", "infrastructure"]
    """Whether the moment itself brought it about (it then counts against the moment)."""
    detail: str = ""
    """One line more."""
    words: Words | None = None
    """What was said all the same; an event carries `said` in its place."""
    said: Digest | None = None
    """Digest of `words`."""
    usage: Usage | None = None
    """What it cost all the same."""

    @property
    def suspicion(self) -> float:
        """Failure is suspicion."""
        return 1.0


class Draw(Frozen):
    """The lottery: whether the auditors under `sampled` are asked about a turn."""

    stratum: Name
    """The moment's declared stratum."""
    rate: Unit
    """The declared rate of that stratum."""
    drawn: bool
    """The result; unseen by the thinker."""


class Need(Frozen):
    """A gate's answer while somebody must still judge."""

    auditors: tuple[Name, ...]
    """Who."""
    within: float | None = Field(default=None, gt=0)
    """Seconds they have, counted from when they are asked; None: as long as a machine takes."""


Action: TypeAlias = Literal["proceed", "modify", "escalate", "reject", "terminate"]
"""What a gate may decide."""


class Decision(Frozen):
    """What a gate decided about a moment."""

    action: Action
    """`proceed`, `modify` (judge the replacement), `escalate` (ask `to`), `reject`, `terminate`."""
    reason: str
    """Why, in one line, naming the gate and the auditor."""
    by: Name | None = None
    """Whose verdict carries the replacement of a `modify`."""
    to: Name | None = None
    """Whom an `escalate` asks."""
    within: float | None = Field(default=None, gt=0)
    """Seconds that person has; after them the answer is no."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.action == "modify") != (self.by is not None):
            raise ValueError("`by` belongs to a modify, and to nothing else")
        if (self.action == "escalate") != (self.to is not None):
            raise ValueError("`to` belongs to an escalation, and to nothing else")
        return self


# ------------------------------------------------------------------------ permission and outcome


class ToolSchema(Frozen):
    """What a tool is called, does and takes."""

    name: Name
    """Its name in proposals."""
    description: str
    """What it does."""
    parameters: JsonObject
    """JSON schema of its arguments."""
    setup: Digest | None = None
    """Digest of how its executor is set up (folder, environment, limits), where that is fixed."""


class Ticket(Frozen):
    """One-use, expiring permission: carries the act and its digest; redeemed in the ledger only."""

    run: RunId
    """The run."""
    moment: Digest
    """Digest of the moment that was judged."""
    proposal: Digest
    """Digest of the proposal that may run, equal to the moment's."""
    tool: Digest
    """Digest of the tool's schema when it was judged, equal to the moment's."""
    expires: Micros
    """When it lapses."""
    act: Act | Ask
    """What may be done: the proposal itself."""


class Outcome(Frozen):
    """What the world answered."""

    status: Literal["done", "failed", "refused", "unknown"]
    """Done; tried and failed; not permitted; or nobody knows."""
    output: str = ""
    """What it said, as text."""
    data: JsonObject = {}
    """What it said, as data."""


Turn.model_rebuild()


# ------------------------------------------------------------------------ restrictions


Signal: TypeAlias = Literal["approval", "comparison", "demonstration"]
"""What a lesson may consist of."""


class Limits(Frozen):
    """What a restriction on training limits; what is left out is not limited by it.

    "Imitation only" is `signals = ["demonstration"]`.
    """

    signals: tuple[Signal, ...] | None = None
    """Signals that may be learned from, and no other."""
    horizon: int | None = Field(default=None, ge=1)
    """Steps that one signal's credit may reach back; 1 is the step that was judged."""
    roles: tuple[Role, ...] | None = None
    """Roles whose verdicts may be learned from, and no other."""
    unseen: tuple[Evidence, ...] | None = None
    """Evidence that no auditor learned from may have seen, itself or through its training."""
    updates: int | None = Field(default=None, ge=0)
    """Training stops after so many updates."""
    lessons: int | None = Field(default=None, ge=0)
    """Training stops before more lessons than this are taken."""


class Lifting(Frozen):
    """What it takes to lift a restriction during a run."""

    needs: int = Field(ge=1)
    """How many of the keys."""
    keys: tuple[str, ...] = Field(min_length=1, max_length=100)
    """Verifier keys, `name+hash+base64`; one person holds one."""

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if len(set(self.keys)) != len(self.keys) or self.needs > len(self.keys):
            raise ValueError(f"{self.needs} distinct keys are needed of {len(self.keys)} listed")
        return self


class Restriction(Frozen):
    """A limit on acting or training, declared before the run and hashed into it."""

    name: Name
    """Its name."""
    says: str
    """What it forbids or bounds, for people."""
    scope: Literal["acting", "training"] = "acting"
    """What it limits."""
    red_line: bool = False
    """Whether a breach ends the run."""
    limits: Limits | None = None
    """What it limits, where a program can hold training to it."""
    lifting: Lifting | None = None
    """How it may be lifted during the run; None: it may not."""

    @model_validator(mode="after")
    def _of_training(self) -> Self:
        if self.limits is not None and self.scope != "training":
            raise ValueError('limits bound training: scope = "training"')
        return self


class AuditorCard(Frozen):
    """What is declared of an auditor before the run."""

    name: Name
    """Its name, unique in the project."""
    role: Role
    """Teacher or guard."""
    sees: tuple[Evidence, ...]
    """What it is handed, sorted."""
    rules: Digest | None = None
    """Digest of its own configuration, where it has one."""
    trained_from: Digest | None = None
    """What it was trained from, if it was."""
    person: bool = False
    """Whether a person answers."""


# ------------------------------------------------------------------------ the event envelope


class Body(Frozen):
    """The part of an event that depends on its kind; the kinds are in `audition.ledger.events`."""

    kind: ClassVar[str]


class Event(Frozen):
    """One entry of the ledger; every field lies inside its hash."""

    run: RunId
    """The run it belongs to."""
    seq: int = Field(ge=0)
    """Place in its run, from 0, without gaps."""
    at: Micros
    """When it was staged, by the writer's clock."""
    body: Body
    """What happened."""

    def canonical(self) -> bytes:
        """Canonical bytes: `{"at", "body", "kind", "run", "seq"}`."""
        body = self.body
        fields = {
            "at": self.at,
            "body": body.__pydantic_serializer__.to_python(body, exclude_none=True),
            "kind": body.kind,
            "run": self.run,
            "seq": self.seq,
        }
        kind = type(body)
        return canonical_fields(fields, whole=whole(kind)) if fixed(kind) else canonical(fields)


class Receipt(Frozen):
    """Proof that a commit is durable."""

    size: int
    """Number of events in the ledger's tree."""
    root: Digest
    """Root of that tree."""


# ------------------------------------------------------------------------ the protocols


class Box(Protocol):
    """Where thinking is confined; nothing done here has an effect outside."""

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"") -> Completed:
        """Run a command inside."""
        ...

    async def snapshot(self) -> Snapshot:
        """Freeze the state; opening the snapshot gives it again with a separate future."""
        ...

    async def digest(self) -> Digest:
        """Digest of the workspace's contents."""
        ...


class Thinker(Protocol):
    """Whoever thinks."""

    async def think(self, history: History, box: Box) -> Thought:
        """Think as long as the budget lasts; end in one proposal."""
        ...


class Auditor(Protocol):
    """Whoever judges a view without executing it."""

    name: str
    role: Role
    sees: frozenset[Evidence]

    async def audit(self, view: View) -> Verdict:
        """Judge."""
        ...


class Gate(Protocol):
    """A pure function from what is recorded to what may pass; it has no clock."""

    def decide(
        self, moment: Moment, verdicts: Sequence[Verdict | Failure], draw: Draw
    ) -> Decision | Need:
        """Decide, or say who must still judge."""
        ...


class Executor(Protocol):
    """Performs an act, or puts a question to a person; never an AI. Holds the credentials."""

    schema: ToolSchema

    def refuses(self, act: Act) -> str:
        """Why these arguments do not fit, in one line; empty if they do. No side effects."""
        ...

    async def act(self, ticket: Ticket) -> Outcome:
        """Do what the ticket permits, once."""
        ...


class Ledger(Protocol):
    """Append-only, hash-covered, signed; a run is its events."""

    def stage(self, event: Event) -> Digest:
        """Queue an event, in order; returns the digest of its leaf."""
        ...

    async def commit(self) -> Receipt:
        """Make everything staged so far durable; shared between runs."""
        ...

    def read(self, run: RunId, after: int = -1) -> Iterator[Event]:
        """The committed events of a run with `seq > after`, in order."""
        ...
