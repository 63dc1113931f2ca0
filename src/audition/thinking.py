"""One call of the thinker, and how what it thought is written down.

Candidate 0 and every further candidate are thought by this one call. Whatever it does, it does for
each of them, and in the same order: a difference here is one that the thinker could see.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import anyio

from audition.box import Box, Unopened
from audition.history import LedgerHistory, Progress
from audition.ledger import Journal, SqlLedger
from audition.model.chance import seeded
from audition.project import Project
from audition.step import Digest, Frozen, Proposal, Thought, Usage, parse_proposal
from audition.unfinished import Unfinished, leave, left


class Parts(TypedDict):
    """What an event names of a thought."""

    content: Digest | None
    calls: Digest | None
    exchanges: Digest | None


@dataclass(frozen=True, slots=True)
class Thinking:
    """A thought that can be written down."""

    thought: Thought
    """What was thought."""
    proposal: bytes
    """The canonical form of what was proposed, which is what counts from here on."""
    parsed: Proposal
    """What that form says."""
    box: Digest
    """Digest of the state in which it left its box."""
    usage: Usage
    """What it cost; its time is what the clock says, not what it says."""


async def think(
    project: Project,
    ledger: SqlLedger,
    progress: Progress,
    box: Box | Unopened,
    number: int = 0,
) -> Thinking:
    """Have the thinker of a project think in a box, until it proposes.

    Args:
        project: who thinks, and how long it may take.
        ledger: where the run is.
        progress: where the run stands; the history ends before the step that is thought of.
        box: where it thinks.
        number: which of the step's candidates it is; of that, chance alone is told.

    Raises:
        ModelAway: the model with which it thinks is not to be had now.
        Exception: whatever it fails with, which carries what was thought so far; it did not
            propose.
    """
    history = LedgerHistory(ledger, progress, thoughts=True)
    begun = time.monotonic()
    had: object = None
    try:
        with anyio.move_on_after(project.budget.step_seconds) as scope:
            try:
                with seeded(_seed(project, progress, number)):
                    had = await project.thinker.think(history, box)
            except BaseException as error:  # an interruption ends here, and with it what it carries
                had = left(error)
                raise
        if scope.cancelled_caught:
            raise TimeoutError
        taken = _since(begun)
        if not isinstance(had, Thought):
            raise TypeError(f"a {type(had).__name__} is no thought")
        proposal = had.proposal.canonical()
        parsed = parse_proposal(proposal)
        said = had.usage
        usage = Usage(
            seconds=taken,
            calls=said.calls,
            tokens_in=said.tokens_in,
            tokens_out=said.tokens_out,
            usd=said.usd,
        )
        return Thinking(had, proposal, parsed, await box.digest(), usage)
    except Exception as error:
        so_far, taken = Unfinished.of(had), _since(begun)
        usage = so_far.usage.model_copy(update={"seconds": taken})
        leave(error, so_far.model_copy(update={"usage": usage}))
        raise


def kept(had: Thinking | None, error: Exception) -> Unfinished:
    """What is kept of a thought that failed, or was had and could not be written down."""
    if had is None:
        return left(error)
    return Unfinished.of(had.thought).model_copy(update={"usage": had.usage})


def parts(thought: Thought | Unfinished, journal: Journal) -> Parts:
    """The parts of a thought, put beside the events.

    Raises:
        LedgerError: one of them cannot be held.
    """
    return Parts(
        content=journal.put(thought.content) if thought.content else None,
        calls=_listed(thought.calls, journal),
        exchanges=_listed(thought.exchanges, journal),
    )


def _seed(project: Project, progress: Progress, number: int) -> bytes:
    """Where the chance of one candidate's sampling comes from."""
    turn = progress.step.turn if progress.step is not None else progress.turns + 1
    said = f"thought {progress.run} {turn} {number}".encode()
    return hmac.digest(project.secret, said, "sha256")


def _since(begun: float) -> float:
    """Seconds since then; a clock says no more than their billionths."""
    return round(time.monotonic() - begun, 9)


def _listed(parts: Sequence[Frozen], journal: Journal) -> Digest | None:
    return journal.put([one.model_dump(exclude_none=True) for one in parts]) if parts else None
