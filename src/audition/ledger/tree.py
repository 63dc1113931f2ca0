"""The Merkle tree of RFC 6962 (section 2.1): appending, roots, proofs and their verification.

Hashes are 32 bytes. A frontier holds the roots of the complete subtrees that the binary digits of
the size name, largest first: at most 54 hashes for any ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

EMPTY = sha256(b"").digest()
"""Root of the empty tree."""

Leaves = Callable[[int, int], Iterable[bytes]]
"""Reads the leaf hashes with numbers start ≤ i < end, in order."""


class ProofError(ValueError):
    """A proof does not show what it claims."""


def leaf_hash(data: bytes) -> bytes:
    """Hash of a leaf: SHA-256(0x00 ‖ data)."""
    return sha256(b"\x00" + data).digest()


def leaf_hashes(data: Iterable[bytes]) -> list[bytes]:
    """Hashes of leaves."""
    return [sha256(b"\x00" + one).digest() for one in data]


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node: SHA-256(0x01 ‖ left ‖ right)."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """The right edge of a growing tree: all that appending and the root need."""

    __slots__ = ("peaks", "size")

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        if len(peaks) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} peaks")
        self.size = size
        self.peaks = list(peaks)

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash; amortised two hashes."""
        self._join(leaf, 1)

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Add leaf hashes, whole subtrees at a time."""
        done = 0
        while done < len(leaves):
            room = self.size & -self.size or len(leaves)  # the largest subtree that fits here
            width = min(room, 1 << (len(leaves) - done).bit_length() - 1)
            level = leaves[done : done + width]
            while len(level) > 1:
                each = iter(level)
                pairs = zip(each, each, strict=True)
                level = [sha256(b"\x01" + one + other).digest() for one, other in pairs]
            self._join(level[0], width)
            done += width

    def root(self) -> bytes:
        """Root of the tree so far."""
        if not self.peaks:
            return EMPTY
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root

    def copy(self) -> Frontier:
        """A frontier that grows apart from this one."""
        return Frontier(self.size, self.peaks)

    def _join(self, node: bytes, width: int) -> None:
        """Add the root of a complete subtree, whose width divides the size."""
        size, self.size = self.size, self.size + width
        while size & width:
            node = node_hash(self.peaks.pop(), node)
            width <<= 1
        self.peaks.append(node)


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Root of the tree over these leaf hashes."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


def inclusion_proof(leaves: Leaves, index: int, size: int) -> list[bytes]:
    """Audit path for leaf `index` in the tree of `size` leaves, leaf to root.

    Raises:
        ValueError: not 0 ≤ index < size.
    """
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(root_of(leaves(middle, end)))
            end = middle
        else:
            path.append(root_of(leaves(start, middle)))
            start = middle
    return path[::-1]


def consistency_proof(leaves: Leaves, old: int, new: int) -> list[bytes]:
    """Proof that the tree of `old` leaves is a prefix of the tree of `new` leaves.

    Raises:
        ValueError: not 0 < old ≤ new.
    """
    return _consistency(lambda start, end: root_of(leaves(start, end)), old, new)


def growth_proof(edge: Frontier, leaves: Leaves, new: int) -> list[bytes]:
    """What `consistency_proof` gives, from the old tree's edge: no leaf before it is read again.

    Raises:
        ValueError: the old tree is empty, or larger than the new one.
    """
    complete: dict[int, bytes] = {}
    start = 0
    for bit, peak in zip(_bits(edge.size), edge.peaks, strict=True):
        complete[start] = peak
        start += bit

    def subtree(start: int, end: int) -> bytes:
        return complete[start] if end <= edge.size else root_of(leaves(start, end))

    return _consistency(subtree, edge.size, new)


def _consistency(subtree: Callable[[int, int], bytes], old: int, new: int) -> list[bytes]:
    if not 0 < old <= new:
        raise ValueError(f"no proof from size {old} to size {new}")
    path: list[bytes] = []
    start, end, whole = 0, new, True
    while old - start < end - start:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(subtree(middle, end))
            end = middle
        else:
            path.append(subtree(start, middle))
            start, whole = middle, False
    if not whole:
        path.append(subtree(start, end))
    return path[::-1]


def check_inclusion(leaf: bytes, index: int, size: int, root: bytes, path: Sequence[bytes]) -> None:
    """Verify an audit path (RFC 9162, section 2.1.3.2).

    Raises:
        ProofError: the path does not lead from the leaf to the root.
    """
    if not 0 <= index < size:
        raise ProofError(f"no leaf {index} in a tree of {size}")
    node, number, last = leaf, index, size - 1
    for sibling in path:
        if last == 0:
            raise ProofError("the path is too long")
        if number & 1 or number == last:
            node = node_hash(sibling, node)
            while not number & 1 and number:
                number >>= 1
                last >>= 1
        else:
            node = node_hash(node, sibling)
        number >>= 1
        last >>= 1
    if last or node != root:
        raise ProofError(f"leaf {index} is not in the tree of {size} with this root")


def check_consistency(
    old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]
) -> None:
    """Verify a consistency proof (RFC 9162, section 2.1.4.2).

    Raises:
        ProofError: the old tree is not shown to be a prefix of the new one.
    """
    if not 0 < old <= new:
        raise ProofError(f"no proof from size {old} to size {new}")
    nodes = list(path)
    if old == new:
        if nodes or old_root != new_root:
            raise ProofError("same size, another root")
        return
    if old & (old - 1) == 0:
        nodes.insert(0, old_root)
    if not nodes:
        raise ProofError("the proof is empty")
    number, last = old - 1, new - 1
    while number & 1:
        number >>= 1
        last >>= 1
    first = second = nodes[0]
    for node in nodes[1:]:
        if last == 0:
            raise ProofError("the proof is too long")
        if number & 1 or number == last:
            first = node_hash(node, first)
            second = node_hash(node, second)
            while not number & 1 and number:
                number >>= 1
                last >>= 1
        else:
            second = node_hash(second, node)
        number >>= 1
        last >>= 1
    if last or first != old_root or second != new_root:
        raise ProofError(f"the tree of {old} is not a prefix of the tree of {new}")


def _split(size: int) -> int:
    """The largest power of two smaller than `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def _bits(size: int) -> list[int]:
    """The powers of two that make up a size, largest first."""
    return [1 << bit for bit in range(size.bit_length() - 1, -1, -1) if size >> bit & 1]
