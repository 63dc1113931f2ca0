"""Batches: what is packed comes back, each leaf is provable alone, and odd layouts are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from audition.learn import Batch, BatchError, moment_of
from audition.ledger.database import MAX_CONTENT
from audition.ledger.events import BatchSealed, Column
from audition.ledger.tree import ProofError, check_inclusion, inclusion_proof, leaf_hash

DTYPES = ("u1", "u2", "u4", "i1", "i2", "i4", "i8", "f4", "f8")
PARTS = ("context", "span", "stratum", "drawn", "candidates", "approval", "ranking", "reward")
ROOM = Column(name="room", dtype="u1", part="context")


@st.composite
def batches(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[Column, ...], int]:
    leaf, leaves = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    layout = tuple(
        Column(
            name=f"c{number}",
            dtype=draw(st.sampled_from(DTYPES)),
            shape=draw(st.lists(st.integers(1, 3), max_size=3).map(tuple)),
            part=draw(st.sampled_from(PARTS)),
        )
        for number in range(draw(st.integers(1, 4)))
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))

    def filled(column: Column) -> Any:
        data = rng.bytes(
            np.dtype(column.dtype).itemsize * int(np.prod((leaf * leaves, *column.shape)))
        )
        return np.frombuffer(data, "<" + column.dtype).reshape(leaf * leaves, *column.shape)

    return {column.name: filled(column) for column in layout}, layout, leaf


def sealed(batch: Batch, **changes: Any) -> BatchSealed:
    fields: dict[str, Any] = {
        "number": 0,
        "rows": batch.rows,
        "leaf": batch.leaf,
        "columns": batch.layout,
        "data": "0" * 64,
        "root": batch.root(),
        "environment": "0" * 64,
        "thinker": "0" * 64,
    }
    return BatchSealed(**(fields | changes))


@settings(deadline=None)
@given(batches())
def test_what_is_packed_comes_back_to_the_bit(
    given: tuple[dict[str, Any], tuple[Column, ...], int],
) -> None:
    columns, layout, leaf = given
    batch = Batch.of(columns, layout, leaf)
    again = Batch.read(sealed(batch), batch.data())
    assert again.rows == len(next(iter(columns.values())))
    assert again.root() == batch.root()
    for name, array in columns.items():
        assert again.columns()[name].tobytes() == array.tobytes()
        assert again.columns()[name].shape == array.shape


@settings(deadline=None)
@given(batches(), st.data())
def test_every_leaf_is_in_the_tree_under_its_own_number_alone(
    given: tuple[dict[str, Any], tuple[Column, ...], int], data: st.DataObject
) -> None:
    batch = Batch.of(*given)
    hashes, root = batch.hashes(), bytes.fromhex(batch.root())
    number = data.draw(st.integers(0, len(hashes) - 1))
    size = len(batch.data()) // len(hashes)
    bare = batch.data()[number * size : (number + 1) * size]
    leaf = leaf_hash(number.to_bytes(8, "big") + bare)
    assert leaf == hashes[number]
    path = inclusion_proof(lambda start, end: hashes[start:end], number, len(hashes))
    check_inclusion(leaf, number, len(hashes), root, path)
    for forged in (leaf_hash(bare), leaf_hash((number + 1).to_bytes(8, "big") + bare)):
        with pytest.raises(ProofError):
            check_inclusion(forged, number, len(hashes), root, path)


@settings(deadline=None)
@given(batches(), st.data())
def test_one_changed_byte_changes_the_root(
    given: tuple[dict[str, Any], tuple[Column, ...], int], data: st.DataObject
) -> None:
    batch = Batch.of(*given)
    content = bytearray(batch.data())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    assert Batch.read(sealed(batch), bytes(content)).root() != batch.root()


@settings(deadline=None)
@given(batches(), st.data())
def test_some_leaves_are_those_leaves(
    given: tuple[dict[str, Any], tuple[Column, ...], int], data: st.DataObject
) -> None:
    columns, layout, leaf = given
    batch = Batch.of(columns, layout, leaf)
    chosen = data.draw(st.lists(st.integers(0, len(batch.leaves) - 1), min_size=1))
    some = batch.only(chosen)
    for name, array in columns.items():
        expected = np.concatenate([array[one * leaf : (one + 1) * leaf] for one in chosen])
        assert some.columns()[name].tobytes() == expected.tobytes()


def test_leaves_of_one_step_are_leaves() -> None:
    batch = Batch.of({"room": np.arange(3, dtype=np.uint8)}, [ROOM], 1)
    assert batch.rows == len(batch.hashes()) == 3


def test_every_row_has_a_moment_of_its_own() -> None:
    names = {moment_of(root * 64, row) for root in "ab" for row in range(5)}
    assert len(names) == 10


def test_columns_are_told_by_their_part() -> None:
    layout = [ROOM, Column(name="prize", dtype="f4", part="reward")]
    batch = Batch.of({"room": np.zeros(2, np.uint8), "prize": np.ones(2, np.float32)}, layout, 2)
    assert set(batch.columns("context")) == {"room"}
    assert set(batch.columns()) == {"room", "prize"}
    assert batch.column("approval") is None
    reward = batch.column("reward")
    assert reward is not None and reward.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("columns", "layout", "leaf", "why"),
    [
        ({}, [ROOM], 1, "differ in 'room'"),
        ({"room": [1], "hall": [1]}, [ROOM], 1, "differ in 'hall'"),
        ({"room": []}, [ROOM], 1, "at least one"),
        (
            {"room": [1], "hall": [1, 2]},
            [ROOM, ROOM.model_copy(update={"name": "hall"})],
            1,
            "the same number of rows",
        ),
        ({"room": [1, 2, 3]}, [ROOM], 2, "3 rows do not divide into leaves of 2"),
        ({"room": [1]}, [ROOM], 0, "leaves of 0"),
        ({"room": [1]}, [ROOM], -1, "leaves of -1"),
        ({"room": [1]}, [ROOM, ROOM], 1, "two columns have one name"),
        ({"room": [[1]]}, [ROOM], 1, r"of shape \(1,\), declared u1 of shape \(\)"),
        ({"room": [0.5]}, [ROOM], 1, "is float64"),
        ({"room": ["a"]}, [ROOM], 1, "is <U1"),
        ({"room": [None]}, [ROOM], 1, "is object"),
        ({"room": [300]}, [ROOM.model_copy(update={"dtype": "i2"})], 1, ""),
        ({"room": [300]}, [ROOM.model_copy(update={"dtype": "i1"})], 1, "a number that no i1"),
        ({"room": np.array([200], "u1")}, [ROOM.model_copy(update={"dtype": "i1"})], 1, "no i1"),
    ],
)
def test_rows_that_do_not_fit_their_layout_are_refused(
    columns: dict[str, Any], layout: list[Column], leaf: int, why: str
) -> None:
    arrays = {name: np.asarray(rows) for name, rows in columns.items()}
    if not why:
        assert Batch.of(arrays, layout, leaf).columns()["room"].tolist() == [300]
        return
    with pytest.raises(BatchError, match=why):
        Batch.of(arrays, layout, leaf)


def test_more_than_a_content_holds_is_refused_before_it_is_made() -> None:
    wide = Column(name="wide", dtype="f8", shape=(65536, 65536), part="context")
    flat = np.broadcast_to(np.zeros(()), (1, 65536, 65536))
    with pytest.raises(BatchError, match="a leaf is larger"):
        Batch.of({"wide": flat}, [wide], 1)
    many = np.broadcast_to(np.zeros((), np.uint8), (MAX_CONTENT + 1,))
    with pytest.raises(BatchError, match="seal fewer rows"):
        Batch.of({"room": many}, [ROOM], 1)


@pytest.mark.parametrize(
    ("changes", "data", "why"),
    [
        ({}, b"\0\0\0", "3 bytes are not the 2 rows"),
        ({}, b"", "0 bytes"),
        ({"leaf": 3}, b"\0\0", "2 rows do not divide"),
        ({"rows": 2**53 - 1, "leaf": 1}, b"\0\0", "2 bytes are not"),
        ({"rows": 2**53 - 1, "leaf": 2**53 - 1}, b"\0\0", "a leaf is larger"),
        ({"columns": (ROOM, ROOM)}, b"\0\0\0\0", "two columns have one name"),
    ],
)
def test_content_that_is_not_what_its_event_declares_is_refused(
    changes: dict[str, Any], data: bytes, why: str
) -> None:
    batch = Batch.of({"room": np.zeros(2, np.uint8)}, [ROOM], 1)
    with pytest.raises(BatchError, match=why):
        Batch.read(sealed(batch, **changes), data)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Room"},
        {"name": ""},
        {"name": "a.b"},
        {"dtype": "O"},
        {"dtype": "f2"},
        {"shape": (0,)},
        {"shape": (-1,)},
        {"shape": (65537,)},
        {"shape": (1, 1, 1, 1, 1)},
        {"part": "outcome"},
    ],
)
def test_a_column_that_no_batch_holds_cannot_be_declared(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Column.model_validate(ROOM.model_dump() | changes)


def test_several_columns_of_a_part_that_is_one_are_refused() -> None:
    layout = [Column(name=name, dtype="f4", part="approval") for name in ("one", "two")]
    batch = Batch.of({"one": np.ones(2), "two": np.ones(2)}, layout, 1)
    with pytest.raises(BatchError, match="2 columns say 'approval'"):
        batch.column("approval")
