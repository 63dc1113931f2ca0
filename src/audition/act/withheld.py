"""A tool whose acts are judged as ever and never performed."""

from __future__ import annotations

from audition.canonical import digest_value
from audition.step import Act, Executor, Outcome, Ticket


class Withheld:
    """Stands in the place of an executor, under its name; what it is asked for does not happen.

    Args:
        executor: whose acts are withheld.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        own = executor.schema
        withheld = digest_value({"withheld": own.setup})  # a ticket for one is none for the other
        self.schema = own.model_copy(update={"setup": withheld})

    def refuses(self, act: Act) -> str:
        """Why the arguments do not fit; empty if they do."""
        return self._executor.refuses(act)

    async def act(self, ticket: Ticket) -> Outcome:
        """Refuse."""
        return Outcome(status="refused", output="withheld: this run is for measuring the thinker")
