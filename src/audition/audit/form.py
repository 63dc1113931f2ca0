"""The guard of form: a proposal that no executor could carry out as written is suspect."""

from __future__ import annotations

from collections.abc import Mapping

from audition.canonical import digest_value
from audition.step import (
    Act,
    Ask,
    Digest,
    Evidence,
    Executor,
    Proposal,
    Role,
    Think,
    Verdict,
    View,
    Words,
    digest_of,
)

DEEPEST = 60
"""Steps open one within another; a moment names its place in at most 400 characters."""


class Form:
    """Suspects an act whose tool is unknown or whose arguments do not fit the tool's schema.

    Every run has it: the loop puts it in front of the project's own gate.
    """

    name = "form"
    role = Role.GUARD
    sees = frozenset({Evidence.PROPOSAL})

    def __init__(self, executors: Mapping[str, Executor]) -> None:
        self._executors = dict(executors)

    def configuration(self) -> Digest:
        """Digest of the schemas, for the auditor's card."""
        schemas = {name: digest_of(one.schema) for name, one in self._executors.items()}
        return digest_value(schemas)

    async def audit(self, view: View) -> Verdict:
        """Suspicion 1 with the reason, or 0."""
        return self.judge(view)

    def judge(self, view: View) -> Verdict:
        """As `audit`, which waits for nothing."""
        assert view.proposal is not None
        wrong = self.amiss(view.proposal, view.moment.place)
        return Verdict(
            auditor=self.name,
            role=self.role,
            moment=view.moment_digest,
            score=1.0 if wrong else 0.0,
            words=Words(rationale=wrong) if wrong else None,
            saw=(Evidence.PROPOSAL,),
        )

    def amiss(self, proposal: Proposal, place: str = "1") -> str:
        """Why no executor could carry a proposal out as written; empty if one could."""
        match proposal:
            case Act(malformed=str()):
                return "its arguments are no JSON object"
            case Act(tool=tool):
                executor = self._executors.get(tool)
                if executor is None:
                    return f"no tool is called {tool[:60]!r}"
                return executor.refuses(proposal)
            case Ask() if "ask" not in self._executors:
                return "there is nobody to ask"
            case Think() if place.count(".") >= DEEPEST:
                return f"its steps stand {DEEPEST} deep; finish one first"
            case _:
                return ""
