"""Judging a sealed moment: the gate says who must still answer, they are asked, it decides."""

from __future__ import annotations

from audition.audit import Left, ask, recorded, view
from audition.gate import signers
from audition.history import Pending
from audition.ledger.events import AuditAsked, AuditRecorded, StepDecided
from audition.opening import Terms
from audition.step import Auditor, Decision, Failure, Need, now
from audition.taking_up import Standing
from audition.waiting import evidence


class Judging:
    """Whoever judges the steps of one run, as far as they can be asked from here."""

    def __init__(self, terms: Terms, standing: Standing) -> None:
        self._terms = terms
        self._standing = standing
        self._left = set(signers(terms.opened.gate))  # they sign off by a command of their own

    async def judge(self, step: Pending) -> str:
        """Ask whom the gate names, or record its decision; returns whom the run waits for."""
        assert step.moment is not None and step.sealed is not None and step.draw is not None
        answer = self._terms.gate.decide(step.moment, step.answers, step.draw)
        if isinstance(answer, Decision) and answer.action != "escalate":
            if self._terms.plants_at(self._standing.progress, step.turn) and not step.planted:
                self._standing.log(self._terms.opens(self._standing.progress, step.sealed))
            self._standing.log(StepDecided(moment=step.sealed, decision=answer))
            return ""
        if isinstance(answer, Decision):
            if step.decision != answer:
                self._standing.log(StepDecided(moment=step.sealed, decision=answer))
            assert answer.to is not None
            answer = Need(auditors=(answer.to,), within=answer.within)
        known = {answer.auditor for answer in step.answers}
        waits_for = ""
        for name in answer.auditors:
            if name not in known:
                auditor = self._terms.auditors[name]
                waits_for = await self._ask(step, auditor, answer.within) or waits_for
        if waits_for:
            await self._standing.journal.commit()  # a run that waits is nothing but rows
        return waits_for

    async def _ask(self, step: Pending, auditor: Auditor, within: float | None) -> str:
        """Ask one auditor; returns its name if the answer is still to come from elsewhere."""
        assert step.moment is not None and step.sealed is not None
        standing, project = self._standing, self._terms.project
        is_person = auditor.name in self._terms.people
        if is_person and auditor.name not in step.asked:
            deadline = None if within is None else now() + int(within * 1e6)
            standing.log(AuditAsked(moment=step.sealed, auditor=auditor.name, deadline=deadline))
        if is_person or getattr(auditor, "outside", False):
            await standing.journal.commit()  # what is judged elsewhere must first be durable
        deadline = step.asked.get(auditor.name)
        seconds = within if is_person or within else project.budget.audit_seconds
        if deadline is not None:
            seconds = (deadline - now()) / 1e6
            if seconds <= 0:
                late = Failure(
                    auditor=auditor.name, moment=step.sealed, kind="late", cause="infrastructure"
                )
                standing.log(AuditRecorded(failure=late))
                return ""
        here = getattr(auditor, "present", False) and auditor.name not in self._left
        if is_person and not here:
            return auditor.name
        judged = standing.proposal(step.moment.proposal)
        everything = evidence(standing.ledger, standing.progress, step, auditor, judged)
        shown = view(auditor, step.moment, step.sealed, project.goal, everything)
        try:
            answer = await ask(auditor, shown, seconds=seconds)
        except Left:
            self._left.add(auditor.name)
            return auditor.name
        standing.log(recorded(answer, standing.journal))
        return ""
