"""What else a thinker would have proposed: thought after the draw, sealed before anybody is asked.

Each further candidate comes from the call that candidate 0 came from, in a box opened anew from the
snapshot that was taken before it. Nothing is rolled out twice: the snapshot ends with the process
that took it, and whoever takes the run up records that the candidates are missing.
"""

from __future__ import annotations

from audition.box import Box
from audition.failing import told
from audition.history import Progress
from audition.ledger import Journal
from audition.ledger.events import Candidate, CandidatesSealed, Missing
from audition.plain import shown
from audition.project import Project
from audition.step import Usage
from audition.thinking import Before, kept, parts, think

LOST = "the snapshot ended with the process that took it"
"""Why there is no further candidate of a step that another process takes up."""


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


class Rollouts:
    """The further candidates of the step under way, as far as this process has them."""

    def __init__(self) -> None:
        self.before: Before | None = None
        """The snapshot that was taken before the last thought."""
        self._had: list[Candidate | Missing] = []

    def begin(self, before: Before | None) -> None:
        """A thought was had, from this snapshot."""
        self.before, self._had = before, []

    def due(self, progress: Progress) -> Before | None:
        """The snapshot from which the next candidate is to be thought, if one is."""
        return self.before if due(progress) else None

    async def roll(
        self, project: Project, progress: Progress, journal: Journal, box: Box
    ) -> CandidatesSealed | None:
        """Have one more candidate thought in a box opened from the snapshot.

        Returns:
            All of them, to be sealed, once there are as many as the run was opened with.
        """
        step, before = progress.step, self.before
        assert step is not None and step.sealed is not None
        wanted = project.candidates - 1
        if before is None:
            lost = (Missing(reason=LOST, usage=Usage()),) * wanted
            return CandidatesSealed(moment=step.sealed, missing=lost)
        self._had.append(await self._another(project, progress, journal, box))
        if len(self._had) < wanted:
            return None
        return CandidatesSealed(
            moment=step.sealed,
            before=before.digest,
            candidates=tuple(one for one in self._had if isinstance(one, Candidate)),
            missing=tuple(one for one in self._had if isinstance(one, Missing)),
        )

    async def _another(
        self, project: Project, progress: Progress, journal: Journal, box: Box
    ) -> Candidate | Missing:
        had = None
        try:
            had = await think(project, journal.ledger, progress, box)
            return Candidate(
                proposal=journal.put(had.proposal),
                **parts(had.thought, journal),
                box=had.box,
                usage=had.usage,
            )
        except Exception as error:  # noqa: BLE001  whatever went wrong, it did not propose
            so_far, why = kept(had, error), shown(told(error, 400))[:500]
            return Missing(reason=why, **parts(so_far, journal), usage=so_far.usage)
