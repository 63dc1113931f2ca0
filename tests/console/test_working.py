"""`audition submit`, `worker` and `migrate`; a server's address wherever a ledger is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_commands import Shell, box, one_line

from databases import change

__all__ = ["box"]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


ON_A_SERVER = pytest.mark.parametrize("where", ["postgresql"], indirect=True)


@ON_A_SERVER
@pytest.mark.usefixtures("box")
def test_every_command_takes_the_address_of_a_server(shell: Shell, where: str) -> None:
    shell("init", "job")
    project = ("job/audition.toml", "--ledger", where)
    runs = shell.json("submit", *project, "--times", "2")["runs"]
    (first, _) = shell.json("pending", where)["work"]
    assert (first["run"], first["state"], first["project"]) == (runs[0], "ready", "word-count")
    assert f"run {runs[0]} of word-count is in the queue" in shell("pending", where).stdout
    done = shell.json("worker", *project, "--until-idle")
    assert done == {"ended": dict.fromkeys(sorted(runs, key=list(done["ended"]).index), "finished"),
                    "left": []}  # fmt: skip
    assert shell("pending", where).stdout == "nothing waits\n"
    assert {one["status"] for one in shell.json("runs", where)["runs"]} == {"finished"}
    assert runs[1] in shell("show", where, runs[1]).stdout
    assert shell.json("verify", where)["ok"] is True
    assert shell.json("trust", where)["auditors"]
    shell("export", where, "runs.jsonl")
    shell("import", "runs.jsonl", "again.db")
    assert shell.json("verify", "again.db")["ok"] is True
    assert "at revision 0002 already\n" in shell("migrate", where).stdout


def test_a_worker_has_no_terminal_at_which_anybody_could_think(
    shell: Shell, tmp_path: Path
) -> None:
    shell("init", "job")
    file = tmp_path / "job" / "audition.toml"
    text = file.read_text()
    begin, end = text.index("[thinker]"), text.index("# --- What confines it")
    file.write_text(f'{text[:begin]}[thinker]\nkind = "person"\nname = "ann"\n\n{text[end:]}')
    for command in ("submit", "worker"):
        refused = one_line(shell(command, "job/audition.toml", "--ledger", "l.db", code=1))
        assert "ann thinks at a terminal; a worker has none" in refused


@ON_A_SERVER
def test_what_stands_in_the_way_is_one_line(shell: Shell, where: str) -> None:
    shell("init", "job")
    shell("submit", "job/audition.toml", "--ledger", where)
    change(where, "UPDATE alembic_version SET version_num = '0009'")
    for words in (("worker", "job/audition.toml", "--ledger", where), ("migrate", where)):
        assert "a ledger of revision 0009" in one_line(shell(*words, code=1))
    secret = "postgresql://ann:s3cret@127.0.0.1/runs"
    refused = one_line(shell("worker", "job/audition.toml", "--ledger", secret, code=1))
    assert "PGPASSWORD" in refused and "s3cret" not in refused
