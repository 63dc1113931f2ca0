"""Batches: many simulated steps as one event, each leaf open to anyone's look.

A leaf is the consecutive steps of one simulated environment. Its bytes are the leaf's number (8
bytes, big-endian), then column after column its rows, little-endian and packed. The root is that
of the RFC 6962 tree over the leaves; the content is the leaves without their numbers, end to end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audition.canonical import digest_value
from audition.ledger.database import MAX_CONTENT
from audition.ledger.events import BatchSealed, Column
from audition.ledger.tree import leaf_hash, root_of
from audition.step import Digest

Columns = Mapping[str, NDArray[Any]]
"""Arrays by name; the first axis of each is the row."""


class BatchError(ValueError):
    """Rows, layout or bytes that make no batch; the message says what does not fit."""


@dataclass(frozen=True)
class Batch:
    """Rows in leaves."""

    layout: tuple[Column, ...]
    """What the columns are."""
    leaf: int
    """Rows of one leaf."""
    leaves: NDArray[Any]
    """One record a leaf; field `name` has shape (leaf, *shape)."""

    @classmethod
    def of(cls, columns: Columns, layout: Sequence[Column], leaf: int) -> Batch:
        """Pack rows; row r belongs to leaf r // `leaf`.

        Args:
            columns: exactly the arrays that the layout names, all with the same number of rows.
            layout: their names, types and shapes.
            leaf: rows of one leaf; divides the number of rows.

        Raises:
            BatchError: the arrays do not fit the layout, or are too many bytes.
        """
        if columns.keys() != {column.name for column in layout}:
            odd = columns.keys() ^ {column.name for column in layout}
            raise BatchError(f"columns and layout differ in {sorted(odd)[0]!r}")
        rows = {len(array) for array in columns.values()}
        if len(rows) != 1 or 0 in rows:
            raise BatchError(f"every column needs the same number of rows, at least one: {rows}")
        count = rows.pop()
        if leaf < 1 or count % leaf:
            raise BatchError(f"{count} rows do not divide into leaves of {leaf}")
        kind = _record(layout, leaf)
        if kind.itemsize * (count // leaf) > MAX_CONTENT:
            raise BatchError(f"larger than {MAX_CONTENT} bytes; seal fewer rows at a time")
        leaves = np.empty(count // leaf, kind)
        for column in layout:
            array = columns[column.name]
            if array.shape[1:] != column.shape or not np.can_cast(
                array.dtype, kind[column.name].base, "same_kind"
            ):
                raise BatchError(
                    f"column {column.name!r} is {array.dtype} of shape {array.shape[1:]}, "
                    f"declared {column.dtype} of shape {column.shape}"
                )
            leaves[column.name] = array.reshape(-1, leaf, *column.shape)
            held = leaves[column.name].reshape(array.shape)
            if array.dtype.kind in "iu" and held.dtype.kind in "iu" and (held != array).any():
                raise BatchError(f"column {column.name!r}: a number that no {column.dtype} holds")
        return cls(tuple(layout), leaf, leaves)

    @classmethod
    def read(cls, sealed: BatchSealed, data: bytes) -> Batch:
        """The batch that an event names, from its content.

        Raises:
            BatchError: the content has another length than the event says.
        """
        if sealed.rows % sealed.leaf:
            raise BatchError(f"{sealed.rows} rows do not divide into leaves of {sealed.leaf}")
        kind = _record(sealed.columns, sealed.leaf)
        if len(data) != kind.itemsize * (sealed.rows // sealed.leaf):
            raise BatchError(f"{len(data)} bytes are not the {sealed.rows} rows declared")
        if sealed.rows // sealed.leaf > LEAVES:
            raise BatchError(f"more than {LEAVES} leaves")
        return cls(sealed.columns, sealed.leaf, np.frombuffer(data, kind))

    @property
    def rows(self) -> int:
        """Steps."""
        return len(self.leaves) * self.leaf

    def data(self) -> bytes:
        """The rows as content."""
        return self.leaves.tobytes()

    def hashes(self) -> list[bytes]:
        """Hash of every leaf."""
        data, size = memoryview(self.data()), self.leaves.dtype.itemsize
        return [
            leaf_hash(number.to_bytes(8, "big") + data[number * size : (number + 1) * size])
            for number in range(len(self.leaves))
        ]

    def root(self) -> Digest:
        """Root of the tree over the leaves."""
        return root_of(self.hashes()).hex()

    def columns(self, *parts: str) -> dict[str, NDArray[Any]]:
        """Columns of these parts (of all, if none is named), one array each, by row."""
        return {
            column.name: self.leaves[column.name].reshape(-1, *column.shape)
            for column in self.layout
            if not parts or column.part in parts
        }

    def column(self, part: str) -> NDArray[Any] | None:
        """The one column of a part, if there is one.

        Raises:
            BatchError: there are several.
        """
        found = list(self.columns(part).values())
        if len(found) > 1:
            raise BatchError(f"{len(found)} columns say {part!r}; one may")
        return found[0] if found else None

    def only(self, leaves: Sequence[int]) -> Batch:
        """The batch of these leaves alone."""
        return Batch(self.layout, self.leaf, self.leaves[list(leaves)])


def moment_of(root: Digest, row: int) -> Digest:
    """Name of the moment that a row of a batch is, for verdicts."""
    return digest_value({"batch": root, "row": row})


LEAVES = 1 << 20
"""Most leaves of one batch."""

_ONE = ("approval", "drawn", "ranking", "reward", "stratum")


def check_layout(layout: Sequence[Column]) -> None:
    """Refuse columns that sealing would not write.

    Raises:
        BatchError: two columns of a part that has one; or a draw, an approval or a stratum that is
            no single number of its kind.
    """
    for part in _ONE:
        found = [one for one in layout if one.part == part]
        if len(found) > 1:
            raise BatchError(f"{len(found)} columns say {part!r}; one may")
        if found and part != "ranking" and found[0].shape:
            raise BatchError(f"column {found[0].name!r}: one {part} a row")
        if part == "drawn" and found and (found[0].name, found[0].dtype) != ("drawn", "u1"):
            raise BatchError("the lottery's result is a column 'drawn' of u1")


def _record(layout: Sequence[Column], leaf: int) -> np.dtype[Any]:
    names = [column.name for column in layout]
    if len(set(names)) != len(names):
        raise BatchError("two columns have one name")
    size = sum(np.dtype(one.dtype).itemsize * leaf * math.prod(one.shape) for one in layout)
    if size > MAX_CONTENT:
        raise BatchError(f"a leaf is larger than {MAX_CONTENT} bytes; make it shorter")
    return np.dtype([(one.name, "<" + one.dtype, (leaf, *one.shape)) for one in layout])
