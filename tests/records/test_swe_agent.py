"""SWE-agent's trajectories: each item a step, in one file or in several attempts."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from audition.records import RecordError, lines, read, survey
from audition.step import Act, Ask, Finish

ITEMS = [
    {"thought": "I look.", "action": "ls -F\n", "observation": "a.py\n", "response": "I look. ls",
     "state": {"open_file": "n/a"}, "query": [{"role": "system"}]},
    {"thought": "", "action": "", "observation": "no action", "response": "Hm."},
    {"action": "submit", "observation": None},
    {"action": "  ", "response": "Enough.", "observation": ""},
]  # fmt: skip
HISTORY = [
    {"role": "system", "content": "You fix bugs.", "agent": "main"},
    {"role": "user", "content": "A demonstration: …", "is_demo": True},
    {"role": "user", "content": [{"type": "text", "text": "Fix issue 1."}]},
    {"role": "user", "content": "Be quick."},
    {"role": "assistant", "content": "I look.", "action": "ls -F\n"},
    {"role": "user", "content": "a.py"},
]
TRAJECTORY = {
    "environment": "SECRET",
    "trajectory": ITEMS,
    "history": HISTORY,
    "info": {"exit_status": "SECRET", "submission": "SECRET"},
}


def put(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value, indent=2))
    return path


def error_of(path: Path) -> str:
    with pytest.raises(RecordError) as caught:
        list(read(path))
    assert str(caught.value).isprintable() and path.name in str(caught.value)
    return str(caught.value)


def test_each_item_is_a_step_at_the_shell(tmp_path: Path) -> None:
    path = put(tmp_path / "django-1.traj", TRAJECTORY)
    (record,) = read(path)
    assert (record.goal, record.task, record.thinker) == ("Fix issue 1.", *["swe-agent"] * 2)
    told = [entry.message.content for entry in record.entries if entry.entry == "said"]
    assert told == ["You fix bugs.", "A demonstration: …", "Be quick."]
    steps = record.steps()
    assert [one.proposal for one in steps] == [
        Act(tool="bash", arguments={"command": "ls -F\n"}),
        Ask(question="Hm."),
        Act(tool="bash", arguments={"command": "submit"}),
        Finish(answer="Enough."),
    ]
    assert [one.thought for one in steps] == ["I look.", None, None, None]
    outputs = [one.outcome and one.outcome.output for one in steps]
    assert outputs == ["a.py\n", "no action", None, ""]
    assert "SECRET" not in record.model_dump_json(exclude={"labels"})
    assert json.dumps(record.labels).count("SECRET") == 3
    (counted,) = survey(path)
    assert (counted.records, counted.steps, counted.calls) == (1, 4, 2)


def test_each_attempt_is_a_record(tmp_path: Path) -> None:
    several = {"attempts": [TRAJECTORY, TRAJECTORY], **TRAJECTORY, "more": 1}
    path = put(tmp_path / "a.traj", several)
    first, second = read(path)
    assert [one.labels["attempt"] for one in (first, second)] == [0, 1]
    assert [one.source.record for one in (first, second)] == [0, 1]
    assert first.labels["more"] == 1 and "trajectory" not in first.labels
    assert survey(path)[0].steps == 8


def test_packed_and_in_a_folder_it_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.traj.gz").write_bytes(gzip.compress(json.dumps(TRAJECTORY).encode()))
    put(tmp_path / "b.traj", TRAJECTORY)
    put(tmp_path / "other.json", TRAJECTORY | {"messages": []})
    first, second = read(tmp_path)
    assert first.entries == second.entries and first.labels == second.labels


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"trajectory": [{"action": 1}]}, "trajectory.0.action: must be text"),
        ({"trajectory": [{}]}, "trajectory.0.action: is missing"),
        ({"trajectory": ["ls"]}, "trajectory.0: must be an object"),
        ({"history": [{"role": "user", "content": [{"text": 1}]}]}, "history.0.content.0.text"),
        ({"attempts": [{"history": []}]}, "attempts.0.trajectory: is missing"),
        ({"attempts": [TRAJECTORY] * 65}, "attempts: must not hold more than 64"),
    ],
)
def test_what_is_wrong_is_named_with_its_field(tmp_path: Path, change: Any, wrong: str) -> None:
    assert wrong in error_of(put(tmp_path / "a.traj", TRAJECTORY | change))


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"", "not JSON"),
        (b'{"trajectory": ', "not JSON"),
        (b"[1]", "a JSON list, not an object"),
        (b'{"trajectory": [], "trajectory": []}', "the field is there twice"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'{"a": 1}', "no known format has these fields"),
    ],
)
def test_what_is_no_trajectory_is_refused(tmp_path: Path, content: bytes, wrong: str) -> None:
    path = tmp_path / "a.traj"
    path.write_bytes(content)
    assert wrong in error_of(path)


def test_a_bomb_is_refused_before_it_is_held(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 1 << 20)
    path = tmp_path / "bomb.traj.gz"
    path.write_bytes(gzip.compress((b"[" * 1000 + b"\n") * 10_000))
    assert "longer than 1 MiB" in error_of(path)
