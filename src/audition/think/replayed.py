"""A thinker that repeats what another run proposed, for other auditors and gates to meet."""

from __future__ import annotations

from audition.canonical import digest_value
from audition.ledger import SqlLedger
from audition.ledger.events import PlantOpened, PlantSealed, StepDecided, StepProposed
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
    plants, decided = False, True
    for event in ledger.read(run):
        match event.body:
            case PlantSealed():
                plants = True
            case StepProposed(attempt=0, proposal=proposal):
                found.append(proposal)
                decided = False
            case StepDecided(decision=decision) if decision.action != "escalate":
                decided = True
            case PlantOpened():
                found.pop()
            case _:
                pass
    return found if decided or not plants else found[:-1]  # the last one may be planted
