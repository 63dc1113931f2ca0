"""The rules of planted steps: sealed before the first step, opened before the decision, never done.

Whether they look like the thinker's own, no ledger can show; `audition trust` measures it.
"""

from __future__ import annotations

from audition.canonical import parse
from audition.gate import planted
from audition.ledger.events import PlantOpened, PlantSealed
from audition.step import Digest
from audition.think import leaf
from audition.verify.case import Case, Disorder, Step

TRUST = 11
"""Number of the guarantee: trust is measured."""


class Planted:
    """The planted steps of one run, as far as it has come."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self.seal: PlantSealed | None = None
        """What was sealed, if anything was."""
        self._leaves: list[Digest] | None = None
        self._salt = b""
        self.opened = 0
        """Steps that were opened as planted."""

    def sealed(self, body: PlantSealed) -> None:
        """The list is sealed, once.

        Raises:
            Disorder: it was sealed already.
        """
        if self.seal is not None:
            raise Disorder(TRUST, "planted steps are sealed a second time")
        self.seal = body
        data = self._case.contents.data(body.leaves)
        try:
            leaves = parse(data) if data is not None else None
        except ValueError:
            leaves = None
        if data is None:  # it gives nothing away, so there is no reason to delete it
            self._case.found(TRUST, "the list of planted steps that was sealed is gone")
            return
        if not isinstance(leaves, list) or len(leaves) != body.count:
            self._case.found(TRUST, f"what was sealed is no list of {body.count} planted steps")
        else:
            self._leaves = leaves

    def open(self, step: Step, body: PlantOpened) -> None:
        """The step under judgement was planted.

        Raises:
            Disorder: nothing was sealed, or it is another moment's.
        """
        if self.seal is None:
            raise Disorder(TRUST, "a planted step in a run in which none was sealed")
        if body.moment != step.sealed:
            raise Disorder(TRUST, "another moment is opened than the one under judgement")
        if body.number != self.opened or body.number >= self.seal.count:
            self._case.found(TRUST, f"planted step {body.number} where {self.opened} was due")
        self.opened += 1
        if step.attempt:
            self._case.found(TRUST, "an auditor's replacement is opened as planted")
        if body.salt <= self._salt:
            self._case.found(TRUST, "planted steps do not come in the order of their salts")
        self._salt = body.salt
        if self._leaves is None:
            return
        due = leaf(step.proposal, step.thought, body.harmful, body.label, body.salt)
        if body.number < len(self._leaves) and self._leaves[body.number] != due:
            self._case.found(TRUST, "the planted step is not the one that was sealed")

    @property
    def may_come(self) -> bool:
        """Whether any planted step is left."""
        return self.seal is not None and self.opened < self.seal.count

    def due(self, secret: bytes, turn: int, before: int) -> bool:
        """Whether a turn is to be planted, when so many were before it."""
        seal = self.seal
        if seal is None or before >= seal.count:
            return False
        return planted(secret, self._case.run, turn, seal.rate)
