"""What each stage of a step writes: thought and proposal, moment and draw, replacement, outcome."""

from __future__ import annotations

import secrets
from typing import Literal

import anyio

from audition.act import Refused, finished, issue, issued, perform
from audition.audit import Left
from audition.box import Box, BoxRefused, BoxUnavailable, Unopened
from audition.candidates import Rollouts
from audition.canonical import digest_bytes
from audition.failing import told
from audition.gate import draw
from audition.history import Pending
from audition.ledger.events import (
    ActInDoubt,
    AuditDrawn,
    MomentSealed,
    RunClosed,
    RunSaved,
    StepProposed,
    StepThought,
    ThoughtFailed,
)
from audition.model import ModelAway
from audition.opening import Terms
from audition.step import Digest, Failure, Moment, Proposal, now, parse_proposal
from audition.taking_up import Standing
from audition.think import Plant
from audition.thinking import kept, parts, think

QUICK = 0.01
"""Seconds of thinking below which an outcome is made durable with the step that follows it."""

ATTEMPTS = 8
"""Replacements of one step before the run fails."""


class Stages:
    """The stages of one run's steps, but for judging."""

    def __init__(self, terms: Terms, standing: Standing) -> None:
        self._terms = terms
        self._standing = standing
        self.rollouts = Rollouts()
        """Further candidates, as far as this process has them."""

    async def think(self, box: Box | Unopened) -> None:
        """Have the next step thought of and seal it, or close the run that needs or may have none.

        A thought that fails is recorded, and ends the run.

        Raises:
            Left: the person who thinks went away; nothing was written of the step.
            BoxRefused, BoxUnavailable: the box cannot be opened; likewise.
            ModelAway: the thinker's model is not to be had; nothing was written of the step.
        """
        run, project, progress = self._standing, self._terms.project, self._standing.progress
        if progress.failed is not None:
            return await self.close("failed", f"the thinker failed: {progress.failed}")
        if progress.answer is not None:
            return await self.close("finished", "", progress.answer)
        if why := project.budget.exceeded(progress.steps, progress.spent):
            return await self.close("exhausted", why)
        if progress.to_be_saved:
            run.log(RunSaved(savepoint=run.journal.put(progress.savepoint())))
        if plant := self._terms.plants_at(progress, progress.turns + 1):
            return await self._plant(plant)
        had = None
        try:
            had = await think(project, run.ledger, progress, box)
            saved = await box.save() if had.box != progress.box else None
            written = StepThought(
                turn=progress.turns + 1,
                **parts(had.thought, run.journal),
                box=had.box,
                state=progress.state if saved is None else run.journal.put(saved),
                usage=had.usage,
            )
            proposal = run.journal.put(had.proposal)
            proposed = StepProposed(turn=written.turn, proposal=proposal, what=had.parsed.kind)
        except (Left, ModelAway, BoxRefused, BoxUnavailable):
            raise
        except Exception as error:  # noqa: BLE001  whatever went wrong, the thinker did not propose
            so_far = kept(had, error)
            run.log(
                ThoughtFailed(
                    turn=progress.turns + 1,
                    **parts(so_far, run.journal),
                    usage=so_far.usage,
                    reason=told(error, 480),
                )
            )
            return await self.think(box)
        run.log(written)  # nothing can go wrong from here on: half a step would be committed too
        run.log(proposed)
        run.hold(proposal, had.parsed)
        self.rollouts.begin()
        assert progress.step is not None
        return self.seal(progress.step)

    async def _plant(self, plant: Plant) -> None:
        """Put a planted step forward, when and as one of the thinker's own thoughts came."""
        run, progress = self._standing, self._standing.progress
        pace, changed = secrets.choice(progress.paces or [(0, False)])
        written = StepThought(
            turn=progress.turns + 1,
            content=run.journal.put(plant.thought) if plant.thought else None,
            box=digest_bytes(secrets.token_bytes(32)) if changed else progress.box,
            state=progress.state,
        )
        proposed = self._proposed(written.turn, 0, plant.proposal)
        wait = min(pace, progress.last + pace - now()) / 1e6  # no longer, though the clock go back
        await anyio.sleep(min(max(0, wait), self._terms.project.budget.step_seconds))
        run.log(written)
        run.log(proposed)
        self.rollouts.begin()
        assert progress.step is not None
        return self.seal(progress.step)

    def seal(self, step: Pending) -> None:
        """Freeze the moment, and record what the lottery says of its step."""
        assert step.proposed is not None
        run, terms, progress = self._standing, self._terms, self._standing.progress
        proposal = run.proposal(step.proposed.proposal)
        moment = Moment(
            run=run.run,
            turn=step.turn,
            attempt=step.proposed.attempt,
            place=step.place,
            goal=terms.opened.goal,
            history=progress.history,
            proposal=step.proposed.proposal,
            thought=step.thought.content if step.thought else None,
            box=progress.box,
            tool=terms.tool(proposal),
            restrictions=terms.opened.restrictions,
            reviewers=terms.reviewers,
            by=step.proposed.by if progress.signoffs.people else None,
        )
        run.log(MomentSealed(moment=moment))
        lot = step.draw or draw(terms.secret, run.run, step.turn, terms.rate)
        if terms.plants_at(progress, step.turn):  # it is there to be judged
            lot = lot.model_copy(update={"drawn": True})
        assert step.sealed is not None
        run.log(AuditDrawn(moment=step.sealed, stratum=lot.stratum, rate=lot.rate, drawn=lot.drawn))

    async def roll_out(self, box: Box | Unopened) -> None:
        """Have one more candidate thought; seal them once it was the last."""
        run = self._standing
        sealed = await self.rollouts.roll(self._terms.project, run.progress, run.journal, box)
        if sealed is not None:
            run.log(sealed)

    async def replace(self, step: Pending, by: str) -> None:
        """Put an auditor's replacement in the place of what was proposed."""
        assert step.proposed is not None
        attempt = step.proposed.attempt + 1
        if attempt > ATTEMPTS:
            await self.close("failed", f"step {step.turn} was replaced {ATTEMPTS} times")
            return
        found = next(a for a in step.answers if a.auditor == by and not isinstance(a, Failure))
        assert found.replacement is not None
        replacement = parse_proposal(self._standing.ledger.get(found.replacement))
        self._standing.log(self._proposed(step.turn, attempt, replacement, by))

    async def perform(self, step: Pending) -> None:
        """Issue a ticket for what was approved, and have it redeemed.

        Raises:
            Refused: what is to be done is not what was judged; nothing was done.
        """
        assert step.moment is not None and step.sealed is not None
        run = self._standing
        ticket = issue(step.moment, step.sealed, run.journal)
        issuing = issued(ticket)
        issued_by = run.log(issuing)
        executor = self._terms.executor(ticket.act)
        if executor is None:
            raise Refused("no executor for this tool")
        outcome = await perform(ticket, issued_by, executor, step.moment, run.journal)
        step.started = True
        thought = step.thought
        record = run.log(finished(issuing.ticket, outcome, run.journal))
        if isinstance(record.body, ActInDoubt) or not self._keeps(thought):
            await run.journal.commit()

    def _keeps(self, thought: StepThought | None) -> bool:
        """Whether an outcome may wait for the run's next commit, which comes before whatever leaves
        this process: its thinker thinks here, and thought quickly so far."""
        if getattr(self._terms.project.thinker, "outside", True):
            return False
        return thought is not None and thought.usage is not None and thought.usage.seconds < QUICK

    def doubt(self, step: Pending) -> None:
        """Say of an act that was begun elsewhere that nobody knows what came of it."""
        assert step.ticket is not None
        if not step.in_doubt:
            self._standing.log(ActInDoubt(ticket=step.ticket.ticket))

    async def close(
        self,
        status: Literal["finished", "terminated", "exhausted", "failed"],
        reason: str,
        answer: Digest | None = None,
    ) -> None:
        """End the run, and show the lottery's secret."""
        secret = self._terms.secret
        self._standing.log(RunClosed(status=status, reason=reason, answer=answer, secret=secret))
        await self._standing.journal.commit()

    def _proposed(
        self, turn: int, attempt: int, proposal: Proposal, by: str | None = None
    ) -> StepProposed:
        content = self._standing.journal.put(proposal)
        return StepProposed(turn=turn, attempt=attempt, proposal=content, what=proposal.kind, by=by)
