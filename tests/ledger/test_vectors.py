"""The published test vectors: current, the same in any process, and true by another reckoning.

`audition` is used here for the first part only. The second is written from `docs/ledger-format.md`
with nothing but hashes and JSON, as another implementation would be.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from audition.canonical import CanonicalError, parse
from audition.ledger import PublicKey, import_
from audition.verify import verify

VECTORS = Path(__file__).parents[1] / "vectors"
DOCS = Path(__file__).parents[2] / "docs"


def vectors(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text())


# ---------------------------------------------------------------- against this implementation


@pytest.mark.parametrize("seed", ["1", "271828"])
def test_a_fresh_process_with_another_hash_seed_writes_the_same(tmp_path: Path, seed: str) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(VECTORS / "generate.py"), str(tmp_path)]
    subprocess.run(command, env=environment, check=True)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    published = {path.name: path.read_bytes() for path in VECTORS.glob("*.json*")}
    published["event-schema.json"] = (DOCS / "event-schema.json").read_bytes()
    assert written.keys() == published.keys()
    for name, data in published.items():
        assert written[name] == data, f"{name}: run python tests/vectors/generate.py"


def test_values_come_back_from_their_published_bytes() -> None:
    for row in vectors("canonical"):
        value = parse(row["canonical"].encode())
        if "value" in row:
            assert value == row["value"]
            continue
        (kind, text), *_ = row["means"].items()
        if kind == "integer":
            assert value == int(text)
        elif kind == "float":
            assert str(value) == text
        elif kind == "bytes":
            assert value == bytes.fromhex(text)
        elif kind == "string":
            assert value == text
        else:
            assert [ord(each) for each in value] == [int(each, 16) for each in text.split()]


def test_published_refusals_are_refused() -> None:
    for text in vectors("refused"):
        with pytest.raises(CanonicalError):
            parse(text.encode())


def test_the_published_ledger_verifies(tmp_path: Path) -> None:
    import_(VECTORS / "ledger.jsonl", tmp_path / "runs.db")
    trusted = PublicKey.parse(vectors("checkpoint")["public"])
    found = verify(tmp_path / "runs.db", [trusted])
    assert found.ok, found.first_bad
    assert found.redacted == 1 and found.runs == 8 and found.signed_by == (trusted.id,)


# ---------------------------------------------------------------- by another reckoning


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def named(data: bytes, salt: bytes) -> str:
    return hmac.new(salt, data, "sha512").hexdigest()[:64] if salt else sha(data)


def plain(value: Any) -> bytes:
    """Canonical form of the ASCII values that events hold."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def tree(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962, section 2.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + tree(leaves[:split]) + tree(leaves[split:])).digest()


def path(index: int, leaves: Sequence[bytes]) -> list[str]:
    """RFC 6962, section 2.1.1."""
    if len(leaves) == 1:
        return []
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if index < split:
        return [*path(index, leaves[:split]), tree(leaves[split:]).hex()]
    return [*path(index - split, leaves[split:]), tree(leaves[:split]).hex()]


def proof(old: int, leaves: Sequence[bytes], whole: bool = True) -> list[str]:
    """RFC 6962, section 2.1.2."""
    if old == len(leaves):
        return [] if whole else [tree(leaves).hex()]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if old <= split:
        return [*proof(old, leaves[:split], whole), tree(leaves[split:]).hex()]
    return [*proof(old - split, leaves[split:], False), tree(leaves[:split]).hex()]


def signed(note: str, public: str) -> bool:
    """C2SP signed-note, with one key."""
    name, given, encoded = public.split("+", 2)
    raw = base64.b64decode(encoded)
    assert raw[:1] == b"\1" and sha(name.encode() + b"\n" + raw)[:8] == given
    text, _, lines = note.rpartition("\n\n")
    for line in lines.splitlines():
        _, who, blob = line.split(" ")
        signature = base64.b64decode(blob)
        if who == name and signature[:4].hex() == given:
            try:
                key = Ed25519PublicKey.from_public_bytes(raw[1:])
                key.verify(signature[4:], text.encode() + b"\n")
            except InvalidSignature:
                return False
            return True
    return False


def after(history: str, entry: dict[str, Any]) -> str:
    return sha(plain({"after": history, **entry}))


def test_digests_of_canonical_values() -> None:
    for row in vectors("canonical"):
        assert sha(row["canonical"].encode()) == row["sha256"]


def test_roots_and_proofs() -> None:
    given = vectors("tree")
    leaves = [hashlib.sha256(b"\0" + bytes.fromhex(each)).digest() for each in given["leaves"]]
    assert [leaf.hex() for leaf in leaves] == given["leaf_hashes"]
    assert [tree(leaves[:size]).hex() for size in range(17)] == given["roots"]
    for one in given["inclusion"]:
        assert path(one["index"], leaves[: one["size"]]) == one["path"]
    for one in given["consistency"]:
        assert proof(one["old"], leaves[: one["new"]]) == one["path"]


def test_checkpoints() -> None:
    given = vectors("checkpoint")
    root = base64.b64encode(bytes.fromhex(given["root"])).decode()
    for note in (given["note"], given["cosigned"]):
        assert note.startswith(f"{given['origin']}\n{given['size']}\n{root}\n\n— ")
        assert signed(note, given["public"])
        assert not signed(note.replace("\n7\n", "\n8\n"), given["public"])
    assert signed(given["cosigned"], given["witness"])
    assert not signed(given["note"], given["witness"])


def test_names_of_content() -> None:
    for one in vectors("contents"):
        data, salt = bytes.fromhex(one["data"]), bytes.fromhex(one["salt"])
        assert named(data, salt) == one["name"]


def test_draws() -> None:
    given = vectors("draws")
    secret = bytes.fromhex(given["secret"])
    assert sha(secret) == given["commitment"]
    for one in given["turns"]:
        mac = hmac.new(secret, f"{given['run']}/{one['turn']}".encode(), "sha256").digest()
        point = int.from_bytes(mac[:8], "big")
        for rate, drawn in one["drawn"].items():
            assert drawn == (point < float(rate) * 2**64)


def test_a_moment_and_its_ticket() -> None:
    given = vectors("moment")
    moment, event = json.loads(given["moment"]), json.loads(given["event"])
    assert plain(moment).decode() == given["moment"] and plain(event).decode() == given["event"]
    assert event["body"] == {"moment": moment}
    assert sha(given["moment"].encode()) == given["digest"]
    assert sha(b"\0" + given["event"].encode()) == given["leaf"]
    assert sha(given["proposal"].encode()) == given["proposal_digest"] == moment["proposal"]
    ticket = json.loads(given["ticket"])
    assert (
        ticket["moment"] == given["digest"] and plain(ticket["act"]).decode() == given["proposal"]
    )
    assert sha(given["ticket"].encode()) == given["ticket_digest"]


def test_a_chain_of_history() -> None:
    given = vectors("history")
    history = given["goal"]
    for link in given["chain"]:
        history = after(history, link["entry"])
        assert history == link["history"]


def test_a_whole_ledger() -> None:
    """The export, read with the page in hand: every line, every name, every history."""
    public = vectors("checkpoint")["public"]
    lines = (VECTORS / "ledger.jsonl").read_bytes().splitlines()
    head = json.loads(lines[0])
    leaves: list[bytes] = []
    events: list[dict[str, Any]] = []
    content: dict[str, bytes | None] = {}
    checkpoints = 0
    for line in lines[1:]:
        value = json.loads(line)
        assert plain(value) == line
        if "checkpoint" in value:
            note = value["checkpoint"]
            origin, size, root = note.split("\n")[:3]
            assert (origin, int(size)) == (head["origin"], len(leaves))
            assert base64.b64decode(root) == tree(leaves)
            assert signed(note, public)
            checkpoints += 1
        elif "content" in value:
            content[value["content"]] = None
            if not value.get("redacted"):
                data = base64.b64decode(value["data"])
                salt = base64.b64decode(value.get("salt", ""))
                assert named(data, salt) == value["content"]
                content[value["content"]] = data
        else:
            assert value.keys() == {"at", "body", "kind", "run", "seq"}
            leaves.append(hashlib.sha256(b"\0" + line).digest())
            events.append(value)
    assert (len(leaves), checkpoints) == (head["events"], head["checkpoints"])
    assert len(content) == head["contents"] and tree(leaves).hex() == head["root"]
    for run in {event["run"] for event in events}:
        own = [event for event in events if event["run"] == run]
        assert [event["seq"] for event in own] == list(range(len(own)))
        if run == sha(b"audition/register/1")[:32]:
            enrolled(own, head["origin"], public)
        else:
            follow(own, content)


def enrolled(entries: list[dict[str, Any]], origin: str, public: str) -> None:
    """Every entry of the register is signed by the operator."""
    words = {"key.enrolled": "enrols", "key.revoked": "revokes"}
    for entry in entries:
        body = entry["body"]
        note = {words[entry["kind"]]: body["key"], "ledger": origin, "person": body["person"]}
        assert under(body["signature"], public, plain(note))


def under(signature: dict[str, str], public: str, message: bytes) -> bool:
    """Whether the key signed the message."""
    name, given, encoded = public.split("+", 2)
    value = base64.b64decode(signature["value"].removeprefix("~b:"))
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(encoded)[1:])
    key.verify(value, message)
    return signature["key"] == f"{name}+{given}"


def follow(events: list[dict[str, Any]], content: dict[str, bytes | None]) -> None:
    """Chain the history of a run, and hold its moments, decisions and tickets against it."""
    opened = events[0]["body"]
    history = opened["goal"]
    reviewers = sha(plain({"gate": opened["gate"], "auditors": opened["auditors"]}))
    declared = [e["body"]["restriction"] for e in events if e["kind"] == "restriction.declared"]
    assert sha(plain(declared)) == opened["restrictions"]
    step: dict[str, Any] = {}
    sealed: dict[str, dict[str, Any]] = {}
    keys: dict[str, str] = {}
    asked: dict[str, int | None] = {}

    def enter(moment: str, action: str, outcome: str | None) -> str:
        entry = {**sealed[moment], "action": action}
        return after(history, {"turn": entry | ({"outcome": outcome} if outcome else {})})

    current, planted = "", 0
    for event in events:
        body = event["body"]
        match event["kind"]:
            case "run.saved":
                data = content[body["savepoint"]]
                point = json.loads(data) if data else {}
                assert sha(data or b"") == body["savepoint"] and point["history"] == history
                assert point["planted"] == planted and "entries" in point
            case "plant.opened":
                planted += 1
            case "transcript.recorded":
                history = after(history, {"message": body})
            case "step.thought":
                step = {"thought": body["content"]} if "content" in body else {}
            case "step.proposed":
                kind = body["what"]
                step |= {"number": body["turn"] - planted, "attempt": body["attempt"]}
                step["proposal"] = body["proposal"]
            case "moment.sealed":
                moment = body["moment"]
                assert moment["history"] == history
                assert moment["reviewers"] == reviewers
                assert moment["restrictions"] == opened["restrictions"]
                assert moment["goal"] == opened["goal"]
                current = sha(plain(moment))
                sealed[current] = {**step, "place": moment["place"]}
                if opened["mode"] == "record":
                    step = {}
            case "key.enrolled":
                keys[body["person"]] = body["key"]
            case "audit.asked":
                asked[body["auditor"]] = body.get("deadline")
            case "audit.recorded" if (verdict := body.get("verdict", {})).get("auditor") in keys:
                bare = {name: verdict[name] for name in verdict if name != "signature"}
                statement = {
                    "expires": asked[verdict["auditor"]],
                    "moment": current,
                    "policy": sha(plain(opened["gate"])),
                    "reviewers": reviewers,
                    "run": event["run"],
                    "signs": "audition/sign-off/1",
                    "verdict": sha(plain(bare)),
                }
                assert under(verdict["signature"], keys[verdict["auditor"]], plain(statement))
            case "act.recorded":
                history = enter(body["moment"], "recorded", body.get("outcome"))
            case "step.decided":
                assert body["moment"] == current
                action = body["decision"]["action"]
                if action == "reject" or (action == "proceed" and kind in ("think", "finish")):
                    history = enter(current, action, None)
            case "ticket.issued":
                data = content[body["proposal"]]
                assert data is not None
                ticket = {
                    "act": json.loads(data),
                    "expires": body["expires"],
                    "moment": current,
                    "proposal": body["proposal"],
                    "run": event["run"],
                    "tool": body["tool"],
                }
                assert sha(plain(ticket)) == body["ticket"]
            case "act.finished" | "act.settled":
                history = enter(current, "proceed", body["outcome"])
            case "run.closed" if "secret" in body:
                secret = base64.b64decode(body["secret"].removeprefix("~b:"))
                assert sha(secret) == opened["secret"]
            case _:
                pass


def test_a_batch_its_lottery_and_its_lessons() -> None:
    """Read with the page in hand, and with nothing but the standard library."""
    given = vectors("batch")
    sealed, data = given["sealed"], bytes.fromhex(given["data"])
    assert sha(data) == sealed["data"]
    leaf, count = sealed["leaf"], sealed["rows"] // sealed["leaf"]
    size = len(data) // count
    hashes = [
        hashlib.sha256(b"\0" + number.to_bytes(8, "big") + data[number * size :][:size]).digest()
        for number in range(count)
    ]
    assert [one.hex() for one in hashes] == given["leaves"]
    assert tree(hashes).hex() == sealed["root"]
    rows: dict[str, list[Any]] = {}
    for number in range(count):
        at = number * size
        for column in sealed["columns"]:
            form = f"<{leaf}" + {"u1": "B", "f4": "f"}[column["dtype"]]
            rows.setdefault(column["name"], []).extend(struct.unpack_from(form, data, at))
            at += struct.calcsize(form)
    secret = bytes.fromhex(given["secret"])
    key = hmac.new(secret, f"{given['run']}/batch/0".encode(), "sha256").digest()
    stream = hashlib.shake_256(key).digest(8 * sealed["rows"])
    points = [int.from_bytes(stream[8 * r : 8 * r + 8], "big") / 2**64 for r in range(4)]
    rate = sealed["rates"]["0"]
    assert rows["drawn"] == [point < rate for point in points]
    drawn = [row for row, taken in enumerate(rows["drawn"]) if taken]
    assert all(rows["approval"][r] != rows["approval"][r] for r in range(4) if r not in drawn)
    named = [sha(plain({"batch": sealed["root"], "row": row})) for row in range(4)]
    assert named == given["moments"]
    head = {
        "arrays": [
            ["weight", "<f8", [len(drawn)]],
            ["moment", "<i8", [len(drawn)]],
            ["approval", "<f8", [len(drawn)]],
            ["context.room", "|u1", [len(drawn)]],
            ["span.lever", "|u1", [len(drawn)]],
        ],
        "auditor": sealed["auditor"],
        "batch": sealed["root"],
        "population": sealed["rows"],
        "signal": "approval",
    }
    arrays = struct.pack(f"<{len(drawn)}d", *[1 / rate] * len(drawn))
    arrays += struct.pack(f"<{len(drawn)}q", *drawn)
    arrays += struct.pack(f"<{len(drawn)}d", *[rows["approval"][row] for row in drawn])
    arrays += bytes(rows["room"][row] for row in drawn) + bytes(rows["lever"][r] for r in drawn)
    assert sha(plain(head) + arrays) == given["lessons"]
