"""Inspect's logs: each call a step, counted on both sides, whatever a hostile file holds."""

from __future__ import annotations

import contextlib
import io
import json
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audition.records import RecordError, inspect_log, lines, read, survey, zipped
from audition.step import Act, Ask, Finish

HEADER = {"version": 2, "status": "success", "eval": {"task": "tidy", "model": "mock/one"}}
SAMPLE = {
    "id": "s1",
    "epoch": 1,
    "input": "tidy up",
    "target": "SECRET",
    "scores": {"right": {"value": "SECRET"}},
    "metadata": {"of": "SECRET"},
    "events": ["left out"],
    "messages": [
        {"role": "system", "content": "be good"},
        {"role": "user", "content": "tidy up", "tool_call_id": ["x"]},
        {
            "role": "assistant",
            "content": [
                {"type": "reasoning", "reasoning": "hm"},
                {"type": "text", "text": "I look."},
                {"type": "image", "image": "data:"},
            ],
            "tool_calls": [
                {"id": "a", "function": "shell", "arguments": {"command": "ls"}},
                {"id": "b", "function": "shell", "arguments": {"command": "rm x"}},
                {
                    "id": "c",
                    "function": "shell",
                    "arguments": {"shell": '{"command": '},
                    "parse_error": "cut off",
                },
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": "",
         "error": {"type": "parsing", "message": "cut off"}},
        {"role": "tool", "tool_call_id": "b", "content": "",
         "error": {"type": "approval", "message": "no"}},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "x y"}]},
        {"role": "assistant", "content": "Tidy."},
    ],
}  # fmt: skip


def packed(
    path: Path,
    *samples: Any,
    header: Any = HEADER,
    method: int = zipfile.ZIP_DEFLATED,
    name: str = "header.json",
) -> Path:
    """A log as Inspect writes it, but for its packing."""
    with zipfile.ZipFile(path, "w", method) as file:
        for number, sample in enumerate(samples, 1):
            text = sample if isinstance(sample, str) else json.dumps(sample)
            file.writestr(f"samples/s{number}_epoch_1.json", text)
        file.writestr(name, json.dumps(header))
    return path


def error_of(path: Path) -> str:
    with pytest.raises(RecordError) as caught:
        list(read(path))
    assert str(caught.value).isprintable() and path.name in str(caught.value)
    return str(caught.value)


def test_each_call_is_a_step_and_each_message_without_one(tmp_path: Path) -> None:
    path = packed(tmp_path / "log.eval", SAMPLE, SAMPLE | {"id": 2})
    first, second = read(path)
    assert (first.goal, first.task, first.thinker) == ("tidy up", "tidy", "mock/one")
    assert [one.source.record for one in (first, second)] == [0, 1]
    look, remove, broken, answer = first.steps()
    assert look.proposal == Act(
        tool="shell", arguments={"command": "ls"}, reason="I look.\n[image]"
    )
    assert look.thought == remove.thought == broken.thought == "hm"
    assert isinstance(broken.proposal, Act) and broken.proposal.malformed == '{"command": '
    assert [one.outcome and one.outcome.status for one in (look, remove, broken, answer)] == [
        "done",
        "refused",
        "failed",
        None,
    ]
    assert look.outcome and look.outcome.output == "x y"
    assert answer.proposal == Finish(answer="Tidy.")
    assert "SECRET" not in first.model_dump_json(exclude={"labels"})
    assert json.dumps(first.labels).count("SECRET") == 3 and "events" not in first.labels
    (counted,) = survey(path)
    assert (counted.records, counted.steps, counted.calls, counted.malformed) == (2, 8, 6, 2)


def test_a_log_that_is_not_finished_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = packed(tmp_path / "log.eval", SAMPLE, name="_journal/start.json")
    (record,) = read(path)
    assert record.thinker == "mock/one"


def test_a_call_on_the_providers_side_is_judged_without_what_it_found(tmp_path: Path) -> None:
    found = [
        {"type": "text", "text": "I search."},
        {"type": "tool_use", "id": "w", "name": "search", "arguments": '{"q": 1}', "result": "42"},
        {"type": "tool_use", "id": "v", "name": "open", "arguments": "", "error": "404"},
        {"type": "text", "text": "It is 42."},
    ]  # fmt: skip
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": found}]
    ends_so = [*messages, {"role": "assistant", "content": found[:2]}]
    path = packed(tmp_path / "log.eval", {"messages": messages}, {"messages": ends_so})
    first, second = read(path)
    search, opened, answer = first.steps()
    assert search.proposal == Act(tool="search", arguments={"q": 1}, reason="I search.")
    assert search.outcome and search.outcome.output == "42"
    assert opened.outcome and (opened.outcome.status, opened.outcome.output) == ("failed", "404")
    assert answer.proposal == Finish(answer="It is 42.")
    assert [one.proposal.kind for one in second.steps()] == ["act", "act", "ask", "act"]
    assert survey(path)[0].steps == 7


def test_attached_texts_are_put_back_within_bounds(tmp_path: Path, monkeypatch) -> None:
    text = "t" * 1000
    sample = SAMPLE | {
        "messages": [
            {"role": "user", "content": "attachment://a"},
            {"role": "assistant", "content": "attachment://gone", "tool_calls": [
                {"id": "1", "function": "f", "arguments": {"deep": [{"x": "attachment://a"}]}}]},
        ],
        "attachments": {"a": text},
    }  # fmt: skip
    path = packed(tmp_path / "log.eval", sample)
    (record,) = read(path)
    (step,) = record.steps()
    assert record.goal == text
    assert step.proposal == Act(
        tool="f", arguments={"deep": [{"x": text}]}, reason="attachment://gone"
    )
    monkeypatch.setattr(inspect_log, "MAX_LINE", 1500)
    assert "attachments come to more than" in error_of(path)


def test_numbers_that_are_no_json_do_not_keep_a_log_from_being_read(tmp_path: Path) -> None:
    text = json.dumps(SAMPLE | {"scores": {"a": {"value": float("nan")}, "b": float("inf")}})
    (record,) = read(packed(tmp_path / "log.eval", text))
    assert record.labels["scores"] == {"a": {"value": "NaN"}, "b": "Infinity"}


@pytest.mark.parametrize(
    ("sample", "wrong"),
    [
        ("[1]", "s1_epoch_1.json: a JSON list, not an object"),
        ('{"a": 1, "a": 2}', "s1_epoch_1.json: a: the field is there twice"),
        ('{"messages": ', "not JSON"),
        ('{"messages": [' + "[" * 60 + "]" * 60 + "]}", "nested deeper"),
        ({}, "sample.messages: is missing"),
        ({"messages": [{"role": "assistant", "content": 3}]}, "sample.messages.0.content"),
        ({"messages": [{"role": "\x1b"}]}, "sample.messages.0.role"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"function": "f"}]}]}, "arguments"),
        ({"messages": [], "attachments": {"a": 1}}, "sample.attachments.a"),
    ],
)
def test_a_sample_that_is_none_is_named_with_its_field(tmp_path: Path, sample, wrong) -> None:
    assert wrong in error_of(packed(tmp_path / "log.eval", sample))


@pytest.mark.parametrize(
    ("header", "wrong"),
    [({}, "eval"), ({"eval": {"task": "t"}}, "eval.model"), ([1], "a JSON list")],
)
def test_a_header_that_is_none_is_named(tmp_path: Path, header, wrong) -> None:
    assert wrong in error_of(packed(tmp_path / "log.eval", SAMPLE, header=header))


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    assert "no log of Inspect" in error_of(packed(tmp_path / "none.eval"))
    other = packed(tmp_path / "other.eval", SAMPLE, name="strange.json")
    assert "no log of Inspect" in error_of(other)
    for name, content in (
        ("empty.eval", b""),
        ("text.eval", b"hello"),
        ("cut.eval", b"PK\x03\x04"),
    ):
        (tmp_path / name).write_bytes(content)
        assert "no sound zip" in error_of(tmp_path / name)


@settings(deadline=None)  # the machine may be busy
@given(st.data())
def test_a_cut_or_damaged_log_never_passes_for_another(tmp_path_factory, data) -> None:
    folder = tmp_path_factory.mktemp("log")
    whole = packed(folder / "log.eval", SAMPLE, SAMPLE | {"id": 2})
    expected = list(read(whole))
    raw = bytearray(whole.read_bytes())
    if data.draw(st.booleans()):
        del raw[data.draw(st.integers(0, len(raw) - 1)) :]
    else:
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    whole.write_bytes(raw)
    found: list[Any] = []
    with contextlib.suppress(RecordError):
        found.extend(read(whole))
    assert [one.entries for one in found] == [one.entries for one in expected][: len(found)]


def test_a_bomb_is_refused_before_it_is_held(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.eval"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        with file.open("samples/a_epoch_1.json", "w", force_zip64=True) as member:
            for _ in range(300):
                member.write(b" " * (1 << 20))
        file.writestr("header.json", json.dumps(HEADER))
    tracemalloc.start()
    assert "longer than 64 MiB" in error_of(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200 << 20


def test_many_small_bombs_are_refused_together(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(zipped, "MAX_RATIO", 20)
    padded = json.dumps(SAMPLE) + " " * 100_000
    assert "the members are more than 20 times" in error_of(
        packed(tmp_path / "bombs.eval", *[padded] * 50)
    )


def test_a_directory_that_is_too_long_is_not_read(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(zipped._Bounded, "most", 100)
    assert "its directory is longer than" in error_of(packed(tmp_path / "log.eval", SAMPLE))


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "log.eval", SAMPLE)
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("samples/s1_epoch_1.json", json.dumps(SAMPLE))
    assert "a member is there twice" in error_of(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_STORED])
def test_however_zipfile_can_pack_it_can_be_read(tmp_path: Path, method: int) -> None:
    assert len(list(read(packed(tmp_path / "log.eval", SAMPLE, method=method)))) == 1


def changed(path: Path, at: int, form: str, value: int) -> Path:
    """The log with a number in its first directory entry (and in no other) replaced."""
    raw = bytearray(path.read_bytes())
    struct.pack_into(form, raw, raw.index(b"PK\x01\x02") + at, value)
    path.write_bytes(raw)
    return path


def test_what_is_encrypted_or_packed_strangely_is_said(tmp_path: Path) -> None:
    assert "encrypted" in error_of(changed(packed(tmp_path / "a.eval", SAMPLE), 8, "<H", 1))
    strange = changed(packed(tmp_path / "b.eval", SAMPLE), 10, "<H", 77)
    assert "packed in a way that cannot be unpacked" in error_of(strange)


def zstandard_log(path: Path, *samples: Any, header: Any = HEADER) -> Path:
    """The same packed with Zstandard, by hand: each member stored, then called by its name."""
    zstandard = pytest.importorskip("zstandard")
    members = {f"samples/{n}_epoch_1.json": json.dumps(one) for n, one in enumerate(samples)}
    members["header.json"] = json.dumps(header)
    out, directory = io.BytesIO(), io.BytesIO()
    for name, text in members.items():
        data = text.encode()
        raw = zstandard.ZstdCompressor().compress(data)
        sizes = struct.pack("<LLL", zipfile.crc32(data), len(raw), len(data))
        begin = out.tell()
        common = struct.pack("<HHHHH", 20, 0, zipped.ZSTANDARD, 0, 0) + sizes
        names = struct.pack("<HH", len(name), 0)
        out.write(b"PK\x03\x04" + common + names + name.encode() + raw)
        directory.write(b"PK\x01\x02" + struct.pack("<H", 20) + common + names)
        directory.write(struct.pack("<HHHLL", 0, 0, 0, 0, begin) + name.encode())
    start, count = out.tell(), len(members)
    size = len(directory.getvalue())
    end = struct.pack("<4sHHHHLLH", b"PK\x05\x06", 0, 0, count, count, size, start, 0)
    path.write_bytes(out.getvalue() + directory.getvalue() + end)
    return path


def test_zstandard_is_read_and_its_damage_and_its_bombs_are_found(
    tmp_path: Path, monkeypatch
) -> None:
    path = zstandard_log(tmp_path / "log.eval", SAMPLE)
    assert [len(one.steps()) for one in read(path)] == [4]
    raw = bytearray(path.read_bytes())
    for at in range(60, raw.index(b"header.json") - 40, 40):
        damaged = bytearray(raw)
        damaged[at] ^= 0x10
        (tmp_path / "bad.eval").write_bytes(damaged)
        assert "no sound zip" in error_of(tmp_path / "bad.eval")
    changed(path, 16, "<L", 1)
    assert "its checksum is another" in error_of(path)
    monkeypatch.setattr(zipped, "MAX_LINE", 1 << 20)
    monkeypatch.setattr(lines, "MAX_LINE", 1 << 20)
    bomb = zstandard_log(tmp_path / "bomb.eval", SAMPLE | {"pad": " " * (8 << 20)})
    assert "longer than 1 MiB" in error_of(bomb)


def test_without_zstandard_it_is_said_what_to_install(tmp_path: Path, monkeypatch) -> None:
    path = zstandard_log(tmp_path / "log.eval", SAMPLE)
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    assert "pip install 'audition[inspect]'" in error_of(path)


def test_a_user_may_call_the_first_step_a_question(tmp_path: Path) -> None:
    messages = [{"role": "assistant", "content": "?"}, {"role": "user", "content": "!"}]
    (record,) = read(packed(tmp_path / "log.eval", {"messages": messages}))
    assert [one.proposal for one in record.steps()] == [Ask(question="?")]
