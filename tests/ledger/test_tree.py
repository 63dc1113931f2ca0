"""The Merkle tree of RFC 6962: roots by definition, proofs that verify and no others."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audition.ledger.tree import (
    EMPTY,
    Frontier,
    ProofError,
    check_consistency,
    check_inclusion,
    consistency_proof,
    growth_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
)

MOST = 40
LEAVES = [leaf_hash(bytes([number])) for number in range(MOST)]
ROOTS = [root_of(LEAVES[:size]) for size in range(MOST + 1)]


def between(start: int, end: int) -> Sequence[bytes]:
    return LEAVES[start:end]


def by_definition(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    left, right = by_definition(leaves[:split]), by_definition(leaves[split:])
    return hashlib.sha256(b"\x01" + left + right).digest()


@given(st.lists(st.integers(0, MOST), max_size=6))
def test_leaves_added_together_make_the_tree_of_leaves_added_alone(widths: list[int]) -> None:
    together, alone = Frontier(), Frontier()
    for width in widths:
        together.extend(LEAVES[:width])
        for leaf in LEAVES[:width]:
            alone.append(leaf)
    assert (together.size, together.peaks) == (alone.size, alone.peaks)


def test_the_vectors_of_rfc_6962_hold() -> None:
    """Known roots of the reference implementation (certificate-transparency, merkletree tests)."""
    data = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]  # fmt: skip # noqa: E501
    roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ]
    leaves = [leaf_hash(bytes.fromhex(each)) for each in data]
    assert [root_of(leaves[: size + 1]).hex() for size in range(8)] == roots
    assert EMPTY.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_the_growing_edge_gives_the_root_by_definition() -> None:
    for size in range(MOST + 1):
        assert ROOTS[size] == by_definition(LEAVES[:size])


def test_an_edge_that_was_stored_grows_on_as_if_it_never_stopped() -> None:
    for size in range(MOST):
        first = Frontier()
        for leaf in LEAVES[:size]:
            first.append(leaf)
        again = Frontier(size, first.peaks)
        again.append(LEAVES[size])
        assert again.root() == ROOTS[size + 1] and first.root() == ROOTS[size]


def test_every_inclusion_is_proved_and_no_other() -> None:
    for size in range(1, MOST + 1):
        for index in range(size):
            path = inclusion_proof(between, index, size)
            check_inclusion(LEAVES[index], index, size, ROOTS[size], path)
            wrong = [
                (LEAVES[(index + 1) % MOST], index, size, ROOTS[size], path),
                (LEAVES[index], index, size, ROOTS[size - 1], path),
                (LEAVES[index], index, size, ROOTS[size], [*path, EMPTY]),
                (LEAVES[index], size, size, ROOTS[size], path),
            ]
            if path:
                wrong.append((LEAVES[index], index, size, ROOTS[size], path[:-1]))
                wrong.append((LEAVES[index], index, size, ROOTS[size], [EMPTY, *path[1:]]))
            for case in wrong:
                with pytest.raises(ProofError):
                    check_inclusion(*case)


def test_every_consistency_is_proved_and_no_other() -> None:
    for new in range(1, MOST + 1):
        for old in range(1, new + 1):
            path = consistency_proof(between, old, new)
            check_consistency(old, new, ROOTS[old], ROOTS[new], path)
            wrong = [
                (old, new, ROOTS[old], ROOTS[new - 1], path),
                (old, new, ROOTS[old - 1], ROOTS[new], path),
                (old, new, ROOTS[old], ROOTS[new], [*path, EMPTY]),
                (new + 1, new, ROOTS[old], ROOTS[new], path),
                (0, new, EMPTY, ROOTS[new], path),
            ]
            if path:
                wrong.append((old, new, ROOTS[old], ROOTS[new], path[:-1]))
                wrong.append((old, new, ROOTS[old], ROOTS[new], [*path[:-1], EMPTY]))
            for case in wrong:
                with pytest.raises(ProofError):
                    check_consistency(*case)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=8), min_size=1, max_size=300), st.data())
def test_proofs_hold_for_any_leaves(data: list[bytes], more: st.DataObject) -> None:
    leaves = [leaf_hash(each) for each in data]
    index = more.draw(st.integers(0, len(leaves) - 1))
    old = more.draw(st.integers(1, len(leaves)))
    root = by_definition(leaves)

    def read(start: int, end: int) -> list[bytes]:
        return leaves[start:end]

    check_inclusion(
        leaves[index], index, len(leaves), root, inclusion_proof(read, index, len(leaves))
    )
    path = consistency_proof(read, old, len(leaves))
    check_consistency(old, len(leaves), by_definition(leaves[:old]), root, path)


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_no_proof_is_made_of_what_is_not_there(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        inclusion_proof(between, index, size)


@pytest.mark.parametrize(("old", "new"), [(0, 3), (4, 3), (-1, 3)])
def test_no_proof_runs_backwards(old: int, new: int) -> None:
    with pytest.raises(ValueError, match="no proof"):
        consistency_proof(between, old, new)


def test_an_edge_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="peaks"):
        Frontier(3, [EMPTY])


@given(st.integers(1, MOST), st.integers(0, MOST))
def test_a_proof_of_growth_is_the_proof_and_reads_nothing_of_the_old_tree(
    old: int, more: int
) -> None:
    new = min(MOST, old + more)
    edge = Frontier()
    for leaf in LEAVES[:old]:
        edge.append(leaf)

    def later(start: int, end: int) -> Sequence[bytes]:
        assert start >= old
        return LEAVES[start:end]

    assert growth_proof(edge, later, new) == consistency_proof(between, old, new)
