"""The time that a review takes is counted into its stages, each moment of it once."""

from __future__ import annotations

from unittest import mock

from audition import review
from audition.review import Spent


def test_what_is_done_within_a_stage_counts_once() -> None:
    spent, ticks = Spent(), (0.0, 1.0, 3.0, 10.0)
    patched = mock.patch.object(review, "process_time", side_effect=ticks)
    with patched, spent.on("recording"), spent.on("judging"):
        pass
    assert (spent.judging, spent.recording, spent.total) == (2.0, 8.0, 10.0)
