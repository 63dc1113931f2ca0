"""What an error says can always be written down."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from audition.failing import told


@given(st.text(st.characters(), max_size=40) | st.just("\ud800 bad"), st.integers(20, 60))
def test_it_is_text_that_can_be_encoded_and_no_longer_than_asked(says: str, limit: int) -> None:
    found = told(RuntimeError(says), limit)
    assert found.encode()
    assert len(found) <= limit
