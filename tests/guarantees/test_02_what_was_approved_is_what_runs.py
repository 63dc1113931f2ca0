"""Guarantee 2: approving A and running B is impossible, `modify` included."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from audition.act import Refused, check, issue, issued, perform
from audition.gate import sequential, threshold
from audition.ledger import Conflict, Journal, LedgerError, PrivateKey, SqlLedger
from audition.ledger.events import (
    ActStarted,
    AuditRecorded,
    MomentSealed,
    StepDecided,
    TicketIssued,
)
from audition.loop import Carrier
from audition.step import (
    Act,
    Box,
    Digest,
    Event,
    History,
    Moment,
    Outcome,
    Restriction,
    Thought,
    Ticket,
    View,
    Words,
    digest_of,
)
from rehearsal import (
    Note,
    Plays,
    Says,
    bodies,
    carried,
    elsewhere,
    kinds,
    note,
    project,
    red,
    written,
)

NOTHING = "0" * 64
RUN = "a" * 32


@dataclass
class Approved:
    """A moment whose act may run, and its ticket, in a ledger of its own."""

    journal: Journal
    moment: Moment
    ticket: Ticket
    issue: Event
    executor: Note

    def perform(self, **other: Any) -> Outcome:
        parts = {
            "ticket": self.ticket,
            "issue": self.issue,
            "executor": self.executor,
            "moment": self.moment,
            "journal": self.journal,
        }
        return anyio.run(lambda: perform(**{**parts, **other}))


@pytest.fixture
def approved(tmp_path: Path, unverified: SqlLedger) -> Approved:
    journal, executor = Journal(unverified, RUN), Note(tmp_path / "log")
    moment = sealed(journal, executor, note("A"))
    ticket = issue(moment, digest_of(moment), journal)
    return Approved(journal, moment, ticket, journal.log(issued(ticket)), executor)


def sealed(journal: Journal, executor: Note, act: Act) -> Moment:
    return Moment(
        run=journal.run,
        turn=1,
        place="1",
        goal=NOTHING,
        history=NOTHING,
        proposal=journal.put(act),
        box=NOTHING,
        tool=digest_of(executor.schema),
        restrictions=NOTHING,
        reviewers=NOTHING,
    )


# ------------------------------------------------------------------------ the ticket


def test_a_ticket_permits_what_was_judged(approved: Approved) -> None:
    assert approved.perform().status == "done"
    assert approved.executor.lines == ["A"]


@pytest.mark.parametrize(
    "field", ["run", "moment", "proposal", "tool", "expires", "act"], ids=lambda field: field
)
def test_a_ticket_with_any_field_changed_is_refused(approved: Approved, field: str) -> None:
    other: dict[str, Any] = {
        "run": "b" * 32,
        "moment": "1" * 64,
        "proposal": digest_of(note("B")),
        "tool": "1" * 64,
        "expires": approved.ticket.expires + 1,
        "act": note("B"),
    }
    forged = approved.ticket.model_copy(update={field: other[field]})
    with pytest.raises(Refused):
        approved.perform(ticket=forged)
    assert_untouched(approved)


@pytest.mark.parametrize("field", sorted(set(Moment.model_fields) - {"run"}))
def test_a_ticket_for_a_moment_with_any_field_changed_is_refused(
    approved: Approved, field: str
) -> None:
    value = getattr(approved.moment, field)
    other = value + 1 if isinstance(value, int) else "2" if field == "place" else "1" * 64
    forged = approved.moment.model_copy(update={field: other})
    with pytest.raises(Refused):
        approved.perform(moment=forged)
    assert_untouched(approved)


def test_the_arguments_of_an_approved_act_cannot_be_changed_in_place(approved: Approved) -> None:
    assert isinstance(approved.ticket.act, Act)
    approved.ticket.act.arguments["text"] = "B"
    with pytest.raises(Refused):
        approved.perform()
    assert_untouched(approved)


def test_another_ticket_than_the_one_recorded_is_refused(approved: Approved) -> None:
    """Even one that is right in itself: what was recorded is what may be redeemed."""
    journal = approved.journal
    other = sealed(journal, approved.executor, note("B"))
    swapped = issue(other, digest_of(other), journal)
    for moment in (approved.moment, other):
        with pytest.raises(Refused, match="not the one that was issued"):
            approved.perform(ticket=swapped, moment=moment)
    with pytest.raises(Refused, match="for another moment"):
        approved.perform(moment=other)
    assert_untouched(approved)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("issue", "not the one that was issued"),
        ("moment", "for another moment"),
        ("act", "not the one that the ticket names"),
        ("proposal", "names another act than was judged"),
        ("tool", "names another tool than was judged"),
        ("schema", "the tool has changed"),
    ],
)
def test_each_disagreement_is_found_though_all_the_rest_agrees(
    approved: Approved, wrong: str, why: str
) -> None:
    """Each line of the check guards something that no other line does."""
    moment, executor = approved.moment, approved.executor
    b, other_tool = note("B"), Note(executor.log, name="other")
    match wrong:
        case "proposal":
            moment = moment.model_copy(update={"proposal": digest_of(b)})
        case "tool":
            moment = moment.model_copy(update={"tool": digest_of(other_tool.schema)})
    ticket = approved.ticket.model_copy(
        update={
            "moment": "1" * 64 if wrong == "moment" else digest_of(moment),
            "act": b if wrong == "act" else approved.ticket.act,
        }
    )
    record = issued(ticket)
    if wrong == "issue":
        record = record.model_copy(update={"ticket": "1" * 64})
    with pytest.raises(Refused, match=why):
        check(ticket, record, other_tool if wrong == "schema" else executor, moment)


def test_an_expired_ticket_is_refused(approved: Approved) -> None:
    journal, moment = approved.journal, approved.moment
    late = issue(moment, digest_of(moment), journal, valid=-1)
    with pytest.raises(Refused, match="expired"):
        approved.perform(ticket=late, issue=journal.log(issued(late)))
    assert_untouched(approved)


def test_a_ticket_is_good_for_one_act(approved: Approved) -> None:
    approved.perform()
    for _ in range(2):
        with pytest.raises(Refused, match="the ticket was used"):
            approved.perform()
    assert approved.executor.lines == ["A"]


def test_two_tasks_redeem_a_ticket_once(approved: Approved) -> None:
    refused: list[Exception] = []

    async def redeem() -> None:
        try:
            await perform(
                approved.ticket,
                approved.issue,
                approved.executor,
                approved.moment,
                approved.journal,
            )
        except Refused as error:
            refused.append(error)

    async def both() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(redeem)

    anyio.run(both)
    assert approved.executor.lines == ["A"]
    assert len(refused) == 4


def test_two_ledgers_on_one_file_redeem_a_ticket_once(approved: Approved, tmp_path: Path) -> None:
    anyio.run(approved.journal.commit)
    with SqlLedger.open(tmp_path / "ledger.db", signer=PrivateKey.generate("other")) as second:
        theirs = Journal(second, RUN, approved.journal.seq)
        assert approved.perform().status == "done"
        with pytest.raises(Conflict):
            approved.perform(journal=theirs)
    assert approved.executor.lines == ["A"]


def assert_untouched(approved: Approved) -> None:
    assert approved.executor.lines == []
    anyio.run(approved.journal.commit)
    assert list(bodies(approved.journal.ledger, RUN, ActStarted)) == []


# ------------------------------------------------------------------------ a whole run


class Grips(Plays):
    """A thinker that keeps hold of what it proposed, to change it later."""

    async def think(self, history: History, box: Box) -> Thought:
        self.thought = await super().think(history, box)
        return self.thought


def test_a_thinker_cannot_change_its_proposal_after_proposing(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    thinker = Grips(note("A"))

    def changes(view: View) -> Any:
        proposal = thinker.thought.proposal
        if isinstance(proposal, Act):
            proposal.arguments["text"] = "B"
        object.__setattr__(thinker.thought, "proposal", note("B"))
        return critic.verdict(view, score=0.0)

    critic = Says(changes)
    judged = project(
        tmp_path, thinker=thinker, auditors=[critic], gate=threshold("critic", reject_at=1)
    )
    assert carried(judged, ledger).status == "finished"
    assert written(tmp_path) == ["A"]


def test_an_auditor_cannot_change_what_it_is_shown(tmp_path: Path, ledger: SqlLedger) -> None:
    def changes(view: View) -> Any:
        if isinstance(view.proposal, Act):
            view.proposal.arguments["text"] = "B"
            object.__setattr__(view, "proposal", note("B"))
        return critic.verdict(view, score=0.0)

    critic = Says(changes)
    after = Says(0.0, name="after")
    gate = threshold("critic", reject_at=1)
    judged = project(tmp_path, note("A"), auditors=[critic, after], gate=gate)
    assert carried(judged, ledger).status == "finished"
    assert written(tmp_path) == ["A"]


def test_an_auditor_that_changes_the_moment_itself_lets_nothing_run(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    def changes(view: View) -> Any:
        if view.moment.turn == 2:  # what was put forward before stands in the ledger
            view.moment.__dict__["proposal"] = digest_of(note("B"))
        return critic.verdict(view, score=float(view.proposal == note("B")))

    critic = Says(changes)
    gate = threshold("critic", reject_at=1)
    with pytest.raises(Refused):
        carried(project(tmp_path, note("B"), note("A"), auditors=[critic], gate=gate), ledger)
    assert written(tmp_path) == []


def test_a_tool_that_changes_while_it_is_judged_does_not_act(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    tool = Note(tmp_path / "log")

    def changes(view: View) -> Any:
        tool.schema = tool.schema.model_copy(update={"description": "Erase a line"})
        return critic.verdict(view, score=0.0)

    critic = Says(changes)
    gate = threshold("critic", reject_at=1)
    with pytest.raises(Refused, match="the tool has changed"):
        carried(
            project(tmp_path, note("A"), auditors=[critic], executors=[tool], gate=gate), ledger
        )
    assert written(tmp_path) == []


@pytest.mark.parametrize("when", ["before it is judged", "after it was judged"])
@pytest.mark.parametrize("at_hand", [True, False])
def test_content_swapped_in_the_database_does_not_run(
    tmp_path: Path,
    unverified: SqlLedger,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
    at_hand: bool,
) -> None:
    """Whoever writes the file can lie to nobody here; what runs is what was sealed, or nothing."""
    if not at_hand:  # as when other contents have taken its room
        monkeypatch.setattr("audition.ledger.recent.LONGEST", -1)

    def swap(view: View) -> None:
        with sqlite3.connect(tmp_path / "ledger.db") as database:
            database.execute(
                "UPDATE contents SET data = ? WHERE digest = ?",
                (note("B").canonical(), bytes.fromhex(view.moment.proposal)),
            )
        database.close()

    def answers(view: View) -> Any:
        swap(view)
        return critic.verdict(view, score=0.0)

    def sees(view: View) -> Any:
        assert view.proposal == note("A")
        return second.verdict(view, score=0.0)

    critic, second = Says(answers), Says(sees, name="second")
    critic.outside = True  # type: ignore[attr-defined]  # so that the moment is durable before
    first = critic if when == "before it is judged" else second
    last = second if first is critic else critic
    gate = sequential(threshold(first.name, reject_at=1), threshold(last.name, reject_at=1))
    judged = project(tmp_path, note("A"), auditors=[first, last], gate=gate)
    refused = pytest.raises((LedgerError, Refused))
    with contextlib.nullcontext() if at_hand else refused:
        carried(judged, unverified)
    assert written(tmp_path) == (["A"] if at_hand else [])


def test_alternatives_never_run(tmp_path: Path, ledger: SqlLedger) -> None:
    offered = note("A", alternatives=(note("B"), note("C")))
    carried(project(tmp_path, offered), ledger)
    assert written(tmp_path) == ["A"]


def test_a_moment_binds_box_tool_restrictions_and_reviewers(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    def moment(**changes: Any) -> Moment:
        judged = project(tmp_path, note("A"), **changes)
        return next(bodies(ledger, carried(judged, ledger).run, MomentSealed)).moment

    plain = moment()
    assert plain.box is not None
    assert plain.tool == digest_of(Note(tmp_path / "log").schema)
    limit = Restriction(name="none", says="nothing at all")
    assert moment(restrictions=(limit,)).restrictions != plain.restrictions
    assert moment(gate=threshold("red", reject_at=0.6)).reviewers != plain.reviewers
    assert moment(goal="another").goal != plain.goal


# ------------------------------------------------------------------------ modify


def replacing(instead: Act, then: float) -> Says:
    """An auditor that replaces the first attempt, then says how suspect the replacement is."""

    def answer(view: View) -> Any:
        if view.moment.attempt == 0 and isinstance(view.proposal, Act):
            return critic.verdict(view, score=0.0, words=Words(replacement=instead))
        return critic.verdict(view, score=then if isinstance(view.proposal, Act) else 0.0)

    critic = Says(answer)
    return critic


def test_a_replacement_is_judged_anew_and_runs_in_place_of_the_original(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    critic = replacing(note("B"), then=0.0)
    gate = threshold("critic", reject_at=0.5)
    result = carried(project(tmp_path, note("A"), auditors=[critic], gate=gate), ledger)
    assert written(tmp_path) == ["B"]
    sealed = [one.moment for one in bodies(ledger, result.run, MomentSealed)][:2]
    assert [moment.attempt for moment in sealed] == [0, 1]
    assert sealed[1].proposal == digest_of(note("B"))
    judged = [one.answer.moment for one in bodies(ledger, result.run, AuditRecorded)]
    assert judged[:4] == [digest_of(sealed[0])] * 2 + [digest_of(sealed[1])] * 2
    ticket = next(bodies(ledger, result.run, TicketIssued))
    assert (ticket.moment, ticket.proposal) == (digest_of(sealed[1]), digest_of(note("B")))


def test_a_rejected_replacement_does_not_run_nor_does_the_original(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    critic = replacing(note("B"), then=1.0)
    gate = threshold("critic", reject_at=0.5)
    result = carried(project(tmp_path, note("A"), auditors=[critic], gate=gate), ledger)
    assert written(tmp_path) == []
    decisions = [one.decision.action for one in bodies(ledger, result.run, StepDecided)]
    assert decisions == ["modify", "reject", "proceed"]


def test_a_replacement_passes_every_guard_that_the_original_passed(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    """An approval of A by one auditor says nothing of the B that another put in its place."""
    critic = replacing(note("forbidden"), then=0.0)
    gate = sequential(threshold("red", reject_at=0.5), threshold("critic", reject_at=0.5))
    result = carried(project(tmp_path, note("A"), auditors=[red(), critic], gate=gate), ledger)
    assert written(tmp_path) == []
    decisions = [one.decision.action for one in bodies(ledger, result.run, StepDecided)]
    assert decisions[:2] == ["modify", "reject"]


def test_a_step_that_is_replaced_without_end_fails(tmp_path: Path, ledger: SqlLedger) -> None:
    def answer(view: View) -> Any:
        words = Words(replacement=note(f"B{view.moment.attempt}"))
        return critic.verdict(view, score=0.0, words=words)

    critic = Says(answer)
    gate = threshold("critic", reject_at=0.5)
    result = carried(project(tmp_path, note("A"), auditors=[critic], gate=gate), ledger)
    assert (result.status, written(tmp_path)) == ("failed", [])


# ------------------------------------------------------------------------ two processes


def test_two_processes_that_carry_one_run_perform_its_act_once(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    """Both find the same moment decided and race for its ticket."""
    judged = project(tmp_path, note("A"))
    decided = _until(ledger, judged, StepDecided)
    source = """
        folder, run = Path(sys.argv[1]), sys.argv[2]
        with SqlLedger.open(folder / "ledger.db") as ledger:
            print("ready", flush=True)
            sys.stdin.readline()
            carried(project(folder, note("A")), ledger, run_id=run)
    """
    racers = [elsewhere(source, tmp_path, decided) for _ in range(2)]
    for racer in racers:
        assert racer.stdout is not None and racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.communicate("go\n")
    assert written(tmp_path) == ["A"]
    assert len(list(bodies(ledger, decided, ActStarted))) == 1


def test_a_process_that_finds_an_act_under_way_does_not_begin_it_again(
    tmp_path: Path, ledger: SqlLedger
) -> None:
    """One waits beside the ledger while another performs: it is no ticket to perform as well."""
    judged = project(tmp_path, note("A"))
    run = _until(ledger, judged, ActStarted)
    beside = Carrier(judged, ledger, run)

    async def look() -> str:
        return await beside.advance(None)  # type: ignore[arg-type]  # no box is needed to wait

    assert anyio.run(look) == "settle"
    assert written(tmp_path) == []
    assert len(list(bodies(ledger, run, ActStarted))) == 1


class _Enough(BaseException):
    """Ends a run where a test wants it to stand."""


def _until(ledger: SqlLedger, judged: Any, last: type) -> Digest:
    """A run that stands right after its first event of this kind; what follows never was."""
    journals: list[Journal] = []

    def watch(event: Event) -> None:
        if isinstance(event.body, last):
            journals.append(Journal(ledger, event.run))
            raise _Enough

    if last is ActStarted:
        tool = judged.executors["note"]

        async def dies(ticket: Ticket) -> Outcome:
            journals.append(Journal(ledger, ticket.run))
            raise _Enough

        tool.act = dies
    with pytest.raises(_Enough):
        carried(judged, ledger, watch=watch)
    vars(judged.executors["note"]).pop("act", None)
    journal = journals[0]
    anyio.run(journal.commit)
    assert kinds(ledger, journal.run)[-1] == last.kind
    return journal.run
