"""Watching: a run in another process, by nothing but its ledger, however long it is."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console, ConsoleDimensions

from audition.canonical import digest_value
from audition.console.picture import picture
from audition.console.standing import KEPT, TAIL, Standing, last_event
from audition.console.watching import AT_ONCE
from audition.ledger import Journal, LedgerError, SqlLedger
from audition.ledger.events import (
    ActFinished,
    AuditAsked,
    AuditRecorded,
    MomentSealed,
    RunClosed,
    RunOpened,
    StepDecided,
    StepProposed,
    StepThought,
)
from audition.step import (
    Act,
    Body,
    Decision,
    Digest,
    Failure,
    Finish,
    Moment,
    Outcome,
    Proposal,
    Role,
    Think,
    Usage,
    Verdict,
    digest_of,
)
from audition.waiting import answer, declared
from handmade import LIVE, RECORD
from rehearsal import Says

PATIENCE = 120
"""Seconds after which a process that should have answered is taken to hang."""

NOTHING = digest_value([])
RUN = "5" * 32


class Writer:
    """Writes a live run event by event, as its loop would."""

    def __init__(self, ledger: SqlLedger, run: str = RUN, goal: str = "tidy up") -> None:
        self.journal = Journal(ledger, run)
        self.goal = self.journal.put(goal)
        self.turn = 0
        self.log(
            RunOpened(
                mode="live",
                project="by hand",
                goal=self.goal,
                thinker="hand",
                auditors=(),
                gate={},
                restrictions=NOTHING,
            )
        )

    def log(self, *bodies: Body) -> None:
        for body in bodies:
            self.journal.log(body)

    def step(self, proposal: Proposal, *, place: str = "1", action: str = "reject") -> Digest:
        """A step; decided at once unless `action` is empty."""
        self.turn += 1
        content = self.journal.put(proposal)
        moment = Moment(
            run=self.journal.run,
            turn=self.turn,
            place=place,
            goal=self.goal,
            history=self.goal,
            proposal=content,
            restrictions=NOTHING,
            reviewers=NOTHING,
        )
        self.log(
            StepProposed(turn=self.turn, proposal=content, what=proposal.kind),
            MomentSealed(moment=moment),
        )
        if action:
            decision = Decision(action=action, reason="by hand")  # type: ignore[arg-type]
            self.log(StepDecided(moment=digest_of(moment), decision=decision))
        return digest_of(moment)

    def commit(self) -> None:
        anyio.run(self.journal.commit)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    with SqlLedger.open(tmp_path / "runs.db") as opened:
        yield opened


def drawn(standing: Standing, width: int = 100, height: int = 40) -> list[str]:
    """The lines of a picture, without colours."""
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(picture(standing, ConsoleDimensions(width, height)))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().split("\n")[:-1]


def shell_words(*words: str) -> list[str]:
    return [sys.executable, "-m", "audition", *words]


class Shell:
    """Runs `audition` in a folder, with a keyring of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {**os.environ, "AUDITION_HOME": str(folder / "home"), "TERM": "xterm"}
        self.started: list[subprocess.Popen[str]] = []

    def __call__(self, *words: str, code: int = 0, stdin: str = "") -> str:
        done = subprocess.run(
            shell_words(*words),
            cwd=self.folder,
            env=self.env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == code, (words, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def start(self, *words: str, **how: Any) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(
            shell_words(*words), cwd=self.folder, env=self.env, text=True, **(pipes | how)
        )
        self.started.append(process)
        return process


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    one = Shell(tmp_path)
    yield one
    for process in one.started:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def until(stream: IO[str] | None, wanted: Callable[[str], bool]) -> list[str]:
    """The lines up to the one that is wanted; the process must write it."""
    assert stream is not None
    lines: list[str] = []
    for line in stream:
        lines.append(line.rstrip("\n"))
        if wanted(line):
            return lines
    raise AssertionError(f"it ended before: {lines}")


@pytest.fixture
def waits_for_ann(shell: Shell, unverified: object) -> tuple[subprocess.Popen[str], str]:
    """A run of the example project in a process that stays while ann is awaited, and its id."""
    shell("init", "job")
    project = shell.folder / "job" / "audition.toml"
    text = project.read_text()
    person = '[[auditors]]\nkind = "person"\nname = "ann"\n\n[gate]\n'
    text = text.replace("[gate]\n", person, 1)
    gate = '[[gate.of]]\nkind = "person"\nauditor = "ann"\nwithin = 3600\n\n# A secret lottery'
    project.write_text(text.replace("# A secret lottery", gate, 1))
    run = shell.start("run", "job/audition.toml", "--ledger", "a.db", "--wait")
    said = until(run.stderr, lambda line: "asked: ann" in line)
    return run, next(line.split()[1] for line in said if line.startswith("run "))


def approve(shell: Shell, run: str) -> None:
    """Ann's answer, given in this process."""
    with SqlLedger.open(shell.folder / "a.db", create=False) as opened:
        role = declared(opened, run, "ann").role
        score = 0.0 if role is Role.GUARD else 1.0
        anyio.run(answer, opened, run, Says(score, name="ann", role=role))


def test_a_run_is_told_as_it_goes_on_through_the_death_of_its_process_to_its_end(
    shell: Shell, waits_for_ann: tuple[subprocess.Popen[str], str]
) -> None:
    carrier, run = waits_for_ann
    watching = shell.start("watch", "a.db", run[:8])
    lines = until(watching.stdout, lambda line: "asked: ann" in line)
    carrier.kill()
    carrier.wait()
    approve(shell, run)
    lines += until(watching.stdout, lambda line: "recorded: ann: approve" in line)
    assert watching.poll() is None, "the run has not ended because its process has"
    resumed = shell.start("run", "job/audition.toml", "--ledger", "a.db", "--resume", run, "--wait")
    while resumed.poll() is None:
        more = until(watching.stdout, lambda line: "asked: ann" in line or "run.closed" in line)
        lines += more
        if "run.closed" in more[-1]:
            break
        approve(shell, run)
    assert watching.wait(PATIENCE) == 0, "watching ends with the run"
    numbers = [int(line.split()[0]) for line in lines]
    assert numbers == list(range(len(lines))), "one line an event, none lost, none twice"
    assert any("taken up again" in line for line in lines)
    assert any("act.finished: done" in line for line in lines)


def test_where_a_run_stands_is_one_object(
    shell: Shell, waits_for_ann: tuple[subprocess.Popen[str], str]
) -> None:
    _, run = waits_for_ann
    [line] = [one for one in shell("watch", "a.db", "--json").splitlines() if one[0] == "{"]
    found = json.loads(line)
    assert (found["run"], found["status"], found["mode"]) == (run, "open", "live")
    [waits] = found["waits"]
    with SqlLedger.open(shell.folder / "a.db", create=False) as opened:
        [asked] = [e.body for e in opened.read(run) if isinstance(e.body, AuditAsked)]
    assert waits == {"for": "ann", "deadline": asked.deadline}
    assert found["step"]["turn"] == 1 and found["step"]["outcome"] is None


def piece(terminal: int, until: float) -> bytes:
    """What comes next from a terminal, which must not go on for ever."""
    left = until - time.monotonic()
    ready, _, _ = select.select([terminal], [], [], max(0, left))
    assert ready and left > 0, "it is not shown, or goes on being shown"
    return os.read(terminal, 65536)


def test_on_a_terminal_it_is_a_picture_and_an_interrupt_ends_it_cleanly(
    shell: Shell, waits_for_ann: tuple[subprocess.Popen[str], str]
) -> None:
    outside, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 90, 0, 0))
    watching = shell.start("watch", "a.db", stdout=terminal)
    os.close(terminal)
    seen, until = b"", time.monotonic() + PATIENCE
    try:
        while b"waits for ann until" not in seen:
            seen += piece(outside, until)
        watching.send_signal(signal.SIGINT)
        while more := piece(outside, until):
            seen += more
    except OSError:  # the last one that held the terminal has gone
        pass
    finally:
        os.close(outside)
    assert watching.wait(PATIENCE) == 130
    assert watching.stderr is not None and "Traceback" not in watching.stderr.read()
    picture_left = seen.rpartition(b"\x1b[?1049l")[2]
    assert b"waits for ann until" in picture_left, "the last picture stays on the screen"


def test_followed_as_json_it_is_one_line_an_event(shell: Shell, ledger_path: Path) -> None:
    lines = shell("watch", str(ledger_path), LIVE, "--json", "--follow").splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert events[-1]["kind"] == "run.closed"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["runs.db"], "there is no run yet"),
        (["no.db"], "no ledger"),
        (["runs.db", "abcd"], "no run"),
    ],
)
def test_what_cannot_be_watched_is_one_line(
    shell: Shell, ledger: SqlLedger, words: list[str], line: str
) -> None:
    [said] = shell("watch", *words, code=1).splitlines()
    assert line in said


def test_the_tally_is_what_the_events_are(ledger_path: Path) -> None:
    with SqlLedger.open(ledger_path) as opened:
        for run in (LIVE, RECORD):
            standing = Standing(opened, run)
            while standing.take(7):
                pass
            events = list(opened.read(run))
            found = standing.as_json()
            answers = [e.body.answer for e in events if isinstance(e.body, AuditRecorded)]
            assert standing.ended and found["events"] == len(events)
            assert found["verdicts"] + found["failures"] == len(answers)
            assert found["failures"] == sum(isinstance(one, Failure) for one in answers)
            decided = [e.body for e in events if isinstance(e.body, StepDecided)]
            assert sum(found["decisions"].values()) == len(decided)
            closed = events[-1].body
            assert isinstance(closed, RunClosed) and found["status"] == closed.status
            again = Standing(opened, run)
            again.take()
            assert again.as_json() == found, "in whatever portions it is read"


def test_steps_stand_under_the_thought_that_opened_them(ledger: SqlLedger) -> None:
    run = Writer(ledger)
    run.step(Think(prompt="outer"), action="proceed")
    run.step(Think(prompt="inner"), place="1.1", action="proceed")
    run.step(Act(tool="deep"), place="1.1.1")
    run.commit()
    standing = Standing(ledger, RUN)
    standing.take()
    rows = [line for line in drawn(standing) if re.search("outer|inner|deep", line)]
    assert [row.index(row.strip("│ ")) for row in rows] == [0, 2, 4]
    cut = drawn(standing, height=11)
    assert len(cut) <= 11 and any("in 1.1.1" in line for line in cut)


def test_an_answer_that_comes_is_no_longer_awaited_and_a_doubt_is(ledger: SqlLedger) -> None:
    run = Writer(ledger)
    moment = run.step(Act(tool="x"), action="")
    run.log(*(AuditAsked(moment=moment, auditor=name) for name in ("ann", "bob")))
    run.log(
        AuditRecorded(
            failure=Failure(auditor="bob", moment=moment, kind="late", cause="infrastructure")
        )
    )
    run.commit()
    standing = Standing(ledger, RUN)
    standing.take()
    assert list(standing.tally.waits()) == [("ann", None)]
    assert any("waits for ann" in line for line in drawn(standing))
    assert not any("waits for bob" in line for line in drawn(standing))


HOSTILE = "a\x1b]0;t\x07\x1b[2J\u202e\u200b\n\rb [red]c[/red] \U000e0041\ud800"


@pytest.mark.parametrize(
    ("width", "height"), [(100, 40), (20, 8), (20, 9), (20, 10), (3, 3), (400, 100)]
)
def test_nothing_untrusted_moves_the_cursor_and_no_line_leaves_its_place(
    ledger: SqlLedger, width: int, height: int
) -> None:
    run = Writer(ledger, goal=HOSTILE)
    for depth in range(1, 12):
        place = ".".join("1" * depth)
        act = Act(tool=HOSTILE.replace("\ud800", ""), arguments={"宽" * 50: HOSTILE[:-1]})
        moment = run.step(act, place=place, action="")
        run.log(AuditAsked(moment=moment, auditor="a‮nn"))
        decision = Decision(action="reject", reason=HOSTILE[:-1])
        run.log(StepDecided(moment=moment, decision=decision))
    run.commit()
    standing = Standing(ledger, RUN)
    standing.take()
    lines = drawn(standing, width, height)
    assert len(lines) <= height
    for line in lines:
        assert line.isprintable(), ascii(line)


def test_the_first_picture_costs_the_same_however_long_the_run_is(
    ledger: SqlLedger,
) -> None:
    read: list[int] = []
    for steps, name in ((1500, "a" * 32), (4000, "b" * 32)):
        run = Writer(ledger, name)
        for number in range(steps):
            run.step(Act(tool="t", arguments={"n": number}))
        run.commit()
        counting = Counting(ledger)
        standing = Standing(counting, name)  # type: ignore[arg-type]
        standing.take(AT_ONCE)
        assert any(f" {steps}  " in line for line in drawn(standing)), "the newest step is there"
        read.append(counting.events)
        assert counting.events <= TAIL + AT_ONCE + 100
        while standing.take(AT_ONCE):
            assert len(standing.recent.rows) <= KEPT
            assert len(standing.tally.progress.recent) <= 1024
        assert standing.tally.steps == steps
        assert standing.counted == standing.seen == 3 * steps
    assert read[1] - read[0] < 100


class Counting:
    """A ledger that counts the events it hands out."""

    def __init__(self, ledger: SqlLedger) -> None:
        self.ledger = ledger
        self.events = 0

    def read(self, run: str, after: int = -1) -> Iterator[Any]:
        for event in self.ledger.read(run, after):
            self.events += 1
            yield event

    def get(self, content: str) -> bytes:
        return self.ledger.get(content)


@settings(deadline=None)  # the machine may be busy
@given(st.integers(0, 5000))
def test_the_last_event_is_found_without_reading_the_others(length: int) -> None:
    looked: list[int] = []

    class Numbers:
        def read(self, run: str, after: int) -> Iterator[int]:
            looked.append(after)
            return iter(range(after + 1, length))

    assert last_event(Numbers(), RUN) == length - 1  # type: ignore[arg-type]
    assert len(looked) <= 40


def test_events_that_are_no_run_are_one_line(ledger: SqlLedger) -> None:
    journal = Journal(ledger, RUN)
    journal.log(StepProposed(turn=1, proposal=NOTHING, what="act"))
    anyio.run(journal.commit)
    with pytest.raises(LedgerError, match=f"run {RUN}, event 0: "):
        Standing(ledger, RUN).take()


def test_redacted_content_is_said_and_the_rest_is_told(shell: Shell, ledger: SqlLedger) -> None:
    run = Writer(ledger)
    act = Act(tool="gone")
    run.step(act)
    run.step(Act(tool="kept"))
    run.commit()
    anyio.run(ledger.redact, digest_of(act))
    goal: Any = ledger.first(RUN).body
    anyio.run(ledger.redact, goal.goal)
    standing = Standing(ledger, RUN)
    standing.take()
    assert any("was redacted" in line for line in drawn(standing))
    told = shell("show", "runs.db", RUN)
    assert told.count("was redacted)") == 2 and "kept" in told
    assert f"(content {goal.goal[:12]}… was redacted)" in told


def a_small_story(ledger: SqlLedger) -> None:
    """The run that the page shows."""
    run = Writer(ledger, "a1c3e5f70912" + "0" * 20, goal="Answer what can be answered.")

    def judged(proposal: Proposal, place: str, suspicion: float) -> None:
        moment = run.step(proposal, place=place, action="")
        usage = Usage(seconds=1.05, tokens_in=900, tokens_out=30)
        for name, score in (("rules", 0.0), ("critic", suspicion)):
            verdict = Verdict(
                auditor=name,
                role=Role.GUARD,
                moment=moment,
                score=score,
                usage=usage if name == "critic" else None,
            )
            run.log(AuditRecorded(verdict=verdict))
        action = "reject" if suspicion >= 0.5 else "proceed"
        reason = f"threshold: critic suspicion {suspicion}"
        run.log(StepDecided(moment=moment, decision=Decision(action=action, reason=reason)))
        if isinstance(proposal, Act) and action == "proceed":
            outcome = run.journal.put(Outcome(status="done", output="3 messages"))
            run.log(ActFinished(ticket=NOTHING, status="done", outcome=outcome))

    run.log(StepThought(turn=1, usage=Usage(seconds=12.4, calls=9, tokens_in=5210, tokens_out=820)))
    judged(Think(prompt="Which of these are urgent?"), "1", 0.1)
    judged(Act(tool="search", arguments={"query": "deadline"}), "1.1", 0.0)
    judged(Act(tool="shell", arguments={"command": "rm -r archive"}), "1.1", 0.9)
    judged(Finish(answer="Two of three."), "1.1", 0.0)
    judged(Finish(answer="Two are answered."), "1", 0.0)
    run.log(RunClosed(status="finished"))
    run.commit()


def test_the_page_shows_what_is_drawn(ledger: SqlLedger) -> None:
    a_small_story(ledger)
    standing = Standing(ledger, ledger.runs()[0])
    standing.take()
    page = (Path(__file__).parents[2] / "docs" / "watching.md").read_text()
    block = page.partition("```text\n")[2].partition("```")[0]
    assert block == "".join(line.rstrip() + "\n" for line in drawn(standing))
