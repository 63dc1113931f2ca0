"""Co-signatures as C2SP tlog-cosignature has them, and no others."""

from __future__ import annotations

import base64
import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audition.ledger import Checkpoint, NoteError, PrivateKey, PublicKey, read_checkpoint
from audition.ledger.cosignature import WitnessKey, cosign, cosigners, mark

LOG = PrivateKey("test.example", bytes(range(32)))
KEY = PrivateKey("witness.example", bytes(32))
WITNESS = WitnessKey.of(KEY)
HEAD = Checkpoint("audition/0011", 7, b"\7" * 32)
NOTE = HEAD.signed(LOG)


def test_a_line_is_the_key_s_hash_the_time_and_a_signature_over_both_and_the_text() -> None:
    """Each part by the words of the specification, with nothing of ours but the private key."""
    line = cosign(HEAD.text(), KEY, 1679315147)
    name, encoded = line.removeprefix("\u2014 ").removesuffix("\n").split(" ")
    blob = base64.b64decode(encoded)
    material = b"witness.example\n\x04" + KEY.public.raw
    assert (name, len(blob)) == ("witness.example", 4 + 8 + 64)
    assert blob[:4] == hashlib.sha256(material).digest()[:4]
    assert struct.unpack(">Q", blob[4:12]) == (1679315147,)
    message = b"cosignature/v1\ntime 1679315147\n" + HEAD.text().encode()
    assert KEY.public.verifies(message, blob[12:])


def test_the_line_that_the_specification_shows_is_framed_so() -> None:
    line = "\u2014 witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA=="  # noqa: E501
    blob = base64.b64decode(line.split(" ")[2])
    assert len(blob) == 76 and struct.unpack(">Q", blob[4:12]) == (1679315147,)


def test_a_co_signed_note_is_read_by_whoever_knows_no_witness() -> None:
    note = NOTE + cosign(HEAD.text(), KEY, 5)
    assert read_checkpoint(note, [LOG.public, KEY.public]) == (HEAD, [LOG.public])
    assert cosigners(note, [WITNESS]) == {WITNESS: 5}
    assert cosigners(note, [WitnessKey.of(LOG)]) == {}
    assert cosigners(note + cosign(HEAD.text(), KEY, 9), [WITNESS]) == {WITNESS: 9}
    assert mark(WITNESS) in note and mark(WITNESS) not in NOTE


def test_lines_after_the_root_are_co_signed_too() -> None:
    text = HEAD.text() + "an extension\n"
    line = NOTE.rpartition("\n\n")[2]
    assert cosigners(f"{text}\n{line}{cosign(text, KEY, 5)}", [WITNESS]) == {WITNESS: 5}
    with pytest.raises(NoteError, match="does not verify"):
        cosigners(f"{text}\n{line}{cosign(HEAD.text(), KEY, 5)}", [WITNESS])


@given(st.integers(0, 75), st.integers(0, 7))
def test_a_line_of_which_one_bit_differs_is_no_co_signature(at: int, bit: int) -> None:
    line = cosign(HEAD.text(), KEY, 5)
    blob = bytearray(base64.b64decode(line.split(" ")[2]))
    blob[at] ^= 1 << bit
    changed = f"\u2014 witness.example {base64.b64encode(blob).decode()}\n"
    if at < 4:  # another key's, as far as anyone can tell
        assert cosigners(NOTE + changed, [WITNESS]) == {}
    else:
        with pytest.raises(NoteError, match="does not verify"):
            cosigners(NOTE + changed, [WITNESS])


@pytest.mark.parametrize("size", [0, 3, 4, 11, 12, 75, 77, 200])
def test_a_line_of_another_length_is_refused_or_another_key_s(size: int) -> None:
    blob = (WITNESS.hash + bytes(300))[:size]
    note = f"{NOTE}\u2014 witness.example {base64.b64encode(blob).decode()}\n"
    if size < 4:
        assert cosigners(note, [WITNESS]) == {}
    else:
        with pytest.raises(NoteError, match="does not verify"):
            cosigners(note, [WITNESS])


def test_a_witness_s_key_is_no_other_key() -> None:
    assert WitnessKey.parse(str(WITNESS)) == WITNESS
    with pytest.raises(NoteError, match="key of a witness"):
        WitnessKey.parse(str(KEY.public))
    with pytest.raises(NoteError, match="Ed25519"):
        PublicKey.parse(str(WITNESS))
    with pytest.raises(NoteError):
        WitnessKey.parse(str(WITNESS).replace("witness", "witless"))
