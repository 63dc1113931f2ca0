"""A history that was told before is told as one that was not."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from thoughts import Past

from audition.step import Message, Outcome, Think, Turn
from audition.think.telling import Rendering, conversation

ENTRIES = st.lists(
    st.builds(
        Turn,
        number=st.integers(1, 9),
        place=st.just("1"),
        proposal=st.builds(Think, prompt=st.integers(0, 900).map(lambda n: "x" * n)),
        action=st.just("proceed"),
        outcome=st.none() | st.builds(Outcome, status=st.just("done"), output=st.text(max_size=9)),
    )
    | st.builds(Message, role=st.just("user"), content=st.text(max_size=99)),
    max_size=40,
)


@given(ENTRIES, st.integers(100, 4000), st.lists(st.integers(0, 40), max_size=12))
def test_what_is_told_follows_from_the_history_alone(
    entries: list[Any], characters: int, looks: list[int]
) -> None:
    used = Rendering(characters, 500)
    for length in [*sorted(looks), *looks, *range(len(entries) + 1)]:
        history = Past(*entries[:length])
        afresh = conversation(history, Rendering(characters, 500))
        assert conversation(history, used) == afresh


@given(ENTRIES, st.integers(100, 4000))
def test_the_newest_entries_are_told_as_many_as_there_is_room_for(
    entries: list[Any], characters: int
) -> None:
    whole = Rendering(10**9, 500).newest(Past(*entries))
    lengths = [one[1] for one in Rendering(10**9, 500)._of(Past(*entries), len(entries))]
    most = max(
        count
        for count in range(len(entries) + 1)
        if sum(lengths[len(entries) - count :]) <= characters
    )
    told = list(Rendering(characters, 500).newest(Past(*entries)))
    assert told == list(whole)[len(entries) - most :]
