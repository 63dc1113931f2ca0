"""A history made of what a test gives, and a box that only says what it was told to run."""

from __future__ import annotations

from collections.abc import Sequence

from audition.canonical import digest_value
from audition.step import Completed, Message, Turn


class Past:
    """A history of these entries."""

    goal = "count the words"

    def __init__(self, *entries: Message | Turn, place: str = "1", prompt: str = "") -> None:
        self.entries = entries
        self.place, self.prompt = place, prompt or self.goal
        self.turns = len(entries)
        self.previous = self.digest = digest_value(self.goal)
        for entry in entries:
            said = entry.model_dump(mode="json")
            self.previous, self.digest = self.digest, digest_value([self.digest, said])

    def __len__(self) -> int:
        return len(self.entries)

    def last(self, count: int) -> Sequence[Message | Turn]:
        return self.entries[-count:] if count else ()


class Echoes:
    """A box that says again what it is told to run."""

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"") -> Completed:
        if any("\0" in word for word in argv):
            raise ValueError("a command is one or more words without NUL")
        said = " ".join(argv).encode()
        return Completed(argv=tuple(argv), returncode=0, stdout=said, stderr=b"")
