"""A project file that is wrong gets one line: the file, the field, the way out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audition.ledger import SqlLedger
from audition.project import Budget, Project, ProjectError, load, parse
from audition.step import Act, Usage
from rehearsal import SECRET, Absent

WHOLE = """\
name = "small"
goal = "write a line"
[thinker]
kind = "scripted"
steps = [{ propose = { kind = "finish", answer = "done" } }]
[box]
[[auditors]]
kind = "rules"
name = "red"
rules = [{ name = "none", pattern = "rm -rf" }]
[[auditors]]
kind = "person"
name = "ann"
[gate]
kind = "threshold"
auditor = "red"
reject_at = 0.5
[tools.write]
[tools.shell]
[tools.ask]
[budget]
steps = 5
"""
REPLAYED = 'kind = "replayed"\nledger = "none.db"\nrun = "' + "0" * 32 + '"\n'
SCRIPTED = WHOLE[WHOLE.index('kind = "scripted"') : WHOLE.index("[box]")]

WRONG = {
    "no TOML": (("name =", "name"), "not TOML"),
    "a key twice": (("[budget]", "[budget]\n[budget]"), "not TOML"),
    "a number without end": (("steps = 5", f"steps = {'9' * 5000}"), "not TOML"),
    "nesting without end": (("steps = 5", f"steps = {'[' * 5000}"), "not TOML"),
    "an empty goal": (('goal = "write a line"', 'goal = ""'), "goal"),
    "a name that is no text": (('name = "small"', "name = 7"), "name"),
    "a name with a control": (('name = "small"', 'name = "a\\u0007"'), "name"),
    "a thinker of no kind": (('kind = "scripted"', 'kind = "oracle"'), "thinker"),
    "a script without lines": (("steps = [{", "steps = []\nmore = [{"), "thinker.more"),
    "a proposal of no kind": (('kind = "finish"', 'kind = "act now"'), "propose"),
    "an auditor of no kind": (('kind = "person"', 'kind = "oracle"'), "auditors.1"),
    "an auditor twice": (('name = "ann"', 'name = "red"'), "'red' is taken; change it"),
    "an auditor called form": (('name = "ann"', 'name = "form"'), "'form' is taken"),
    "a rule twice": (
        ('rules = [{ name = "none"', 'rules = [{ name = "none" }, { name = "none"'),
        "two rules are called 'none'",
    ),
    "a pattern that nobody can read": (('"rm -rf"', '"("'), "auditors.0.rules.0.pattern"),
    "no rules": (('[{ name = "none", pattern = "rm -rf" }]', "[]"), "auditors.0"),
    "a gate of no kind": (('kind = "threshold"', 'kind = "open"'), "no gate is called 'open'"),
    "a gate without a kind": (('kind = "threshold"\n', ""), "gate.kind"),
    "a gate without a level": (("reject_at = 0.5", ""), "gate.reject_at is missing"),
    "a level beyond 1": (("reject_at = 0.5", "reject_at = 1.5"), "gate.reject_at"),
    "a level that is no number": (("reject_at = 0.5", "reject_at = nan"), "gate.reject_at"),
    "a gate for a ghost": (('auditor = "red"', 'auditor = "ghost"'), "known: red, ann"),
    "half an escalation": (("reject_at = 0.5", "reject_at = 0.5\nescalate_at = 0.1"), "gate"),
    "a field of a gate that there is not": (
        ("reject_at = 0.5", "reject_at = 1\nif = 1"),
        "gate.if",
    ),
    "a date where a table is due": (("[gate]", "[gate]\nat = 2020-01-01"), "gate.at"),
    "no steps": (("steps = 5", "steps = 0"), "budget.steps"),
    "less than no time": (("steps = 5", "seconds = -1"), "budget.seconds"),
    "a tool that there is not": (("[tools.ask]", "[tools.mail]"), "tools.mail"),
    "a field of a tool that there is not": (("[tools.write]", "[tools.write]\nx = 1"), "write.x"),
    "output without end": (("[tools.shell]", "[tools.shell]\noutput = 999999999"), "shell.output"),
    "a limit of the box that there is not": (("[box]", "[box]\nnetwork = true"), "box.network"),
    "a workspace that there is not": (
        ("[box]", '[box]\nworkspace = "nowhere"'),
        "box.workspace: no such folder: nowhere",
    ),
    "a folder to write to that there is not": (
        ("[tools.write]", '[tools.write]\nfolder = "nowhere"'),
        "tools.write.folder: no such folder: nowhere",
    ),
    "a folder to run in that there is not": (
        ("[tools.shell]", '[tools.shell]\nfolder = "nowhere"'),
        "tools.shell.folder: no such folder: nowhere",
    ),
    "a rule about a tool that there is not": (
        ('pattern = "rm -rf"', 'pattern = "rm -rf", tools = ["shel"]'),
        "rule 'none': no tool is called 'shel'; known: shell, write, ask",
    ),
    "a rule that excepts a tool that there is not": (
        ('pattern = "rm -rf"', 'pattern = "rm -rf", except_tools = ["s*", "mail"]'),
        "no tool is called 'mail'",
    ),
    "a folder to read that there is not": (("[box]", '[box.read]\na = "nowhere"'), "box.read.a"),
    "a name in the script that nothing stands for": (
        ('answer = "done"', 'answer = "$stdot"'),
        "thinker: step 1: nothing stands for '$stdot'",
    ),
    "a ledger to replay that there is not": ((SCRIPTED, REPLAYED), "thinker: "),
    "a replay of no run": ((SCRIPTED, REPLAYED.replace("0" * 32, "x")), "thinker.run"),
}


def loaded(folder: Path, text: str | bytes) -> Project:
    path = folder / "p.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())

    async def put(question: str, to: str) -> None:
        return None

    return load(path, person=lambda one: Absent(name=one.name), put=put, secret=SECRET)


def test_a_whole_file_makes_a_project(tmp_path: Path) -> None:
    whole = loaded(tmp_path, WHOLE)
    assert (whole.name, whole.goal, whole.budget) == ("small", "write a line", Budget(steps=5))
    assert list(whole.auditors) == ["red", "ann"]
    assert list(whole.executors) == ["shell", "write", "ask"]


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_named_in_one_line(tmp_path: Path, what: str) -> None:
    (old, new), says = WRONG[what]
    assert WHOLE.count(old) >= 1
    with pytest.raises(ProjectError) as caught:
        loaded(tmp_path, WHOLE.replace(old, new, 1))
    line = str(caught.value)
    assert re.match(r"p\.toml(, line [0-9]+)?: ", line)
    assert says in line
    assert "\n" not in line
    assert len(line) < 400


def test_bytes_that_are_no_text_are_named_with_their_place(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"p\.toml: byte 8 is not UTF-8"):
        loaded(tmp_path, b'name = "\xff"')


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match=r"none\.toml: No such file.*audition init"):
        load(tmp_path / "none.toml", person=lambda one: Absent(), put=None)  # type: ignore[arg-type]


def test_a_folder_is_told_from_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="a folder; name the project file in it"):
        load(tmp_path, person=lambda one: Absent(), put=None)  # type: ignore[arg-type]


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="is it a project file"):
        loaded(tmp_path, WHOLE + "#" * (1 << 20))


def test_replaying_a_run_without_proposals_is_refused(tmp_path: Path) -> None:
    SqlLedger.open(tmp_path / "none.db").close()
    with pytest.raises(ProjectError, match=r"thinker: run 0+: it has no proposals"):
        loaded(tmp_path, WHOLE.replace(SCRIPTED, REPLAYED))


@pytest.mark.parametrize("depth", [10, 100, 400])
def test_gates_within_gates_are_taken_or_refused_in_a_line(tmp_path: Path, depth: int) -> None:
    inner = '{ kind = "threshold", auditor = "red", reject_at = 0.5 }'
    for _ in range(depth):
        inner = f'{{ kind = "sequential", of = [{inner}] }}'
    gate = WHOLE.index("[gate]")
    text = f"gate = {inner}\n{WHOLE[:gate]}{WHOLE[WHOLE.index('[tools.write]') :]}"
    if depth == 10:
        assert loaded(tmp_path, text).gate is not None
    else:
        with pytest.raises(ProjectError, match=r"^p\.toml: [^\n]+$"):
            loaded(tmp_path, text)


@given(st.text(max_size=300))
def test_any_text_is_a_project_or_one_line(text: str) -> None:
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return
    with pytest.raises(ProjectError) as caught:
        parse(data, "p.toml")
    assert "\n" not in str(caught.value)


@given(st.sampled_from(WHOLE.split("\n")), st.binary(max_size=12), st.integers(0, len(WHOLE)))
def test_a_damaged_file_is_a_project_or_one_line(line: str, noise: bytes, place: int) -> None:
    whole = WHOLE.replace(line, "", 1).encode()
    says = ""
    try:
        parse(whole[:place] + noise + whole[place:], "p.toml")
    except ProjectError as error:
        says = str(error)
    assert "\n" not in says


@pytest.mark.parametrize(
    ("steps", "spent", "why"),
    [
        (4, Usage(), ""),
        (5, Usage(), "5 steps are used up"),
        (0, Usage(seconds=9.9), ""),
        (0, Usage(seconds=10), "10 seconds of thinking are used up"),
    ],
)
def test_a_budget_says_which_limit_is_reached(steps: int, spent: Usage, why: str) -> None:
    assert Budget(steps=5, seconds=10).exceeded(steps, spent) == why


def test_a_budget_that_never_ends_can_still_be_written_down(tmp_path: Path) -> None:
    text = WHOLE.replace("steps = 5", "seconds = inf")
    assert loaded(tmp_path, text).budget.exceeded(0, Usage(seconds=1e12)) == ""


def test_no_act_writes_over_the_project_file(tmp_path: Path) -> None:
    whole = loaded(tmp_path, WHOLE)
    act = Act(tool="write", arguments={"path": "p.toml", "content": ""})
    assert "own file" in whole.executors["write"].refuses(act)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("reject_at", "reject_att", "line 17: gate.reject_att is no field here; did you mean rej"),
        ("steps = 5", "step = 5", "line 22: budget.step is no field here; did you mean steps?"),
        ("[tools.shell]", "[tools.shel]", "tools.shel is no field here; did you mean shell?"),
    ],
)
def test_a_misspelt_field_is_told_with_its_line_and_the_one_that_was_meant(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    with pytest.raises(ProjectError, match=re.escape(told)):
        loaded(tmp_path, WHOLE.replace(old, new, 1))
