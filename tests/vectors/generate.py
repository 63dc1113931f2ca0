"""Writes the test vectors of `docs/ledger-format.md` and the schema of events.

    python tests/vectors/generate.py [FOLDER]

Without a folder, the published files are written anew; with one, all of them go there.
"""

from __future__ import annotations

import json
import math
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import handmade  # noqa: E402
import signed  # noqa: E402
import trained  # noqa: E402
from audition.canonical import canonical, digest_bytes  # noqa: E402
from audition.gate import draw  # noqa: E402
from audition.learn import Batch, moment_of  # noqa: E402
from audition.ledger import Checkpoint, PrivateKey, SqlLedger, content_name, export  # noqa: E402
from audition.ledger.events import MomentSealed, TicketIssued, json_schema  # noqa: E402
from audition.ledger.tree import (  # noqa: E402
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
)
from audition.step import Event, after, digest_of  # noqa: E402

SALT = bytes(range(32, 64))
WITNESS = PrivateKey("witness.example", bytes(range(64, 96)))


def main(folder: Path | None) -> None:
    vectors = folder or HERE
    schema = folder or HERE.parents[1] / "docs"
    for name, value in {
        "canonical.json": canonical_values(),
        "refused.json": refused(),
        "tree.json": trees(),
        "checkpoint.json": checkpoints(),
        "contents.json": contents(),
        "draws.json": draws(),
        "batch.json": batches(),
        "moment.json": moments(),
        "history.json": histories(),
    }.items():
        write(vectors / name, value)
    write(schema / "event-schema.json", json_schema())
    whole_ledger(vectors / "ledger.jsonl")


def write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=True) + "\n")


def canonical_values() -> list[dict[str, Any]]:
    """Values, what they mean where JSON has no word for them, their bytes and digests."""
    plain: list[Any] = [
        None, True, False, 0, -1, 9007199254740991, 0.5, 1e-7, 0.000001, 123456789012345.6,
        "", "a\"\\/\b\f\n\r\t\x1f", "€ \U0001f600 \u2028",
        [], {}, {"b": 1, "a": [None, {"z": 0.25}]}, {"1": 1, "10": 2, "2": 3},
        {"\ue000": 1, "\U00010000": 2, "": 3},
    ]  # fmt: skip
    beyond: list[tuple[Any, dict[str, str]]] = [
        (2**53, {"integer": "9007199254740992"}),
        (-(10**30), {"integer": "-1" + "0" * 30}),
        (1e16, {"integer": "10000000000000000"}),
        (math.nan, {"float": "nan"}),
        (math.inf, {"float": "inf"}),
        (-math.inf, {"float": "-inf"}),
        (b"", {"bytes": ""}),
        (b"\x00\xff", {"bytes": "00ff"}),
        ("a\ud800", {"code points": "61 d800"}),
        ("\ud83d\ude00", {"code points": "d83d de00"}),
        ("\U0001f600\ude00", {"code points": "1f600 de00"}),
        ("~", {"string": "~"}),
        ("~i:7", {"string": "~i:7"}),
        (1.0, {"integer": "1"}),
        (-0.0, {"integer": "0"}),
    ]
    rows: list[dict[str, Any]] = [{"value": value} | form(value) for value in plain]
    return rows + [{"means": means} | form(value) for value, means in beyond]


def form(value: Any) -> dict[str, str]:
    data = canonical(value)
    return {"canonical": data.decode(), "sha256": digest_bytes(data)}


def refused() -> list[str]:
    """Texts that are no canonical form."""
    return [
        "", "{", '{"a": 1}', '{"b":1,"a":1}', '{"a":1,"a":1}', "[1.0]", "[-0]", "[1e2]", "[01]",
        "[9007199254740992]", "[NaN]", '"\\u0061"', '"\\/"', '"\\ud800"', '"~"', '"~x:"', '"~i:1"',
        '"~i:09007199254740992"', '"~f:NaN"', '"~b:AP8"', '"~b:AP9="', '"~u:YWI="', '"~u:2AA="',
        '"~u:8J+YgA=="', '{"~b:":1}', "[1]\n", "[" * 65 + "]" * 65,
    ]  # fmt: skip


def trees() -> dict[str, Any]:
    """Roots of growing trees, and proofs in them."""
    data = [bytes([number]) * number for number in range(16)]
    leaves = [leaf_hash(each) for each in data]

    def read(start: int, end: int) -> list[bytes]:
        return leaves[start:end]

    return {
        "leaves": [each.hex() for each in data],
        "leaf_hashes": [each.hex() for each in leaves],
        "roots": [root_of(leaves[:size]).hex() for size in range(17)],
        "inclusion": [
            {"index": i, "size": n, "path": [p.hex() for p in inclusion_proof(read, i, n)]}
            for i, n in ((0, 1), (0, 2), (1, 3), (2, 3), (5, 8), (6, 7), (0, 16), (10, 13))
        ],
        "consistency": [
            {"old": m, "new": n, "path": [p.hex() for p in consistency_proof(read, m, n)]}
            for m, n in ((1, 1), (1, 2), (2, 3), (3, 7), (4, 8), (6, 8), (7, 16), (13, 16))
        ],
    }


def checkpoints() -> dict[str, Any]:
    """A checkpoint, signed by a published key, alone and with a witness."""
    head = Checkpoint("audition/test-vectors", 7, bytes(range(7, 39)))
    return {
        "private": handmade.KEY.text(),
        "public": str(handmade.KEY.public),
        "witness": str(WITNESS.public),
        "origin": head.origin,
        "size": head.size,
        "root": head.root.hex(),
        "note": head.signed(handmade.KEY),
        "cosigned": head.signed(handmade.KEY, WITNESS),
    }


def contents() -> list[dict[str, str]]:
    """Names of content, without salt and with it."""
    return [
        {"data": data.hex(), "salt": salt.hex() if salt else "", "name": content_name(data, salt)}
        for data in (b"", b"yes", bytes(100))
        for salt in (None, SALT)
    ]


def draws() -> dict[str, Any]:
    """The lottery under one secret."""
    rates = (0.0, 0.05, 0.5, 1.0)
    return {
        "secret": handmade.SECRET.hex(),
        "commitment": digest_bytes(handmade.SECRET),
        "run": handmade.LIVE,
        "turns": [
            {
                "turn": turn,
                "drawn": {
                    str(rate): draw(handmade.SECRET, handmade.LIVE, turn, rate).drawn
                    for rate in rates
                },
            }
            for turn in range(1, 13)
        ],
    }


def batches() -> dict[str, Any]:
    """A sealed batch, its lottery and its lessons."""
    pen = trained.trained_run()
    bodies = {body.kind: body for _, body in pen.events}
    sealed, taken = bodies["batch.sealed"], bodies["lesson.taken"]
    data = next(data for data, _ in pen.contents if digest_bytes(data) == sealed.data)
    batch = Batch.read(sealed, data)
    return {
        "run": pen.run,
        "secret": handmade.SECRET.hex(),
        "sealed": json.loads(canonical(sealed.model_dump(exclude_none=True))),
        "data": data.hex(),
        "leaves": [leaf.hex() for leaf in batch.hashes()],
        "moments": [moment_of(sealed.root, row) for row in range(sealed.rows)],
        "lessons": taken.lessons,
    }


def moments() -> dict[str, Any]:
    """A moment, the event that seals it, and the ticket that it leads to."""
    pen = handmade.live_run()
    seq, (at, sealed) = next(
        (seq, event) for seq, event in enumerate(pen.events) if isinstance(event[1], MomentSealed)
    )
    assert isinstance(sealed, MomentSealed)
    event = Event(run=pen.run, seq=seq, at=at, body=sealed)
    issued = next(body for _, body in pen.events if isinstance(body, TicketIssued))
    act = handmade.shell("ls")
    ticket = handmade.Ticket(
        run=pen.run,
        moment=issued.moment,
        proposal=issued.proposal,
        tool=issued.tool,
        expires=issued.expires,
        act=act,
    )
    return {
        "moment": sealed.moment.canonical().decode(),
        "digest": digest_of(sealed.moment),
        "event": event.canonical().decode(),
        "leaf": leaf_hash(event.canonical()).hex(),
        "proposal": act.canonical().decode(),
        "proposal_digest": digest_of(act),
        "ticket": ticket.canonical().decode(),
        "ticket_digest": digest_of(ticket),
    }


def histories() -> dict[str, Any]:
    """A chain: each entry and the history that follows it."""
    history = goal = digest_bytes(b"Count the words of every file.")
    entries: list[dict[str, Any]] = [
        {"message": {"role": "user", "content": digest_bytes(b"Tidy up.")}},
        {"message": {"role": "tool", "name": "shell", "content": digest_bytes(b"done")}},
        {
            "turn": {
                "number": 1,
                "attempt": 0,
                "place": "1",
                "proposal": digest_of(handmade.shell("ls")),
                "action": "reject",
            }
        },
        {
            "turn": {
                "number": 2,
                "attempt": 1,
                "place": "1.1",
                "thought": digest_bytes(b"Hm."),
                "proposal": digest_of(handmade.shell("wc")),
                "action": "proceed",
                "outcome": digest_bytes(b"7"),
            }
        },
    ]
    chain: list[dict[str, Any]] = []
    for entry in entries:
        history = after(history, entry)
        chain.append({"entry": entry, "history": history})
    return {"goal": goal, "chain": chain}


def whole_ledger(path: Path) -> None:
    """An export of live runs, a record and a training run, with salted and redacted content."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "vectors.db"
        SqlLedger.open(database).close()
        private = b"a person's name"
        salted = bytes.fromhex(content_name(private, SALT))
        raw = sqlite3.connect(database)
        raw.execute("UPDATE ledger SET origin = 'audition/test-vectors'")
        raw.execute("INSERT INTO contents VALUES (?, ?, ?)", (salted, SALT, private))
        raw.commit()
        raw.close()
        live = handmade.live_run()
        others = handmade.compared_run(), handmade.recorded_run(), trained.trained_run()
        handmade.write(database, live, *others)
        handmade.write(database, *signed.apart(signed.signed_run(origin="audition/test-vectors")))
        handmade.redact(database, digest_bytes(b"Hm."), live.run, len(live.events))
        handmade.write(database, handmade.failed_run())
        handmade.write(database, handmade.planted_run())
        handmade.write(database, handmade.saved_run())
        path.unlink(missing_ok=True)
        export(database, path)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
