"""Which of two candidates a teacher prefers, for trainers that learn from pairs.

Of each moment every pair is taken of which the teacher says that one is better: of K candidates in
a ranking K·(K − 1)/2, of approvals those that differ. A tie prefers nothing and is left out. A pair
has the weight of its lesson, so that a weighted sum over pairs is unbiased for all the pairs that
there would be if every moment had been drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from audition.learn.lessons import LessonError, Lessons


def compared(lessons: Lessons, number: int) -> list[tuple[int, int] | None]:
    """The pairs of one lesson's candidates, (preferred, other); None for each tie.

    Raises:
        LessonError: the lessons compare nothing.
    """
    if lessons.ranking_LK is not None:
        return list(combinations(map(int, lessons.ranking_LK[number]), 2))
    if lessons.approvals_LK is not None:
        return list(_by_approval(lessons.approvals_LK[number].tolist()))
    raise LessonError(f"lessons by {lessons.signal} of one candidate compare nothing")


def _by_approval(approval_K: Sequence[float]) -> Iterator[tuple[int, int] | None]:
    for one, other in combinations(range(len(approval_K)), 2):
        if approval_K[one] == approval_K[other]:
            yield None
        else:
            yield (one, other) if approval_K[one] > approval_K[other] else (other, one)
