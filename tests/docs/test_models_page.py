"""The page on models: its project runs as it stands there, against a real server."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import rehearsal
from servers.chat import chat_server, proposing

PAGE = (Path(__file__).parents[2] / "docs/models.md").read_text()


def project(number: int) -> str:
    return PAGE.split("```toml\n")[number].split("```")[0]


@pytest.mark.skipif(bool(rehearsal.no_box()), reason=rehearsal.no_box())
def test_the_page_s_project_runs_as_it_stands_there(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write = {"kind": "act", "tool": "write", "arguments": {"path": "hello.txt", "content": "Hi!\n"}}
    program = write | {"arguments": {"path": "hello.sh", "content": "echo Hi!"}}
    done = {"kind": "finish", "answer": "greeted"}
    steps = (proposing(program), proposing(write), proposing(done))
    with chat_server(*steps) as server:
        file = tmp_path / "audition.toml"
        file.write_text(project(1).replace("http://127.0.0.1:8000/v1", server.base_url))
        ran = subprocess.run(
            [sys.executable, "-m", "audition", "run", file, "--ledger", "l.db", "--json"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        seen = server.seen
    said = json.loads(ran.stdout)
    assert (said["status"], said["answer"], said["turns"]) == ("finished", "greeted", 3), ran.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["hello.txt"]
    assert len(seen) == 3 and "reject" in json.dumps(seen[1].asked["messages"])


def test_the_page_s_critic_is_one_that_a_project_takes() -> None:
    from audition.project import ProjectFile

    tables = tomllib.loads(project(1))
    tables["auditors"] += tomllib.loads(project(2))["auditors"]
    critic = {"kind": "threshold", "auditor": "critic", "reject_at": 0.8}
    tables["gate"]["of"].append(critic)
    assert ProjectFile.model_validate(tables).auditors[-1].name == "critic"
