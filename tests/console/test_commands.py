"""The commands as a user types them, in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

import pytest

from audition.box import BoxRefused, BoxUnavailable, open_box


@pytest.fixture(scope="module")
def box() -> None:
    import anyio

    async def opened() -> None:
        async with open_box():
            pass

    try:
        anyio.run(opened)
    except (BoxUnavailable, BoxRefused) as error:
        pytest.skip(f"no box here: {error}")


class Shell:
    """Runs `audition` in a folder, with a keyring of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {**os.environ, "AUDITION_HOME": str(folder / "home"), "NO_COLOR": "1"}

    def __call__(
        self, *words: str, code: int = 0, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "audition", *words],
            cwd=self.folder,
            env=self.env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def json(self, *words: str, code: int = 0) -> dict:
        done = self(*words, "--json", code=code)
        [line] = done.stdout.splitlines()
        value = json.loads(line)
        assert isinstance(value, dict)
        return value


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in done.stderr.splitlines() if not line.startswith("made the key")]
    assert len(lines) == 1, done.stderr
    return lines[0]


CHAT = {
    "messages": [
        {"role": "user", "content": "tidy up"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": "1",
                    "type": "function",
                    "function": {
                        "name": "bash",
                        "arguments": '{"command": "sudo rm -rf / \\u202e"}',
                    },
                }
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": "no \x1b[31m"},
        {"role": "assistant", "content": "done"},
    ]
}


def records(folder: Path, count: int = 3) -> Path:
    path = folder / "chat.jsonl"
    path.write_text("".join(json.dumps(CHAT | {"id": n}) + "\n" for n in range(count)))
    return path


def test_demo_stops_the_bad_step_and_finds_the_altered_event(box, shell):
    found = shell.json("demo")
    assert found["status"] == "finished"
    assert found["check_untouched"] is True
    assert found["verifies"] is True
    assert found["found"] is True
    assert f"event {found['altered_event']} " in found["first_bad"]


def test_demo_says_why_and_runs_the_rest_where_no_box_opens(shell):
    shell.env["PATH"] = "/nonexistent"
    found = shell.json("demo")
    assert "bubblewrap" in found["box"]
    assert found["steps"] > 0
    assert found["verifies"] is True
    assert found["found"] is True


def test_project_of_init_runs_as_it_is_and_verifies(box, shell):
    shell("init", "job")
    result = shell.json("run", "job/audition.toml", "--ledger", "job/a.db")
    assert result["status"] == "finished"
    assert (shell.folder / "job" / "count.txt").read_text() == "17"
    sound = shell.json("verify", "job/a.db")
    assert sound["ok"] is True
    assert sound["signed_by"] == [sound["signed_by"][0]]
    shell("init", "job", code=1)


def with_person(folder: Path, within: float = 3600) -> None:
    project = folder / "job" / "audition.toml"
    text = project.read_text()
    text = text.replace("[gate]\n", '[[auditors]]\nkind = "person"\nname = "ann"\n\n[gate]\n', 1)
    text = text.replace(
        "# A secret lottery",
        f'[[gate.of]]\nkind = "person"\nauditor = "ann"\nwithin = {within}\n\n# A secret lottery',
        1,
    )
    project.write_text(text)


def test_verdict_comes_later_from_another_process(box, shell):
    shell("init", "job")
    with_person(shell.folder)
    shell("keys", "new", "ann")
    result = shell.json("run", "job/audition.toml", "--ledger", "a.db", code=3)
    assert (result["status"], result["waits_for"]) == ("waiting", "ann")
    assert not (shell.folder / "job" / "count.txt").exists()
    [waits] = shell.json("pending", "a.db")["waiting"]
    assert (waits["run"], waits["for"], waits["turn"]) == (result["run"], "ann", 1)
    code = moment_code(shell.folder / "a.db")
    said = shell("judge", "a.db", "--as", "ann", stdin=f"approve {code}\n90\nlooks right\n")
    assert "count.txt" in said.stderr
    resumed = ("run", "job/audition.toml", "--ledger", "a.db", "--resume", result["run"][:8])
    again = shell.json(*resumed, code=3)
    assert "ann: approve, 90 % sure. looks right" in shell("show", "a.db", result["run"][:8]).stdout
    assert (again["status"], again["turns"]) == ("waiting", 2)
    assert (shell.folder / "job" / "count.txt").read_text() == "17"
    sound = shell.json("verify", "a.db")
    assert sound["ok"] is True
    assert sound["signatures"] > sound["checkpoints"]  # the person's own is among them


def moment_code(ledger: Path) -> str:
    from audition.ledger import SqlLedger
    from audition.ledger.events import AuditAsked

    with SqlLedger.open(ledger, create=False) as opened:
        asked = [e.body for e in opened.read(opened.runs()[0]) if isinstance(e.body, AuditAsked)]
    return asked[-1].moment[:4]


def test_silence_is_a_no(box, shell):
    shell("init", "job")
    with_person(shell.folder, within=0.2)
    result = shell.json("run", "job/audition.toml", "--ledger", "a.db", "--wait", code=4)
    assert result["status"] == "exhausted"
    assert not (shell.folder / "job" / "count.txt").exists()
    assert shell.json("verify", "a.db")["ok"] is True


def waiting_for_ann(shell: Shell) -> str:
    shell("init", "job")
    with_person(shell.folder)
    return shell.json("run", "job/audition.toml", "--ledger", "a.db", code=3)["run"]


def events(ledger: Path) -> int:
    from audition.ledger import SqlLedger

    with SqlLedger.open(ledger, create=False) as opened:
        return opened.size


def test_whoever_leaves_in_the_middle_of_an_answer_has_said_nothing(box, shell):
    run = waiting_for_ann(shell)
    before, code = events(shell.folder / "a.db"), moment_code(shell.folder / "a.db")
    for typed in ("", f"reject {code}\n", f"reject {code}\n90\n"):
        said = shell("judge", "a.db", "--as", "ann", stdin=typed, code=1)
        assert "nothing was recorded" in said.stderr
        assert events(shell.folder / "a.db") == before
    assert [one["run"] for one in shell.json("pending", "a.db")["waiting"]] == [run]


def started(shell: Shell, *words: str, **streams: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "audition", *words],
        cwd=shell.folder,
        env=shell.env,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **streams,
    )


def read_until(stream: IO[str], what: str) -> None:
    read = ""
    while what not in read:
        piece = stream.read(1)
        assert piece, read
        read += piece


def test_an_interrupt_at_the_question_ends_at_once_and_records_nothing(box, shell):
    run = waiting_for_ann(shell)
    before = events(shell.folder / "a.db")
    with started(shell, "judge", "a.db", "--as", "ann", stdin=subprocess.PIPE) as judging:
        read_until(judging.stderr, "then ")
        os.killpg(judging.pid, signal.SIGINT)
        assert judging.wait(120) == 130
        rest = judging.stderr.read()
    assert f"nothing was recorded; step 1 of run {run} still waits" in rest
    assert "Traceback" not in rest
    assert events(shell.folder / "a.db") == before


def test_an_interrupted_run_says_how_to_go_on_and_is_listed_as_open(box, shell):
    shell("init", "job")
    path = shell.folder / "job" / "audition.toml"
    path.write_text(path.read_text().replace("wc -w <", "sleep 20; wc -w <", 1))
    with started(shell, "run", "job/audition.toml", "--ledger", "a.db") as carrying:
        line = carrying.stderr.readline()
        while not line.startswith("run "):  # the first command of all makes a key
            assert line.startswith("made the key"), line
            line = carrying.stderr.readline()
        run = line.split()[1]
        while not events(shell.folder / "a.db"):
            time.sleep(0.1)
        os.killpg(carrying.pid, signal.SIGINT)
        assert carrying.wait(120) == 130
        rest = carrying.stderr.read()
    way = f"audition run job/audition.toml --ledger a.db --resume {run}"
    assert rest.endswith(f"audition: interrupted; go on with: {way}\n")
    assert "Traceback" not in rest
    assert shell.json("pending", "a.db") == {"waiting": [], "open": [run], "work": []}
    assert f"run {run} is open; go on with: " in shell("pending", "a.db").stdout
    [listed] = shell.json("runs", "a.db")["runs"]
    assert (listed["run"], listed["status"]) == (run, "open")


def test_runs_are_listed_and_told_step_by_step(box, shell):
    shell("init", "job")
    run = shell.json("run", "job/audition.toml", "--ledger", "a.db")["run"]
    [listed] = shell.json("runs", "a.db")["runs"]
    assert (listed["run"], listed["status"], listed["mode"]) == (run, "finished", "live")
    assert run in shell("runs", "a.db").stdout
    told = shell("show", "a.db", run[:4]).stdout
    assert "Count in my own copy" not in told
    assert "  | Count the words of notes" in told
    assert "finished." in told
    thoughts = shell("show", "a.db", run, "--thoughts").stdout
    assert "  | Count in my own copy" in thoughts
    assert "wc -w" in thoughts
    found = shell.json("show", "a.db", run, "--thoughts")
    assert [event["seq"] for event in found["events"]] == list(range(len(found["events"])))
    other = "0000" if run[0] != "0" else "1111"
    for named, says in ((other, "no run"), (run[:3], "4 digits or more"), ("zzzz", "no run")):
        line = one_line(shell("show", "a.db", named, code=1))
        assert says in line and line.endswith("see: audition runs a.db")


def test_review_is_whole_and_a_second_one_finds_everything_done(shell):
    path = records(shell.folder)
    first = shell.json("review", str(path), "--auditor", "rules", "--html", "r.html")
    assert (first["runs"], first["moments"], first["verified"]) == (3, 6, True)
    assert first["totals"]["flagged"] == 3
    assert first["reconciliation"][0]["agrees"] is True
    stages = ("reading", "recording", "judging", "committing", "findings", "verifying")
    assert tuple(first["cpu_seconds"]) == stages and min(first["cpu_seconds"].values()) >= 0
    second = shell.json("review", str(path), "--auditor", "rules")
    assert second["already_reviewed"] == 3
    assert second["totals"] == first["totals"]
    page = (shell.folder / "r.html").read_text()
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert "⟨U+202E⟩" in page


def test_review_that_was_cut_goes_on(shell):
    path = records(shell.folder, 5)
    assert shell.json("review", str(path), "--auditor", "rules", "--limit", "2")["runs"] == 2
    rest = shell.json("review", str(path), "--auditor", "rules")
    assert (rest["runs"], rest["already_reviewed"]) == (5, 2)


def test_fail_on_a_finding_is_exit_code_1(shell):
    path = records(shell.folder)
    shell("review", str(path), "--auditor", "rules", "--fail-on", "flagged", code=1)
    shell("review", str(path), "--auditor", "rules", "--fail-on", "failed")


def test_untrusted_text_reaches_the_screen_only_made_visible(shell):
    done = shell("review", str(records(shell.folder)), "--auditor", "rules")
    assert "rm -rf" in done.stdout
    for stream in (done.stdout, done.stderr):
        assert "\x1b" not in stream
        assert "\u202e" not in stream


def test_altered_ledger_is_exit_code_1_and_names_the_event(shell):
    shell.json("review", str(records(shell.folder)), "--auditor", "rules", "--ledger", "a.db")
    with sqlite3.connect(shell.folder / "a.db") as database:
        database.execute('UPDATE events SET data = replace(data, "e", "f") WHERE "index" = 4')
    database.close()
    found = shell.json("verify", "a.db", code=1)
    assert found["first_bad"]["index"] == 4
    assert "event 4" in shell("verify", "a.db", code=1).stderr


def test_one_process_or_several_verify_and_integrity_says_what_it_is(shell):
    shell.json("review", str(records(shell.folder)), "--auditor", "rules", "--ledger", "a.db")
    one, two = (shell.json("verify", "a.db", "--jobs", jobs) for jobs in ("1", "2"))
    assert one["ok"] and one | {"seconds": 0} == two | {"seconds": 0}
    alone = shell.json("verify", "a.db", "--integrity")
    assert (alone["ok"], alone["conduct"], alone["root"]) == (True, False, one["root"])
    said = shell("verify", "a.db", "--integrity").stdout
    assert "VERIFIED" not in said and "integrity alone" in said
    shell("verify", "a.db", "--integrity", "--keep", "kept.note", code=2)
    shell("verify", "a.db", "--integrity", "--certificate", "last", code=2)


def test_export_and_import_keep_the_root(shell):
    shell.json("review", str(records(shell.folder)), "--auditor", "rules", "--ledger", "a.db")
    shell("export", "a.db", "a.jsonl")
    shell("import", "a.jsonl", "b.db")
    assert shell.json("verify", "a.db")["root"] == shell.json("verify", "b.db")["root"]
    shell("import", "a.jsonl", "b.db", code=1)


def test_a_kept_checkpoint_shows_truncation(shell):
    path = records(shell.folder)
    shell.json("review", str(path), "--auditor", "rules", "--ledger", "a.db", "--limit", "1")
    shutil.copy(shell.folder / "a.db", shell.folder / "old.db")
    shell.json("review", str(path), "--auditor", "rules", "--ledger", "a.db")
    shell("verify", "a.db", "--keep", "kept.note")
    shell("verify", "old.db")
    shell("verify", "old.db", "--checkpoint", "kept.note", code=1)


def test_a_kept_checkpoint_goes_for_a_later_one_alone(shell):
    path = records(shell.folder)
    shell.json("review", str(path), "--auditor", "rules", "--ledger", "a.db", "--limit", "1")
    shutil.copy(shell.folder / "a.db", shell.folder / "old.db")
    shell("verify", "old.db", "--keep", "kept.note")
    shell.json("review", str(path), "--auditor", "rules", "--ledger", "a.db")
    shell("verify", "a.db", "--keep", "kept.note")
    kept = (shell.folder / "kept.note").read_text()
    shell("verify", "old.db", "--keep", "kept.note", code=1)
    shutil.copy(shell.folder / "kept.note", shell.folder / "copy.note")
    shell("verify", "a.db", "--checkpoint", "copy.note", "--keep", "kept.note", code=1)
    shell("verify", "a.db", "--keep", str(path), code=1)
    assert (shell.folder / "kept.note").read_text() == kept
    assert path.read_text().startswith("{")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.jsonl", b"", "empty.jsonl"),
        ("cut.jsonl.gz", b"\x1f\x8b\x08\x00\x00", "cut.jsonl.gz"),
        ("latin.jsonl", b'{"messages": [{"role": "user", "content": "\xe9"}]}\n', "line 1"),
        ("deep.jsonl", b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "deep.jsonl"),
        ("other.jsonl", b'{"something": "else"}\n', "other.jsonl"),
        ("half.jsonl", json.dumps(CHAT).encode()[:-9] + b"\n", "line 1"),
    ],
)
def test_malformed_records_are_one_line_and_leave_nothing(shell, name, content, says):
    (shell.folder / name).write_bytes(content)
    line = one_line(shell("review", name, "--auditor", "rules", "--ledger", "a.db", code=1))
    assert says in line
    assert not (shell.folder / "a.db").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: "name = \n" + text, "not TOML"),
        (lambda text: text.replace("[budget]", "[bugdet]"), "bugdet"),
        (lambda text: text.replace("[box]", "[bx]").replace("[box.limits]", "[bx.limits]"), "bx"),
        (lambda text: text.replace('auditor = "work"', 'auditor = "wrok"'), "wrok"),
        (lambda text: text.replace("reject_at = 0.5", "reject_at = 7"), "reject_at"),
        (lambda text: text.replace('kind = "sequential"', 'kind = "secuential"'), "secuential"),
        (lambda text: text.replace('name = "word-count"', 'name = "word\\ncount"'), "name"),
    ],
)
def test_wrong_project_files_are_one_line_that_names_the_field(shell, change, says):
    shell("init", "job")
    path = shell.folder / "job" / "audition.toml"
    path.write_text(change(path.read_text()))
    line = one_line(shell("run", "job/audition.toml", "--ledger", "a.db", code=1))
    assert "audition.toml" in line
    assert says in line
    assert not (shell.folder / "a.db").exists()


def test_ledgers_that_are_none_are_one_line(shell):
    (shell.folder / "text.db").write_text("hello, this is no database at all" * 50)
    with sqlite3.connect(shell.folder / "other.db") as database:
        database.execute("CREATE TABLE t (x)")
    database.close()
    for name in ("text.db", "other.db", "missing.db", "."):
        one_line(shell("verify", name, code=1))
        one_line(shell("pending", name, code=1))


def test_wrong_usage_is_exit_code_2(shell):
    shell("reviw", code=2)
    shell("review", code=2)
    shell("review", "x", "--auditor", "nobody", code=2)
    shell("settle", "a.db", "0" * 32, code=2)


def test_doctor_names_what_is_missing_and_the_command_that_mends_it(shell):
    shell.env["PATH"] = "/nonexistent"
    found = shell.json("doctor", code=1)
    box = next(check for check in found["checks"] if check["name"] == "box")
    assert box["well"] is False
    assert "apt-get install bubblewrap" in box["mend"]


def test_keys_are_listed_and_never_overwritten(shell):
    made = shell("keys", "new", "ann")
    public = made.stdout.strip()
    for name in ("ann.key", "ann.pub"):
        file = shell.folder / "home" / "keys" / name
        assert file.exists() and str(file) in made.stderr
    assert shell.json("keys", "list")["keys"][0]["key"] == public
    assert "PRIVATE" not in shell("keys", "list").stdout
    shell("keys", "new", "ann", code=1)


def test_help_imports_nothing_heavy(shell):
    script = (
        "import sys, audition, audition.console.app as app\n"
        "heavy = {'torch', 'sklearn', 'inspect_ai', 'ray', 'numpy', 'scipy', 'sqlalchemy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_verify_says_first_whether_and_by_whom(shell):
    path = str(records(shell.folder, 1))
    shell("review", path, "--auditor", "rules", "--ledger", "a.db")
    told = shell("verify", "a.db").stdout
    assert told.startswith("VERIFIED  a.db, signed by ")
    assert " in 1 run, 0 open" in told
    assert "never shows" not in told
    assert "never shows" in shell("verify", "a.db", "--explain").stdout
    shell.env["AUDITION_HOME"] = str(shell.folder / "stranger")
    told = shell("verify", "a.db").stdout
    assert told.startswith("consistent, but signed by nobody you trust: a.db")
    assert "a folder" in one_line(shell("verify", ".", code=1))


def test_no_checkpoint_is_kept_of_a_ledger_without_one(shell):
    from audition.ledger import SqlLedger

    SqlLedger.open(shell.folder / "a.db").close()
    assert "not signed" in shell("verify", "a.db", "--keep", "kept.note", code=1).stderr
    assert not (shell.folder / "kept.note").exists()


def test_a_failed_act_without_output_says_how_it_failed(box, shell):
    shell("init", "job")
    path = shell.folder / "job" / "audition.toml"
    path.write_text(path.read_text().replace('"sh ./check.sh"', '"exit 7"', 1))
    shell("run", "job/audition.toml", "--ledger", "a.db")
    [run] = shell.json("runs", "a.db")["runs"]
    assert "  failed: exit 7\n" in shell("show", "a.db", run["run"]).stdout


@pytest.mark.parametrize("word", ["run", "review", "verify", "judge", "settle", "show"])
def test_help_speaks_no_python(shell, word):
    told = shell(word, "--help").stdout
    assert "list[" not in told
    assert "9007199254740992" not in told
