"""What else a thinker would have proposed: thought after the draw, sealed before anybody is asked.

Each further candidate comes from the call that candidate 0 came from, in a box opened anew in the
state that it found. That state is in the ledger, so whoever takes a run up goes on with it: of
candidates that were not sealed nobody has heard, and they are thought again.
"""

from __future__ import annotations

from audition.box import Box, BoxRefused, BoxUnavailable, Unopened
from audition.failing import told
from audition.history import Progress
from audition.ledger import Journal
from audition.ledger.events import Candidate, CandidatesSealed, Missing
from audition.plain import shown
from audition.project import Project
from audition.step import Digest
from audition.thinking import kept, parts, think


def due(progress: Progress) -> bool:
    """Whether the step under way is to have candidates, and they are not sealed yet."""
    step, opened = progress.step, progress.opened
    return (
        step is not None
        and opened is not None
        and opened.candidates is not None
        and step.moment is not None
        and step.moment.attempt == 0  # a `modify` has none but its own
        and step.draw is not None
        and step.draw.drawn
        and step.candidates is None
    )


def state(progress: Progress) -> tuple[Digest | None, Digest | None]:
    """Digest and archive of the box's state in which the next thought is to be had."""
    if progress.step is not None and due(progress):
        return progress.step.left
    return progress.box, progress.state


class Rollouts:
    """The further candidates of the step under way, as far as this process has them."""

    def __init__(self) -> None:
        self._had: list[Candidate | Missing] = []

    def begin(self) -> None:
        """Nothing is had yet."""
        self._had = []

    async def roll(
        self, project: Project, progress: Progress, journal: Journal, box: Box | Unopened
    ) -> CandidatesSealed | None:
        """Have one more candidate thought, in a box in the state that candidate 0 found.

        Returns:
            All of them, to be sealed, once there are as many as the run was opened with.
        """
        step = progress.step
        assert step is not None and step.sealed is not None
        wanted = project.candidates - 1
        self._had.append(await self._another(project, progress, journal, box))
        if len(self._had) < wanted:
            return None
        return CandidatesSealed(
            moment=step.sealed,
            before=step.left[0],
            candidates=tuple(one for one in self._had if isinstance(one, Candidate)),
            missing=tuple(one for one in self._had if isinstance(one, Missing)),
        )

    async def _another(
        self, project: Project, progress: Progress, journal: Journal, box: Box | Unopened
    ) -> Candidate | Missing:
        had = None
        try:
            number = 1 + len(self._had)
            had = await think(project, journal.ledger, progress, box, number)
            return Candidate(
                proposal=journal.put(had.proposal),
                **parts(had.thought, journal),
                box=had.box,
                usage=had.usage,
            )
        except (BoxRefused, BoxUnavailable):
            raise
        except Exception as error:  # noqa: BLE001  whatever went wrong, it did not propose
            so_far, why = kept(had, error), shown(told(error, 400))[:500]
            return Missing(reason=why, **parts(so_far, journal), usage=so_far.usage)
