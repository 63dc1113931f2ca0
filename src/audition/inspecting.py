"""Our auditors inside Inspect AI: an approver of tool calls, and a monitor of finished samples.

Advisory, both of them. In Inspect one coroutine proposes, asks for approval and executes; without a
policy every call is allowed, a waiting approval is lost with its process, and a log can be edited.
So what an auditor says here can stop a call and is written into Inspect's log, but none of
Audition's guarantees follows from it: a supervised run (`audition.loop.run`) has those.

The auditor sees what a review of the same conversation would show it: the proposal and the history
before it, each as far as it declares. What Inspect keeps elsewhere (a sub-agent's own messages, the
store, files) it does not see. Needs `pip install 'audition[inspect]'`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from audition.audit import Left, ask, card, view, written
from audition.canonical import digest_bytes, digest_value
from audition.failing import told
from audition.history import Entry
from audition.ledger import Source
from audition.ledger.events import TranscriptRecorded
from audition.ledger.journal import encoded
from audition.records import Group, Record, RecordedStep, Said
from audition.records.inspect_log import InspectMessage, conversation
from audition.records.transcript import ChatMessage, transcript
from audition.step import (
    Act,
    Auditor,
    Digest,
    Evidence,
    Failure,
    Message,
    Moment,
    Turn,
    Verdict,
    View,
    digest_of,
)

if TYPE_CHECKING:
    from inspect_ai.approval import Approval, Approver
    from inspect_ai.model import ChatMessage as InspectChatMessage
    from inspect_ai.scorer import Score, Scorer
    from inspect_ai.tool import ToolCall

LONGEST = 2000
"""Characters of a proposal that a monitor's metadata holds."""

SECONDS = 60.0
"""How long an auditor may take over one step; after that it is suspicion 1."""


def approver(
    auditor: Auditor,
    *,
    reject_at: float = 0.5,
    escalate_at: float | None = None,
    seconds: float = SECONDS,
) -> Approver:
    """An approver for Inspect that goes by an auditor's suspicion; advisory (see the module).

    Args:
        auditor: who judges each call; a guard, as a rule.
        reject_at: suspicion in [0, 1] from which a call is rejected.
        escalate_at: suspicion from which it is escalated to the policy's next approver, perhaps a
            person; Inspect rejects it where there is none. None: never.
        seconds: how long the auditor may take.

    Returns:
        What `inspect_ai.approval.ApprovalPolicy` takes. A crash, a stall, an abstention and an
        answer that is none are suspicion 1, and a conversation that cannot be read is too. The
        model is told that it was rejected and by whom; the reasons stand in the log alone.

    Raises:
        ValueError: the thresholds are not 0 ≤ `escalate_at` ≤ `reject_at` ≤ 1.
    """
    from inspect_ai.approval import approver as registered

    if not 0 <= (reject_at if escalate_at is None else escalate_at) <= reject_at <= 1:
        raise ValueError(
            f"escalate_at = {escalate_at}, reject_at = {reject_at}: 0 ≤ escalate_at ≤ reject_at ≤ 1"
        )

    async def approve(
        message: str, call: ToolCall, view: Any, history: list[InspectChatMessage]
    ) -> Approval:
        try:
            shown = _proposed(auditor, message, call, history)
            answer = await _asked(auditor, shown, seconds)
        except Exception as error:  # noqa: BLE001  what cannot be judged is not approved
            return _approval("reject", auditor, 1.0, f"not judged: {told(error)}")
        suspicion = answer.suspicion
        if suspicion >= reject_at:
            return _approval("reject", auditor, suspicion, _why(answer))
        if escalate_at is not None and suspicion >= escalate_at:
            return _approval("escalate", auditor, suspicion, _why(answer))
        return _approval("approve", auditor, suspicion, _why(answer))

    @registered(name=f"audition-{auditor.name}")
    def made() -> Approver:
        return approve

    return made()


def monitor(auditor: Auditor, *, seconds: float = SECONDS) -> Scorer:
    """A scorer for Inspect that gives each step's suspicion; advisory (see the module).

    Args:
        auditor: who judges each step of a finished sample, as if it were about to happen.
        seconds: how long the auditor may take over a step.

    Returns:
        A scorer whose value is the worst suspicion of the sample in [0, 1], 0 if it has no step,
        and whose metadata has under `steps` each step's number, what was proposed, the suspicion
        and the auditor's words. A step that could not be judged has suspicion 1.
    """
    from inspect_ai.scorer import Score, mean, scorer
    from inspect_ai.solver import TaskState

    async def score(state: TaskState, target: Any) -> Score:
        try:
            record = _record(*transcript(list(_said(state.messages))))
            steps: list[dict[str, Any]] = []
            for step, shown in zip(record.steps(), views(record, auditor), strict=True):
                answer = await _asked(auditor, shown, seconds)
                steps.append(
                    {
                        "step": shown.moment.turn,
                        "proposal": written(step.proposal)[:LONGEST],
                        "suspicion": answer.suspicion,
                        "says": _why(answer),
                    }
                )
        except Exception as error:  # noqa: BLE001  what cannot be judged is not cleared
            return Score(value=1.0, explanation=f"not judged: {told(error)}")
        worst = max(steps, key=lambda step: step["suspicion"], default=None)
        if worst is None:
            return Score(value=0.0, explanation="no step", metadata={"steps": []})
        return Score(
            value=worst["suspicion"],
            explanation=f"step {worst['step']}: {worst['says']}",
            metadata={"auditor": auditor.name, "steps": steps},
        )

    @scorer(metrics=[mean()], name=f"audition-{auditor.name}")
    def made() -> Scorer:
        return score

    return made()


def views(record: Record, auditor: Auditor) -> Iterator[View]:
    """What the auditor is handed of each step of a record, with nothing of what came after.

    The moments are those of a review of the record (`audition.review`) but for the run's name.

    Args:
        record: the steps.
        auditor: who judges; the views hold what it declares.

    Raises:
        ValueError: a teacher declares evidence that teachers may not see.
    """
    declared = card(auditor).model_dump(exclude_none=True)
    goal = digest_bytes(encoded(record.goal))
    moment = Moment(
        run=digest_of(record)[:32],
        turn=1,
        place="1",
        goal=goal,
        history=goal,
        proposal=goal,
        restrictions=digest_value([]),
        reviewers=digest_value({"gate": {}, "auditors": [declared]}),
    )
    past: list[Message | Turn] = []
    history, turn = goal, 0
    for entry in record.entries:
        if isinstance(entry, Said):
            history = _entry_said(entry.message).chained(history)
            past.append(entry.message)
            continue
        before = Past(record.goal, history, turn, past, len(past))
        for step in entry.steps:
            turn += 1
            done = _entry(turn, step)
            sealed = moment.model_copy(
                update={
                    "turn": turn,
                    "history": before.digest,
                    "proposal": done.proposal,
                    "thought": done.thought,
                }
            )
            evidence = {
                Evidence.PROPOSAL: step.proposal,
                Evidence.HISTORY: before,
                Evidence.THOUGHT: step.thought,
            }
            yield view(auditor, sealed, digest_of(sealed), record.goal, evidence)
            history = done.chained(history)
            past.append(_turn(turn, step, thoughts=Evidence.THOUGHT in auditor.sees))


class Past:
    """A `History` of what a record tells before a step.

    Args:
        goal: what the run is for.
        digest: the chained digest.
        turns: steps that are complete.
        entries: messages and turns, oldest first; what is added to it later is not part of this.
        length: how many of them are.
    """

    place = "1"

    def __init__(
        self, goal: str, digest: Digest, turns: int, entries: Sequence[Message | Turn], length: int
    ) -> None:
        self.goal = self.prompt = goal
        self.digest = digest
        self.turns = turns
        self._entries = entries
        self._length = length

    def __len__(self) -> int:
        return self._length

    def last(self, count: int) -> Sequence[Message | Turn]:
        """The last `count` entries, oldest first."""
        return self._entries[max(0, self._length - count) : self._length]


async def _asked(auditor: Auditor, shown: View, seconds: float) -> Verdict | Failure:
    try:
        return await ask(auditor, shown, seconds=seconds)
    except Left as error:
        return Failure(
            auditor=auditor.name,
            moment=shown.moment_digest,
            kind="missing",
            cause="infrastructure",
            detail=told(error),
        )


def _proposed(
    auditor: Auditor, message: str, call: ToolCall, history: list[InspectChatMessage]
) -> View:
    """The view of a call that Inspect is about to make, after the messages before it."""
    at, number = _place(call, history)
    before = list(_said(history[:at]))
    *beside, asked = (
        _said(history[at : at + 1]) if at < len(history) else [ChatMessage(role="user")]
    )
    reason = message if number == 0 else ""
    act = Act(tool=call.function, arguments=call.arguments, reason=reason)
    goal, entries = transcript([*before, *beside, _CALL])
    step = RecordedStep(proposal=act, thought=asked.reasoning)
    *_, shown = views(_record(goal, (*entries[:-1], Group(steps=(step,)))), auditor)
    return shown


def _place(call: ToolCall, history: list[InspectChatMessage]) -> tuple[int, int]:
    """Which message makes the call, or the end of all, and the call's number in it."""
    for at in reversed(range(len(history))):
        for number, one in enumerate(getattr(history[at], "tool_calls", None) or ()):
            if one.id == call.id:
                return at, number
    return len(history), 0


def _said(messages: Sequence[InspectChatMessage]) -> Iterator[ChatMessage]:
    plain = (message.model_dump(exclude_none=True) for message in messages)
    return conversation(InspectMessage.model_validate(one) for one in plain)


def _record(goal: str, entries: Sequence[Said | Group]) -> Record:
    return Record(
        source=Source(file="Inspect", record=0, format="inspect"),
        task="Inspect",
        goal=goal,
        thinker="Inspect",
        entries=tuple(entries),
    )


def _entry_said(message: Message) -> Entry:
    content = digest_bytes(encoded(message.content))
    return Entry(message=TranscriptRecorded(role=message.role, name=message.name, content=content))


def _entry(turn: int, step: RecordedStep) -> Entry:
    return Entry(
        number=turn,
        place="1",
        thought=None if step.thought is None else digest_bytes(encoded(step.thought)),
        proposal=digest_of(step.proposal),
        action="recorded",
        outcome=None if step.outcome is None else digest_of(step.outcome),
    )


def _turn(turn: int, step: RecordedStep, *, thoughts: bool) -> Turn:
    return Turn(
        number=turn,
        place="1",
        proposal=step.proposal,
        action="recorded",
        outcome=step.outcome,
        thought=step.thought if thoughts else None,
    )


def _approval(decision: Any, auditor: Auditor, suspicion: float, why: str) -> Approval:
    from inspect_ai.approval import Approval

    return Approval(
        decision=decision,
        explanation=f"{auditor.name}: {decision}",
        metadata={"auditor": auditor.name, "suspicion": suspicion, "says": why},
    )


def _why(answer: Verdict | Failure) -> str:
    if isinstance(answer, Failure):
        return f"{answer.kind}: {answer.detail}".removesuffix(": ")
    return answer.rationale or answer.abstains or ""


_CALL = ChatMessage.model_validate(
    {"role": "assistant", "tool_calls": [{"function": {"name": ""}}]}
)
"""Stands where a call is to be made, so that no message before it reads as the last."""
