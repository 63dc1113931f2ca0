"""A thinker that repeats what another run proposed, for other auditors and gates to meet."""

from __future__ import annotations

from audition.canonical import digest_value
from audition.ledger import SqlLedger
from audition.ledger.events import PlantOpened, StepProposed
from audition.step import Box, Digest, Finish, History, RunId, Thought, parse_proposal


class Replayed:
    """Repeats the proposals of a recorded run, in order, without thinking again."""

    def __init__(self, ledger: SqlLedger, run: RunId, *, name: str = "replayed") -> None:
        self.name = name
        self._ledger = ledger
        self._proposals = tuple(_own(ledger, run))
        if not self._proposals:
            raise ValueError(f"run {run}: it has no proposals to replay")

    def configuration(self) -> Digest:
        """Digest of what is repeated, which a run is opened with."""
        return digest_value(self._proposals)

    async def think(self, history: History, box: Box) -> Thought:
        """The proposal that the other run made at this step."""
        if history.turns >= len(self._proposals):
            return Thought(proposal=Finish(answer="", reason="the record has ended"))
        content = self._ledger.get(self._proposals[history.turns])
        return Thought(proposal=parse_proposal(content))


def _own(ledger: SqlLedger, run: RunId) -> list[Digest]:
    found: list[Digest] = []
    for event in ledger.read(run):
        if isinstance(event.body, StepProposed) and event.body.attempt == 0:
            found.append(event.body.proposal)
        elif isinstance(event.body, PlantOpened):
            found.pop()
    return found
