"""What only whoever holds the signing key could write: each breach is named by its guarantee."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import handmade
from audition.act.performing import VALID
from audition.canonical import digest_bytes, digest_value
from audition.gate import person, sampled, sequential, spec, strictest, threshold
from audition.ledger import PrivateKey
from audition.ledger.events import (
    ActFinished,
    ActRecorded,
    ActSettled,
    ActStarted,
    AuditAsked,
    AuditDrawn,
    AuditRecorded,
    MomentSealed,
    RunClosed,
    RunOpened,
    RunResumed,
    StepDecided,
    StepProposed,
    StepThought,
    ThoughtFailed,
    TicketIssued,
    TranscriptRecorded,
)
from audition.step import (
    Act,
    Ask,
    AuditorCard,
    Body,
    Decision,
    Evidence,
    Failure,
    Finish,
    Micros,
    Outcome,
    Restriction,
    Role,
    Signature,
    Think,
    Ticket,
    ToolSchema,
    Usage,
    Verdict,
    digest_of,
)
from audition.verify import Verification, verify
from handmade import KEY, Events, Scribe, first, shell

OTHER = "e" * 64
GAVE_UP = ThoughtFailed(turn=99, usage=Usage(), reason="Undecided: no proposal within 1 calls")


def examine(tmp_path: Path, pen: Scribe, twist: handmade.Twist | None = None) -> Verification:
    path = handmade.write(tmp_path / "runs.db", pen, twist=twist)
    return verify(path, [KEY.public])


def change(kind: str, nth: int = 0, **fields: Any) -> Callable[[Events], Events]:
    """Change fields of the nth event of a kind."""

    def twist(events: Events) -> Events:
        spot = first(events, kind, nth)
        at, body = events[spot]
        events[spot] = (at, body.model_copy(update=fields))
        return events

    return twist


def move(kind: str, nth: int, by: int) -> Callable[[Events], Events]:
    def twist(events: Events) -> Events:
        spot = first(events, kind, nth)
        events.insert(spot + by, events.pop(spot))
        return events

    return twist


def drop(*kinds: str, nth: int = 0) -> Callable[[Events], Events]:
    def twist(events: Events) -> Events:
        for spot in sorted((first(events, kind, nth) for kind in kinds), reverse=True):
            del events[spot]
        return events

    return twist


def repeat(kind: str, nth: int = 0) -> Callable[[Events], Events]:
    def twist(events: Events) -> Events:
        spot = first(events, kind, nth)
        events.insert(spot + 1, events[spot])
        return events

    return twist


def insert(kind: str, body: Body, nth: int = 0) -> Callable[[Events], Events]:
    """Put an event in front of the nth one of a kind."""

    def twist(events: Events) -> Events:
        spot = first(events, kind, nth)
        return [*events[:spot], (events[spot][0], body), *events[spot:]]

    return twist


def swap_in(kind: str, make: Callable[[Any], Body], nth: int = 0) -> Callable[[Events], Events]:
    def twist(events: Events) -> Events:
        spot = first(events, kind, nth)
        at, body = events[spot]
        events[spot] = (at, make(body))
        return events

    return twist


def append(body: Body) -> Callable[[Events], Events]:
    return lambda events: [*events, (events[-1][0] + 1, body)]


def assert_breach(found: Verification, guarantee: int, kind: str, says: str) -> None:
    assert found.first_bad is not None, "nothing was found"
    named = found.first_bad
    assert (named.guarantee, named.kind) == (guarantee, kind), str(named)
    assert says in named.says
    assert named.index == named.seq, "one run: its numbers are the ledger's"


def verdict(body: AuditRecorded, **fields: Any) -> AuditRecorded:
    assert body.verdict is not None
    return AuditRecorded(verdict=body.verdict.model_copy(update=fields))


def sealed(body: MomentSealed, **fields: Any) -> MomentSealed:
    return MomentSealed(moment=body.moment.model_copy(update=fields))


def decided(action: str) -> Callable[[StepDecided], StepDecided]:
    return lambda body: StepDecided(
        moment=body.moment,
        decision=Decision(action=action, reason="because"),  # type: ignore[arg-type]
    )


BREACHES: dict[str, tuple[Callable[[Events], Events], int, str, str]] = {
    # 1: closed by default
    "act without a decision": (drop("step.decided"), 1, "ticket.issued", "without a decision"),
    "act without a ticket": (drop("ticket.issued"), 9, "act.started", "without a ticket"),
    "act after a rejection": (
        lambda e: [*e[: first(e, "step.decided", 1) + 1], *e[first(e, "ticket.issued", 1) :]],
        1,
        "ticket.issued",
        "without a decision",
    ),
    # 2: what was approved is what runs
    **{
        f"moment with another {name}": (
            swap_in("moment.sealed", lambda body, f={name: value}: sealed(body, **f), 1),
            2,
            "moment.sealed",
            name,
        )
        for name, value in {
            "run": "f" * 32,
            "turn": 7,
            "attempt": 3,
            "place": "1.9",
            "goal": OTHER,
            "history": OTHER,
            "proposal": OTHER,
            "thought": OTHER,
            "restrictions": OTHER,
            "reviewers": OTHER,
            "tool": OTHER,
        }.items()
    },
    "ticket for another act": (
        change("ticket.issued", proposal=digest_of(shell("rm *"))),
        2,
        "ticket.issued",
        "another act",
    ),
    "ticket for another moment": (
        change("ticket.issued", moment=OTHER),
        2,
        "ticket.issued",
        "another act",
    ),
    "ticket for another tool": (
        change("ticket.issued", tool=digest_of(handmade.PERSON)),
        2,
        "ticket.issued",
        "another tool",
    ),
    "ticket that is no digest of its parts": (
        change("ticket.issued", expires=1_900_000_000_000_000),
        2,
        "ticket.issued",
        "digest",
    ),
    "act passed off as a thought": (
        change("step.proposed", what="think"),
        2,
        "step.proposed",
        "but the content is act",
    ),
    "replacement that nobody proposed": (
        change("step.proposed", 3, proposal=digest_of(shell("ls"))),
        2,
        "step.proposed",
        "not the replacement",
    ),
    "replacement under another name": (
        change("step.proposed", 3, by="critic"),
        2,
        "step.proposed",
        "not the replacement",
    ),
    "answer that nobody approved": (
        change("run.closed", answer=digest_bytes(b"Hm.")),
        2,
        "run.closed",
        "not the one that was approved",
    ),
    "restriction left out": (drop("restriction.declared"), 2, "step.thought", "restrictions"),
    "restriction declared late": (
        move("restriction.declared", 0, 1),
        2,
        "step.thought",
        "restrictions",
    ),
    # 4: judged before done
    "draw before the seal": (move("audit.drawn", 0, -1), 4, "audit.drawn", "sealed moment was due"),
    "verdict before the draw": (move("audit.recorded", 0, -1), 4, "audit.recorded", "draw was due"),
    "verdict before the seal": (
        move("audit.recorded", 0, -2),
        4,
        "audit.recorded",
        "sealed moment was due",
    ),
    "verdict after the decision": (
        move("audit.recorded", 1, 1),
        5,
        "step.decided",
        "before rules had answered",
    ),
    "proposal before the thought": (move("step.thought", 0, 1), 4, "step.proposed", "was due"),
    "thought twice": (repeat("step.thought"), 4, "step.thought", "proposal was due"),
    "step left out of the count": (change("step.thought", 1, turn=3), 4, "step.thought", "begins"),
    "proposal of another step": (change("step.proposed", turn=2), 4, "step.proposed", "ends in"),
    "second attempt from the thinker": (change("step.proposed", attempt=1), 4, "step.proposed", ""),
    "lottery that drew otherwise": (
        swap_in("audit.drawn", lambda b: b.model_copy(update={"drawn": not b.drawn}), -2),
        4,
        "audit.drawn",
        "the ledger says otherwise",
    ),
    "lottery at another rate": (change("audit.drawn", rate=0.5), 4, "audit.drawn", "at rate 0.5"),
    "lottery of another stratum": (
        change("audit.drawn", stratum="easy"),
        4,
        "audit.drawn",
        "from easy",
    ),
    "draw of another moment": (change("audit.drawn", moment=OTHER), 4, "audit.drawn", "another"),
    "replacement drawn anew": (
        swap_in("audit.drawn", lambda b: b.model_copy(update={"drawn": not b.drawn}), 3),
        4,
        "audit.drawn",
        "anew",
    ),
    "question about another moment": (
        change("audit.asked", moment=OTHER),
        4,
        "audit.asked",
        "another moment",
    ),
    "another secret": (change("run.closed", secret=b"x"), 4, "run.closed", "not the one"),
    "no secret": (change("run.closed", secret=None), 4, "run.closed", "not shown"),
    "no lottery": (change("run.opened", secret=None), 4, "run.opened", "no secret"),
    "run opened twice": (repeat("run.opened"), 4, "run.opened", "twice"),
    "run that never opened": (drop("run.opened"), 4, "restriction.declared", "begins with"),
    "run that goes on after its end": (
        append(StepThought(turn=99)),
        4,
        "step.thought",
        "after the run was closed",
    ),
    "end with another word": (change("run.closed", status="failed"), 4, "run.closed", "closes as"),
    "finish that was never approved": (
        lambda e: [*e[: first(e, "step.thought", 2)], e[-1]],
        4,
        "run.closed",
        "closes as finished",
    ),
    "record's event in a live run": (
        append(ActRecorded(moment=OTHER)),
        4,
        "act.recorded",
        "after the run was closed",
    ),
    "transcript in a live run": (
        lambda e: [*e[:2], (e[1][0], TranscriptRecorded(role="user", content=OTHER)), *e[2:]],
        4,
        "transcript.recorded",
        "was due",
    ),
    "failed thought in the middle of a step": (
        insert("step.proposed", GAVE_UP),
        4,
        "thought.failed",
        "the thought's proposal was due",
    ),
    "failed thought while an act is under way": (
        insert("act.finished", GAVE_UP),
        9,
        "thought.failed",
        "what came of the act was due",
    ),
    "going on after a failed thought": (
        insert("step.thought", GAVE_UP.model_copy(update={"turn": 1})),
        4,
        "step.thought",
        "the end, failed was due",
    ),
    "failed thought of a later step": (
        insert("step.thought", GAVE_UP),
        4,
        "thought.failed",
        "step 99 begins after step 0",
    ),
    # 5: failure is suspicion, and decisions are what the gate says
    "rejection turned round": (
        swap_in("step.decided", decided("proceed"), 1),
        5,
        "step.decided",
        "the gate says reject",
    ),
    "approval turned round": (
        swap_in("step.decided", decided("reject")),
        5,
        "step.decided",
        "the gate says proceed",
    ),
    "failure passed over": (
        swap_in(
            "audit.recorded",
            lambda b: AuditRecorded(
                failure=Failure(
                    auditor="rules", moment=b.answer.moment, kind="crashed", cause="moment"
                )
            ),
            1,
        ),
        5,
        "step.decided",
        "the gate says reject",
    ),
    "decision before the answer": (
        drop("audit.recorded", nth=1),
        5,
        "step.decided",
        "before rules had answered",
    ),
    "answer given twice": (repeat("audit.recorded"), 5, "audit.recorded", "twice"),
    "auditor whom nobody declared": (
        swap_in("audit.recorded", lambda b: verdict(b, auditor="mallory")),
        5,
        "audit.recorded",
        "not declared",
    ),
    "auditor in another role": (
        swap_in("audit.recorded", lambda b: verdict(b, role=Role.TEACHER, score=1.0)),
        5,
        "audit.recorded",
        "declared a guard",
    ),
    "auditor who saw more": (
        swap_in("audit.recorded", lambda b: verdict(b, saw=(Evidence.OUTCOME,))),
        5,
        "audit.recorded",
        "shown more",
    ),
    "verdict about another moment": (
        swap_in("audit.recorded", lambda b: verdict(b, moment=OTHER)),
        4,
        "audit.recorded",
        "another moment",
    ),
    "question to whom nobody declared": (
        change("audit.asked", auditor="mallory"),
        5,
        "audit.asked",
        "not declared",
    ),
    "decision about another moment": (
        change("step.decided", moment=OTHER),
        4,
        "step.decided",
        "another moment",
    ),
    "answer that came too late": (
        change("audit.asked", deadline=1_600_000_000_000_000),
        5,
        "step.decided",
        "the gate says escalate",
    ),
    # 9: nothing twice
    "start repeated": (repeat("act.started"), 9, "act.started", "a second time"),
    "ticket redeemed in a later step": (
        lambda e: change("act.started", 1, ticket=e[first(e, "act.started")][1].ticket)(e),  # type: ignore[attr-defined]
        9,
        "act.started",
        "a second time",
    ),
    "ticket that was never issued": (
        change("act.started", ticket=OTHER),
        9,
        "act.started",
        "not issued",
    ),
    "ticket that had expired": (
        lambda e: [
            (at + (700_000_000 if i >= first(e, "act.started") else 0), body)
            for i, (at, body) in enumerate(e)
        ],
        9,
        "act.started",
        "expired",
    ),
    "outcome of another act": (
        change("act.finished", ticket=OTHER),
        9,
        "act.finished",
        "not that of the act under way",
    ),
    "outcome twice": (repeat("act.finished"), 4, "act.finished", "was due"),
    "going on while an act is open": (drop("act.finished"), 9, "step.thought", "what came of"),
    "going on while an act is in doubt": (drop("act.settled"), 9, "step.thought", "in doubt"),
    "settled without having been in doubt": (drop("act.in_doubt"), 9, "act.settled", "was due"),
    "end while an act is open": (
        lambda e: [*e[: first(e, "act.started") + 1], e[-1]],
        9,
        "run.closed",
        "was due",
    ),
}


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_is_named(tmp_path: Path, name: str) -> None:
    twist, guarantee, kind, says = BREACHES[name]
    found = examine(tmp_path, handmade.live_run(), twist)
    assert not found.ok
    assert_breach(found, guarantee, kind, says)


def test_every_kind_of_a_live_run_is_in_the_handmade_one() -> None:
    kinds = {body.kind for _, body in handmade.live_run().events}
    assert {
        "run.opened", "run.resumed", "restriction.declared", "step.thought", "step.proposed",
        "moment.sealed", "audit.drawn", "audit.asked", "audit.recorded", "step.decided",
        "ticket.issued", "act.started", "act.finished", "act.in_doubt", "act.settled", "run.closed",
    } == kinds  # fmt: skip


# -------------------------------------------------------------------------------- failed thoughts


def test_a_run_that_ends_with_a_failed_thought_verifies(tmp_path: Path) -> None:
    assert examine(tmp_path, handmade.failed_run()).ok


@pytest.mark.parametrize("status", ["exhausted", "terminated"])
def test_a_failed_thought_ends_its_run_failed(tmp_path: Path, status: Any) -> None:
    found = examine(tmp_path, handmade.failed_run(), change("run.closed", status=status))
    assert_breach(found, 4, "run.closed", f"closes as {status} where the end, failed was due")


@pytest.mark.parametrize("field", ["content", "exchanges"])
def test_what_was_said_in_a_failed_thought_is_named(tmp_path: Path, field: str) -> None:
    pen = handmade.failed_run()
    name = getattr(pen.events[first(pen.events, "thought.failed")][1], field)
    pen.contents = [one for one in pen.contents if digest_bytes(one[0]) != name]
    assert_breach(examine(tmp_path, pen), 10, "thought.failed", "is gone")


def test_what_was_said_in_a_failed_audit_is_named(tmp_path: Path) -> None:
    pen = handmade.failed_run()
    (named,) = [
        one.failure.said
        for _, one in pen.events
        if isinstance(one, AuditRecorded) and one.failure is not None
    ]
    pen.contents = [one for one in pen.contents if digest_bytes(one[0]) != named]
    assert_breach(examine(tmp_path, pen), 10, "audit.recorded", "is gone")


def test_a_failed_thought_is_of_a_live_run(tmp_path: Path) -> None:
    pen = handmade.recorded_run()
    pen.events.insert(1, (pen.events[0][0], GAVE_UP.model_copy(update={"turn": 1})))
    assert_breach(examine(tmp_path, pen), 4, "thought.failed", "was due")


def test_a_failed_thought_counts_against_the_budget(tmp_path: Path) -> None:
    pen = handmade.failed_run()
    pen.events[0] = (
        pen.events[0][0],
        pen.events[0][1].model_copy(update={"budget": {"steps": pen.turn, "seconds": 3600}}),
    )
    says = f"step {pen.turn + 1} of a run that may take {pen.turn}"
    assert_breach(examine(tmp_path, pen), 1, "thought.failed", says)


# -------------------------------------------------------------------------------- gates


def with_gate(gate: Any, **fields: Any) -> Scribe:
    pen = Scribe(gate=gate, **fields)
    pen.open()
    return pen


@pytest.mark.parametrize(
    ("gate", "says"),
    [
        ({}, "without a gate"),
        ({"kind": "threshold"}, "reject_at"),
        ({"reject_at": 1}, "no gate is called"),
        ({"kind": "sampled", "rate": 2, "of": []}, ""),
    ],
)
def test_a_live_run_without_a_gate_that_builds_is_found(
    tmp_path: Path, gate: Any, says: str
) -> None:
    found = examine(tmp_path, with_gate(gate, front=False))
    assert_breach(found, 1, "run.opened", says)


@pytest.mark.parametrize(
    "gate",
    [
        {"kind": "from-elsewhere", "x": 1},
        {"kind": "sequential", "of": [{"kind": "sequential", "of": [{"kind": "from-elsewhere"}]}]},
    ],
)
@pytest.mark.parametrize("acts", [False, True])
def test_a_gate_that_is_not_installed_is_said_and_no_act_under_it_is_good(
    tmp_path: Path, gate: Any, acts: bool
) -> None:
    honest = spec(threshold("rules", reject_at=1))
    pen = with_gate(honest)
    pen.think(shell("ls"))
    pen.judged()
    pen.perform()
    elsewhere = Scribe(gate=gate)

    def twist(events: Events) -> Events:
        change("run.opened", gate=elsewhere.gate)(events)
        spot = first(events, "moment.sealed")
        body = events[spot][1]
        assert isinstance(body, MomentSealed)
        moment = body.moment.model_copy(update={"reviewers": elsewhere.reviewers})
        name = digest_of(moment)
        renamed: Events = []
        for at, body in events:
            if isinstance(body, MomentSealed):
                renamed.append((at, MomentSealed(moment=moment)))
            elif isinstance(body, (AuditDrawn, StepDecided)):
                renamed.append((at, body.model_copy(update={"moment": name})))
            elif isinstance(body, AuditRecorded):
                renamed.append((at, verdict(body, moment=name)))
            else:
                renamed.append((at, body))
            if isinstance(body, StepDecided):
                break
        if not acts:
            return renamed
        ticket = Ticket(
            run=pen.run,
            moment=name,
            proposal=pen.named,
            tool=digest_of(handmade.SHELL),
            expires=pen.at + 1,
            act=shell("ls"),
        )
        issued = TicketIssued(
            moment=name,
            ticket=digest_of(ticket),
            proposal=pen.named,
            tool=ticket.tool,
            expires=ticket.expires,
        )
        started = ActStarted(ticket=digest_of(ticket))
        return [*renamed, (pen.at, issued), (pen.at, started)]

    found = examine(tmp_path, pen, twist)
    assert found.decisions == 0
    assert found.ok is not acts, found.first_bad
    if acts:
        assert_breach(found, 5, "act.started", "no gate is called 'from-elsewhere'")
    assert any("1 decisions: their gates' kinds are not installed" in x for x in found.not_checked)


@pytest.mark.parametrize(("undrawn", "passes"), [("proceed", True), ("reject", False)])
def test_what_was_not_drawn_goes_the_way_that_was_declared(
    tmp_path: Path, undrawn: Any, passes: bool
) -> None:
    pen = with_gate(spec(sampled(0, threshold("critic", reject_at=0.5), undrawn=undrawn)))
    pen.think(shell("ls"))
    decision = Decision(action="proceed", reason="not drawn")
    pen.log(StepDecided(moment=pen.sealed, decision=decision))
    pen.perform()
    found = examine(tmp_path, pen)
    assert found.ok is passes
    if not passes:
        assert_breach(found, 5, "step.decided", "the gate says reject")


def test_a_draw_is_recomputed_from_the_secret(tmp_path: Path) -> None:
    """Both decisions agree with their recorded draws; only the lottery itself disagrees."""
    gate = spec(sampled(0.5, threshold("rules", reject_at=1), undrawn="proceed"))
    pen = with_gate(gate)
    pen.think(shell("ls"))
    lie = pen.lot.model_copy(update={"drawn": not pen.lot.drawn})
    pen.events[-2] = (pen.at, AuditDrawn(moment=pen.sealed, **lie.model_dump()))
    pen.lot = lie
    pen.verdict("rules", 0.0)
    pen.decide()
    pen.perform()
    pen.close("exhausted")
    found = examine(tmp_path, pen)
    assert found.found == 1
    assert_breach(found, 4, "audit.drawn", "drawn by the lottery; the ledger says otherwise")


def test_the_draws_of_an_open_run_are_counted_as_unchecked(tmp_path: Path) -> None:
    pen = handmade.live_run()
    found = examine(tmp_path, pen, lambda events: events[:-1])
    assert found.ok and found.draws == 0 and found.open_runs == 1
    assert any("draws: the secret is not shown" in line for line in found.not_checked)


def test_a_run_may_be_cut_after_any_event(tmp_path: Path) -> None:
    """Kill the process at any instant: what is left verifies."""
    pen = handmade.live_run()
    for keep in range(1, len(pen.events)):
        path = handmade.write(tmp_path / f"{keep}.db", pen, twist=lambda e, k=keep: e[:k])
        found = verify(path, [KEY.public])
        assert found.ok, (keep, found.first_bad)


def test_a_resumed_run_may_be_issued_a_new_ticket_and_not_two_starts(tmp_path: Path) -> None:
    pen = with_gate(spec(threshold("rules", reject_at=1)))
    pen.think(shell("ls"))
    pen.verdict("rules", 0.0)
    pen.decide()
    old = pen.ticket()
    pen.log(RunResumed(box=handmade.BOX))
    pen.perform()
    path = handmade.write(tmp_path / "good.db", pen)
    assert verify(path, [KEY.public]).ok

    def redeem_the_old(events: Events) -> Events:
        return change("act.started", ticket=old)(events)

    found = examine(tmp_path, pen, redeem_the_old)
    assert_breach(found, 9, "act.started", "not issued for this act")


def test_a_ticket_of_another_run_is_not_redeemed(tmp_path: Path) -> None:
    one, other = handmade.live_run(), handmade.live_run("ab" * 16)
    ticket = next(b.ticket for _, b in other.events if isinstance(b, TicketIssued))
    path = handmade.write(
        tmp_path / "runs.db", one, other, twist=change("act.started", ticket=ticket)
    )
    found = verify(path, [KEY.public])
    assert found.first_bad is not None
    assert (found.first_bad.guarantee, found.first_bad.run) == (9, one.run)


def test_a_late_answer_is_not_heard_and_silence_is_a_no(tmp_path: Path) -> None:
    pen = with_gate(spec(handmade.GATE))
    handmade._skip_to_drawn(pen)
    pen.think(shell("wc *"))
    pen.judged(0.5)
    pen.log(AuditAsked(moment=pen.sealed, auditor="ada", deadline=pen.at))
    pen.verdict("ada", 1.0)
    late = Failure(auditor="ada", moment=pen.sealed, kind="late", cause="infrastructure")
    pen.log(AuditRecorded(failure=late))
    no = Decision(action="reject", reason="person: ada late (failure is suspicion)")
    pen.log(StepDecided(moment=pen.sealed, decision=no))
    assert examine(tmp_path, pen).ok


def test_a_teacher_who_is_shown_thoughts_is_found(tmp_path: Path) -> None:
    card = AuditorCard(name="t", role=Role.TEACHER, sees=(Evidence.PROPOSAL, Evidence.THOUGHT))
    pen = with_gate(spec(threshold("t", reject_at=1)), cards=(card,))
    assert_breach(examine(tmp_path, pen), 8, "run.opened", "no teacher may see")


def test_two_auditors_of_one_name_are_found(tmp_path: Path) -> None:
    pen = with_gate(spec(handmade.GATE), cards=(*handmade.CARDS, handmade.CARDS[0]))
    assert_breach(examine(tmp_path, pen), 5, "run.opened", "one name")


def test_a_ticket_for_malformed_arguments_is_found(tmp_path: Path) -> None:
    pen = with_gate(spec(threshold("rules", reject_at=1)))
    pen.think(Act(tool="shell", malformed="{not json"))
    pen.verdict("rules", 0.0)
    pen.decide()
    pen.ticket()
    assert_breach(examine(tmp_path, pen), 2, "ticket.issued", "no executor can do")


def test_a_proposal_that_is_no_proposal_is_found(tmp_path: Path) -> None:
    pen = with_gate(spec(threshold("rules", reject_at=1)))
    name = pen.put("not a proposal")
    pen.log(StepThought(turn=1))
    pen.log(StepProposed(turn=1, proposal=name, what="act"))
    assert_breach(examine(tmp_path, pen), 2, "step.proposed", "no proposal")


def test_a_proposal_in_another_form_is_found(tmp_path: Path) -> None:
    """Whoever reads the bytes and whoever parses them must read one thing."""
    pen = with_gate(spec(threshold("rules", reject_at=1)))
    twice = '{"answer":"a","answer":"b","kind":"finish"}'
    pen.log(StepThought(turn=1))
    pen.log(StepProposed(turn=1, proposal=pen.put(twice), what="finish"))
    assert_breach(examine(tmp_path, pen), 2, "step.proposed", "no proposal")


def test_a_verdict_s_own_signature_is_checked(tmp_path: Path) -> None:
    critic = PrivateKey.generate("form")

    def signed(body: AuditRecorded, **lie: Any) -> AuditRecorded:
        assert isinstance(body.verdict, Verdict)
        value = critic.sign(body.verdict.canonical())
        return verdict(body, signature=Signature(key=critic.public.id, value=value), **lie)

    pen = handmade.live_run()
    good = handmade.write(tmp_path / "good.db", pen, twist=swap_in("audit.recorded", signed))
    bad = handmade.write(
        tmp_path / "bad.db",
        pen,
        twist=swap_in("audit.recorded", lambda body: signed(body, score=0.25)),
    )
    assert verify(good, [KEY.public, critic.public]).ok
    assert any("signatures under verdicts" in x for x in verify(good, [KEY.public]).not_checked)
    found = verify(bad, [KEY.public, critic.public])
    assert_breach(found, 10, "audit.recorded", "does not verify")


def test_decomposition_gives_every_step_its_place(tmp_path: Path) -> None:
    pen = with_gate(spec(threshold("rules", reject_at=1)))
    for proposal, place in (
        (Think(prompt="a"), "1"),
        (Think(prompt="b"), "1.1"),
        (Finish(answer="b"), "1.1.1"),
        (Think(prompt="c"), "1.1"),
        (Finish(answer="c"), "1.1.2"),
        (Finish(answer="a"), "1.1"),
        (Think(prompt="d"), "1"),
        (Finish(answer="d"), "1.2"),
        (Finish(answer="all"), "1"),
    ):
        pen.place = place
        pen.think(proposal)
        pen.verdict("rules", 0.0)
        pen.decide()
        pen.enters("proceed")
    pen.close(answer=pen.named)
    assert examine(tmp_path, pen).ok


def test_endless_nesting_ends_the_examination(tmp_path: Path) -> None:
    """Places grow with depth; a hostile ledger may not make verification hold them all."""
    pen = with_gate(spec(threshold("rules", reject_at=1)))
    for _ in range(210):
        pen.think(Think(prompt="deeper"), thought=None)
        pen.verdict("rules", 0.0)
        pen.decide()
    found = examine(tmp_path, pen)
    assert any("events after a run was out of order" in line for line in found.not_checked)


def test_a_gate_that_fails_when_re_run_is_a_finding_and_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def decide(self, *_: object) -> Decision:
            raise RuntimeError("broken\x1b[31m gate")

    path = handmade.write(tmp_path / "runs.db", handmade.live_run())
    monkeypatch.setattr("audition.verify.opening.build", lambda _: Broken())
    monkeypatch.setattr("audition.verify.opening.rate", lambda _: 0.8)
    found = verify(path, [KEY.public])
    assert_breach(found, 5, "step.decided", "cannot be re-run")
    assert "\x1b" not in str(found.first_bad)


def test_a_gate_that_cannot_be_built_is_a_finding_and_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("broken gate")

    monkeypatch.setattr("audition.verify.opening.build", broken)
    found = examine(tmp_path, handmade.live_run())
    assert_breach(found, 1, "run.opened", "cannot be built")


def test_a_modify_without_a_replacement_is_found_whatever_the_gate_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modify = Decision(action="modify", by="rules", reason="better so")

    class Modifies:
        def decide(self, *_: object) -> Decision:
            return modify

    pen = with_gate(spec(threshold("rules", reject_at=1)))
    pen.think(shell("ls"))
    pen.verdict("rules", 0.0)
    pen.log(StepDecided(moment=pen.sealed, decision=modify))
    monkeypatch.setattr("audition.verify.opening.build", lambda _: Modifies())
    monkeypatch.setattr("audition.verify.opening.rate", lambda _: 1.0)
    assert_breach(examine(tmp_path, pen), 5, "step.decided", "recorded no replacement")


# -------------------------------------------------------------------------------- openings


def opened_with(**fields: Any) -> Scribe:
    pen = Scribe()
    pen.open()
    change("run.opened", **fields)(pen.events)
    return pen


@pytest.mark.parametrize(
    "budget",
    [
        {},
        {"steps": 0, "seconds": 1},
        {"steps": True, "seconds": 1},
        {"steps": 9},
        {"steps": 9, "seconds": "long"},
    ],
)
def test_a_live_run_without_a_budget_is_found(tmp_path: Path, budget: Any) -> None:
    found = examine(tmp_path, opened_with(budget=budget))
    assert_breach(found, 1, "run.opened", "without a budget")


@pytest.mark.parametrize("part", ["box", "confinement"])
def test_a_live_run_without_a_box_is_found(tmp_path: Path, part: str) -> None:
    found = examine(tmp_path, opened_with(**{part: None}))
    assert_breach(found, 1, "run.opened", "without a box")


FRONT = spec(threshold("form", reject_at=1))
BEHIND = spec(threshold("rules", reject_at=1))


@pytest.mark.parametrize(
    "gate",
    [
        BEHIND,
        {"kind": "sequential", "of": [FRONT]},
        {"kind": "sequential", "of": [BEHIND, FRONT]},
        {"kind": "strictest", "of": [FRONT, BEHIND]},
        {"kind": "sequential", "of": [{**FRONT, "auditor": "rules"}, BEHIND]},
        {"kind": "sequential", "of": [{**FRONT, "terminate_at": 1}, BEHIND]},
        {"kind": "sequential", "of": [{"kind": "from-elsewhere"}, BEHIND]},
    ],
)
def test_a_gate_without_the_guard_of_form_in_front_is_found(tmp_path: Path, gate: Any) -> None:
    pen = with_gate(gate, front=False, cards=(handmade.FORM, *handmade.CARDS))
    assert_breach(examine(tmp_path, pen), 1, "run.opened", "the guard of form")


@pytest.mark.parametrize(
    "cards",
    [
        (),
        (handmade.FORM.model_copy(update={"role": Role.TEACHER}),),
        (handmade.FORM.model_copy(update={"sees": ()}),),
    ],
)
def test_the_guard_of_form_is_declared_as_one(tmp_path: Path, cards: Any) -> None:
    gate = {"kind": "sequential", "of": [FRONT, BEHIND]}
    pen = with_gate(gate, front=False, cards=(*cards, *handmade.CARDS))
    assert_breach(examine(tmp_path, pen), 1, "run.opened", "not declared as a guard")


@pytest.mark.parametrize(
    ("budget", "says"),
    [({"steps": 2, "seconds": 9}, "step 3"), ({"steps": 9, "seconds": 0.5}, "0.5 seconds")],
)
def test_a_step_beyond_the_budget_is_found(tmp_path: Path, budget: Any, says: str) -> None:
    pen = with_gate(BEHIND, budget=budget)
    for _ in range(2):
        pen.think(shell("ls"))
        pen.judged()
        pen.perform()
    assert verify(handmade.write(tmp_path / "good.db", pen), [KEY.public]).ok
    pen.think(shell("ls"))
    assert_breach(examine(tmp_path, pen), 1, "step.thought", says)


def test_more_restrictions_than_a_run_may_have_end_the_examination(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = tuple(Restriction(name=f"r{i}", says="no") for i in range(3))
    pen = with_gate(BEHIND, restrictions=many)
    assert verify(handmade.write(tmp_path / "good.db", pen), [KEY.public]).ok
    monkeypatch.setattr("audition.verify.case.RESTRICTIONS", 2)
    assert_breach(examine(tmp_path, pen), 2, "restriction.declared", "more than 2 restrictions")


# -------------------------------------------------------------------------------- who is asked


def before_ada(gate: Any = handmade.GATE) -> Scribe:
    pen = with_gate(spec(gate))
    handmade._skip_to_drawn(pen)
    pen.think(shell("wc *"))
    pen.judged(0.5)
    return pen


def asks(pen: Scribe, seconds: float | None, name: str = "ada") -> Micros | None:
    deadline = None if seconds is None else pen.at + int(seconds * 1e6)
    pen.log(AuditAsked(moment=pen.sealed, auditor=name, deadline=deadline))
    return deadline


def test_a_person_who_answers_was_asked(tmp_path: Path) -> None:
    pen = before_ada()
    pen.verdict("ada", 1.0)
    found = examine(tmp_path, pen)
    assert_breach(found, 5, "audit.recorded", "without having been asked")


@pytest.mark.parametrize("seconds", [None, 3700.0, 3e8])
def test_a_deadline_is_the_gate_s(tmp_path: Path, seconds: float | None) -> None:
    pen = before_ada()
    asks(pen, seconds)
    assert_breach(examine(tmp_path, pen), 5, "audit.asked", "beyond what the gate gives")


def test_a_gate_without_a_deadline_bounds_none(tmp_path: Path) -> None:
    for seconds in (None, 3e8):
        pen = with_gate(spec(person("ada")))
        pen.think(shell("ls"))
        asks(pen, seconds)
        pen.verdict("ada", 1.0)
        pen.decide()
        path = handmade.write(tmp_path / f"{seconds}.db", pen)
        assert verify(path, [KEY.public]).ok


def test_whom_the_gate_does_not_name_is_not_asked(tmp_path: Path) -> None:
    pen = with_gate(BEHIND)
    pen.think(shell("ls"))
    asks(pen, 60)
    assert_breach(examine(tmp_path, pen), 4, "audit.asked", "does not name")


def test_two_who_are_asked_in_one_go_have_one_deadline_though_the_first_answers_before(
    tmp_path: Path,
) -> None:
    """The first answer shortens what the gate would give now; the question was put before."""
    gate = strictest(
        sequential(threshold("rules", reject_at=1), person("ada", within=10)),
        person("bob", within=100),
    )
    bob = AuditorCard(name="bob", role=Role.GUARD, sees=(), person=True)
    pen = with_gate(spec(gate), cards=(*handmade.CARDS, bob))
    pen.think(shell("ls"))
    pen.verdict("rules", 0.0)
    asks(pen, 99, "bob")
    assert verify(handmade.write(tmp_path / "good.db", pen), [KEY.public]).ok
    change("audit.asked", deadline=pen.at + 101_000_000)(pen.events)
    assert_breach(examine(tmp_path, pen), 5, "audit.asked", "beyond what the gate gives")


def test_a_second_question_moves_no_deadline(tmp_path: Path) -> None:
    pen = before_ada()
    asks(pen, 60)
    asks(pen, 3600)
    pen.at += 61_000_000
    pen.verdict("ada", 1.0)
    pen.decide()
    found = examine(tmp_path, pen)
    assert_breach(found, 5, "step.decided", "the gate says escalate")


def test_no_deadline_passes_by_setting_the_clock_back(tmp_path: Path) -> None:
    pen = before_ada()
    asks(pen, 60)
    pen.at += 61_000_000
    pen.log(RunResumed(box=handmade.BOX))
    pen.at -= 30_000_000
    pen.verdict("ada", 1.0)
    found = examine(tmp_path, pen)
    assert_breach(found, 5, "audit.recorded", "the clock went back")


def test_no_ticket_lives_longer_by_setting_the_clock_back(tmp_path: Path) -> None:
    pen = with_gate(BEHIND)
    pen.think(shell("ls"))
    pen.judged()
    name = pen.ticket()
    pen.at += 601_000_000
    pen.log(RunResumed(box=handmade.BOX))
    pen.at -= 300_000_000
    pen.log(ActStarted(ticket=name))
    assert_breach(examine(tmp_path, pen), 9, "act.started", "expired")


def test_a_clock_that_is_set_back_is_said_and_is_no_breach(tmp_path: Path) -> None:
    pen = with_gate(BEHIND)
    for _ in range(2):
        pen.think(shell("ls"))
        pen.at -= 86_400_000_000
        pen.judged()
        pen.perform()
    found = examine(tmp_path, pen)
    assert found.ok
    assert any(line.startswith("2 events by a clock") for line in found.not_checked)


def test_a_verdict_is_signed_with_its_auditor_s_own_key(tmp_path: Path) -> None:
    mallory = PrivateKey.generate("mallory")

    def by_mallory(body: AuditRecorded) -> AuditRecorded:
        assert body.verdict is not None
        value = mallory.sign(body.verdict.canonical())
        return verdict(body, signature=Signature(key=mallory.public.id, value=value))

    twist = swap_in("audit.recorded", by_mallory)
    path = handmade.write(tmp_path / "runs.db", handmade.live_run(), twist=twist)
    for trusted in ([KEY.public], [KEY.public, mallory.public]):
        found = verify(path, trusted)
        assert_breach(found, 10, "audit.recorded", "is signed with the key mallory+")


class Counts:
    """A gate that says how many answers it was given."""

    def decide(self, moment: object, verdicts: Any, draw: object) -> Decision:
        return Decision(action="reject", reason=f"{len(verdicts)} answers")


@pytest.mark.parametrize("another", ["rules", "mallory"])
def test_a_second_answer_and_one_of_nobody_declared_do_not_reach_the_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, another: str
) -> None:
    pen = with_gate(BEHIND)
    pen.think(shell("ls"))
    pen.verdict("rules", 0.0)
    body = pen.events[-1][1]
    assert isinstance(body, AuditRecorded)
    for _ in range(3):
        pen.log(verdict(body, auditor=another))
    decision = Decision(action="reject", reason="2 answers")  # of form, and of rules
    pen.log(StepDecided(moment=pen.sealed, decision=decision))
    monkeypatch.setattr("audition.verify.opening.build", lambda _: Counts())
    found = examine(tmp_path, pen)
    assert {finding.kind for finding in found.findings} == {"audit.recorded"}
    assert found.found == 3


# -------------------------------------------------------------------------------- tools and boxes


@pytest.mark.parametrize(
    ("proposal", "schema"),
    [
        (shell("rm x"), handmade.PERSON),
        (Act(tool="nuke"), handmade.SHELL),
        (Ask(question="May I?"), handmade.SHELL),
    ],
)
def test_a_step_is_sealed_with_the_schema_of_its_own_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proposal: Any, schema: ToolSchema
) -> None:
    monkeypatch.setattr(handmade, "SHELL", schema)
    monkeypatch.setattr(handmade, "PERSON", schema)
    pen = with_gate(BEHIND)
    pen.think(proposal)
    found = examine(tmp_path, pen)
    assert_breach(found, 2, "moment.sealed", f"sealed with the schema of {schema.name}")


def test_content_that_is_no_schema_is_no_tool(tmp_path: Path) -> None:
    pen = with_gate(BEHIND)
    pen.put(handmade.SHELL)
    sneaky = pen.put('["shell"]')

    def twist(events: Events) -> Events:
        change("run.opened", tools=(sneaky,))(events)
        return swap_in("moment.sealed", lambda body: sealed(body, tool=sneaky))(events)

    pen.think(shell("ls"))
    found = examine(tmp_path, pen, twist)
    assert_breach(found, 2, "moment.sealed", "the schema of none")


def test_a_schema_that_was_redacted_is_said(tmp_path: Path) -> None:
    pen = with_gate(BEHIND)
    pen.think(shell("ls"))
    path = handmade.write(tmp_path / "runs.db", pen)
    handmade.redact(path, digest_of(handmade.SHELL), pen.run, len(pen.events))
    found = verify(path, [KEY.public])
    assert found.ok
    assert any("1 schemas of tools: they were redacted" in line for line in found.not_checked)


@pytest.mark.parametrize("box", [None, OTHER])
def test_a_moment_is_sealed_with_the_box_that_its_thought_left(
    tmp_path: Path, box: str | None
) -> None:
    twist = swap_in("moment.sealed", lambda body: sealed(body, box=box), 1)
    found = examine(tmp_path, handmade.live_run(), twist)
    assert_breach(found, 2, "moment.sealed", "the moment's box")


@pytest.mark.parametrize("box", [None, OTHER])
def test_a_run_is_taken_up_in_the_box_that_it_left(tmp_path: Path, box: str | None) -> None:
    found = examine(tmp_path, handmade.live_run(), change("run.resumed", box=box))
    assert_breach(found, 2, "run.resumed", "in another box")


def test_a_run_that_never_thought_is_taken_up_in_any_box(tmp_path: Path) -> None:
    pen = with_gate(BEHIND)
    pen.log(RunResumed(box=OTHER))
    pen.think(shell("ls"))
    assert examine(tmp_path, pen).ok


@pytest.mark.parametrize("kind", ["act.finished", "run.closed", "act.settled"])
def test_who_takes_up_a_run_with_an_act_under_way_doubts_it(tmp_path: Path, kind: str) -> None:
    pen = with_gate(BEHIND)
    pen.think(shell("ls"))
    pen.judged()
    name = pen.ticket()
    pen.log(ActStarted(ticket=name))
    pen.log(RunResumed(box=handmade.BOX))
    pen.log(RunResumed(box=handmade.BOX))
    outcome = pen.put(Outcome(status="done"))
    pen.log(
        {
            "act.finished": ActFinished(ticket=name, status="done", outcome=outcome),
            "act.settled": ActSettled(ticket=name, happened=True, by="ada", outcome=outcome),
            "run.closed": RunClosed(status="failed", secret=handmade.SECRET),
        }[kind]
    )
    assert_breach(examine(tmp_path, pen), 9, kind, "that the act is in doubt was due")


def finishes(said: Any, status: Any) -> Scribe:
    pen = with_gate(BEHIND)
    pen.think(shell("ls"))
    pen.judged()
    name = pen.ticket()
    pen.log(ActStarted(ticket=name))
    outcome = pen.put(Outcome(status=said) if said else "it went well")
    pen.log(ActFinished(ticket=name, status=status, outcome=outcome))
    return pen


@pytest.mark.parametrize(
    ("said", "status", "agrees"),
    [
        ("done", "done", True),
        ("refused", "refused", True),
        ("unknown", "failed", True),
        ("failed", "done", False),
        ("unknown", "done", False),
        ("done", "failed", False),
        (None, "done", False),
    ],
)
def test_an_act_went_as_its_outcome_says(
    tmp_path: Path, said: Any, status: Any, agrees: bool
) -> None:
    found = examine(tmp_path, finishes(said, status))
    assert found.ok is agrees
    if not agrees:
        assert_breach(found, 9, "act.finished", f"finished as {status}, but the outcome says")


def test_an_outcome_that_was_redacted_is_said(tmp_path: Path) -> None:
    pen = finishes("done", "done")
    path = handmade.write(tmp_path / "runs.db", pen)
    handmade.redact(path, digest_of(Outcome(status="done")), pen.run, len(pen.events))
    found = verify(path, [KEY.public])
    assert found.ok
    assert any("1 outcomes of acts: they were redacted" in line for line in found.not_checked)


@pytest.mark.parametrize(("seconds", "fits"), [(VALID, True), (VALID + 1, False)])
def test_a_ticket_is_valid_no_longer_than_tickets_are(
    tmp_path: Path, seconds: int, fits: bool
) -> None:
    pen = with_gate(BEHIND)
    pen.think(shell("ls"))
    pen.judged()
    pen.ticket(seconds)
    found = examine(tmp_path, pen)
    assert found.ok is fits
    if not fits:
        assert_breach(found, 9, "ticket.issued", "more than 600 seconds")


# -------------------------------------------------------------------------------- records

RECORD_BREACHES: dict[str, tuple[Callable[[Events], Events], int, str, str]] = {
    "verdict after the outcome": (
        move("audit.recorded", 0, 1),
        4,
        "act.recorded",
        "before the answer of rules",
    ),
    "verdict after its step": (
        lambda e: [*e, e[first(e, "audit.recorded")]],
        4,
        "audit.recorded",
        "after the run was closed",
    ),
    "step without its outcome": (drop("act.recorded"), 2, "moment.sealed", "history"),
    "last step without its outcome": (drop("act.recorded", nth=2), 4, "run.closed", "outcome"),
    "outcome before the seal": (move("moment.sealed", 0, 2), 4, "audit.recorded", "sealed moment"),
    "decision in a record": (
        lambda e: [
            *e[:-1],
            (e[-1][0], StepDecided(moment=OTHER, decision=Decision(action="reject", reason=""))),
            e[-1],
        ],
        4,
        "step.decided",
        "was due",
    ),
    "ticket in a record": (
        lambda e: [*e[:-1], (e[-1][0], ActStarted(ticket=OTHER)), e[-1]],
        4,
        "act.started",
        "was due",
    ),
    "finished in a record": (
        lambda e: [
            *e[:-1],
            (e[-1][0], ActFinished(ticket=OTHER, status="done", outcome=OTHER)),
            e[-1],
        ],
        4,
        "act.finished",
        "was due",
    ),
    "record that ends otherwise": (
        change("run.closed", status="finished"),
        4,
        "run.closed",
        "closes as finished",
    ),
    "outcome of one step given to another": (
        swap_in("act.recorded", lambda b: ActRecorded(moment=OTHER), 1),
        4,
        "act.recorded",
        "was due",
    ),
    "outcomes in another order": (
        move("act.recorded", 1, 1),
        0,
        "",
        "",
    ),
    "parallel step under another history": (
        swap_in("moment.sealed", lambda body: sealed(body, history=OTHER), 2),
        2,
        "moment.sealed",
        "history",
    ),
    "message slipped in between": (
        lambda e: [
            *e[: first(e, "act.recorded", 1)],
            (0, TranscriptRecorded(role="user", content=digest_bytes(b"Tidy up."))),
            *e[first(e, "act.recorded", 1) :],
        ],
        4,
        "transcript.recorded",
        "outcome",
    ),
    "thought that ends in another step": (
        change("step.proposed", 1, turn=3),
        4,
        "step.proposed",
        "ends in step 3",
    ),
    "replacement in a record": (
        change("step.proposed", attempt=1),
        4,
        "step.proposed",
        "replaces no step",
    ),
}


@pytest.mark.parametrize("name", RECORD_BREACHES)
def test_a_breach_in_a_record_is_named(tmp_path: Path, name: str) -> None:
    twist, guarantee, kind, says = RECORD_BREACHES[name]
    found = examine(tmp_path, handmade.recorded_run(), twist)
    if not guarantee:  # nothing follows that would build on the order
        assert found.ok
        return
    assert_breach(found, guarantee, kind, says)


def test_every_declared_auditor_of_a_record_answers_before_the_outcome(tmp_path: Path) -> None:
    pen = handmade.Scribe(handmade.RECORD, gate={}, cards=handmade.CARDS[:2], mode="record")
    pen.open()
    pen.think(shell("ls"), thought=None)
    pen.verdict("rules", 0.0)
    handmade._recorded(pen, "a b c")
    found = examine(tmp_path, pen)
    assert_breach(found, 4, "act.recorded", "before the answer of critic")


def test_the_steps_of_one_message_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audition.verify.recorded.PARALLEL", 1)
    found = examine(tmp_path, handmade.recorded_run())
    assert_breach(found, 4, "moment.sealed", "steps of one message")


def test_a_record_verifies_and_decides_nothing(tmp_path: Path) -> None:
    found = examine(tmp_path, handmade.recorded_run())
    assert found.ok and found.decisions == found.tickets == found.draws == 0


def test_the_reviewers_of_a_moment_are_the_gate_and_the_auditors() -> None:
    pen = handmade.live_run()
    opened = pen.events[0][1]
    assert isinstance(opened, RunOpened)
    cards = [card.model_dump(exclude_none=True) for card in opened.auditors]
    moment = next(b.moment for _, b in pen.events if isinstance(b, MomentSealed))
    assert moment.reviewers == digest_value({"gate": opened.gate, "auditors": cards})


def test_a_run_closes_with_its_secret() -> None:
    closed = handmade.live_run().events[-1][1]
    assert isinstance(closed, RunClosed) and closed.secret == handmade.SECRET
    assert sequential(*[threshold("rules", reject_at=1)]) is not None


def test_a_new_ticket_is_good_though_the_one_before_it_had_expired(tmp_path: Path) -> None:
    pen = with_gate(BEHIND)
    pen.think(shell("ls"))
    pen.judged()
    pen.ticket()
    pen.at += 601_000_000
    pen.log(RunResumed(box=handmade.BOX))
    pen.perform()
    assert examine(tmp_path, pen).ok
