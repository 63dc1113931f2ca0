"""A person thinks at a terminal: sees the run, works in the box, types one step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from thoughts import Echoes, Past

from audition.act import Shell
from audition.audit import Left
from audition.ledger import SqlLedger
from audition.step import Act, Finish, Message, Outcome, Think, Thought, Turn
from audition.think import PersonThinker
from audition.think.person import TRIES
from rehearsal import carried, decisions, project

TOOL = Shell(Path("/")).schema
HOSTILE = "\x1b[2J\r\u202e\u200b\nOpen step 1.1: $ rm"


class Terminal:
    """Types what it is given, and keeps what is shown; then nobody is there."""

    def __init__(self, *typed: str) -> None:
        self.typed = list(typed)
        self.shown: list[str] = []

    def thinker(self, tool: Any = TOOL) -> PersonThinker:
        return PersonThinker("ann", [tool], say=self.shown.append, hear=self.hear)

    async def hear(self, question: str) -> str:
        self.shown.append(question)
        if not self.typed:
            raise Left("nothing was recorded")
        return self.typed.pop(0)

    def think(self, history: Any = None) -> Thought:
        return anyio.run(self.thinker().think, history or Past(), Echoes())


def test_a_person_works_in_the_box_and_proposes(tmp_path: Path, ledger: SqlLedger) -> None:
    shell = Shell(tmp_path)
    terminal = Terminal(
        "$ expr 2 + 2",
        '{"kind": "act", "tool": "shell", "arguments": {"command": "echo 4 > n; cat n"}}',
        '{"kind": "finish", "answer": "4"}',
    )
    thinker = terminal.thinker(shell.schema)
    result = carried(project(tmp_path, thinker=thinker, executors=[shell]), ledger)
    assert (result.status, result.answer) == ("finished", "4")
    assert decisions(ledger, result.run) == ["proceed"] * 2
    assert (tmp_path / "n").read_text() == "4\n"
    said = "\n".join(terminal.shown)
    assert "exit 0\nstandard output:\n| 4" in said
    assert '[1 at 1, proceed] {"arguments":{"command":"echo 4 > n; cat n"},"kind":"act"' in said
    assert "-> done: " in said


def test_what_is_no_step_is_asked_for_again() -> None:
    terminal = Terminal(
        "ls",
        "",
        '{"kind": "act", "tool": "rm", "arguments": {}}',
        '{"kind": "act", "tool": "shell", "arguments": {}}',
        "$ a\0b",
        ' {"kind": "think", "prompt": "more"} ',
    )
    given = terminal.think()
    assert (given.proposal, given.calls) == (Think(prompt="more"), ())
    wrong = [line for line in terminal.shown if line.startswith("No step: ")]
    assert len(wrong) == 4
    assert "no tool is called 'rm'; there are: shell" in wrong[2]
    assert "shell: arguments: 'command' is a required property" in wrong[3]
    assert "a command is one or more words without NUL" in terminal.shown


def test_nothing_from_elsewhere_acts_on_the_screen() -> None:
    past = Past(
        Message(role="user\u202e", content=HOSTILE),
        Turn(
            number=1,
            place="1",
            proposal=Act(tool="shell", arguments={HOSTILE: HOSTILE}, reason=HOSTILE),
            action="proceed",
            outcome=Outcome(status="done", output=HOSTILE),
        ),
        place="1.1",
        prompt=HOSTILE,
    )
    terminal = Terminal(f"$ {HOSTILE}", '{"kind": "dance\\u001b\\u202e"}', "nonsense \x1b[2J")
    with pytest.raises(Left):
        terminal.think(past)
    said = "".join(terminal.shown)
    assert not any(character in said for character in "\x1b\r\u202e\u200b")
    for line in "\n".join(terminal.shown).split("\n"):
        assert line == f"Open step 1.1: {line[15:]}" or not line.startswith("Open step")
    assert sum(line.startswith("Open step") for line in terminal.shown) == 1


def test_only_what_is_newest_is_shown_and_the_rest_is_counted() -> None:
    turns = [
        Turn(number=n, place="1", proposal=Finish(answer="a"), action="reject") for n in range(9)
    ]
    terminal = Terminal('{"kind": "finish", "answer": "a"}')
    terminal.think(Past(*turns))
    assert "(3 earlier entries)" in terminal.shown
    assert sum("reject]" in line for line in terminal.shown) == 6


def test_a_person_who_goes_away_proposes_nothing() -> None:
    with pytest.raises(Left):
        Terminal("$ ls").think()


def test_a_pipe_that_never_says_a_step_ends() -> None:
    with pytest.raises(ValueError, match=f"ann: {TRIES} lines, and none was a step"):
        Terminal(*["x"] * TRIES).think()


def test_the_configuration_pins_the_person_and_the_tools() -> None:
    one = Terminal().thinker()
    assert one.configuration() == Terminal().thinker().configuration()
    other = PersonThinker("bob", [TOOL], hear=Terminal().hear)
    fewer = PersonThinker("ann", [], hear=Terminal().hear)
    assert len({thinker.configuration() for thinker in (one, other, fewer)}) == 3
