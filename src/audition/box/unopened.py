"""A box whose state is known, opened when something is first done in it.

Many a thought touches nothing in its box, and opening one costs more than all else in a short step.
Whoever thinks in it cannot tell: what is in it is the same, and so is what it answers.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence

from audition.box.config import BoxConfig, BoxRefused
from audition.box.confined import Box
from audition.box.opening import open_box
from audition.step import Completed, Digest, Snapshot


@contextlib.asynccontextmanager
async def unopened(config: BoxConfig, saved: bytes, state: Digest) -> AsyncGenerator[Unopened]:
    """A box that is opened in a saved state, if at all; it ends when this does.

    Args:
        config: what binds it.
        saved: the state, as `save` returned it.
        state: digest of that state.
    """
    async with contextlib.AsyncExitStack() as stack:
        yield Unopened(config, saved, state, stack)


class Unopened:
    """The box; what needs no more than its digest or its saved state does not open it.

    What opening raises is raised by whatever needed it; see `open_box`.
    """

    def __init__(
        self, config: BoxConfig, saved: bytes, state: Digest, stack: contextlib.AsyncExitStack
    ) -> None:
        self._config = config
        self._saved = saved
        self._state = state
        self._stack = stack
        self._box: Box | None = None

    async def run(self, argv: Sequence[str], *, stdin: bytes = b"") -> Completed:
        """Run a command inside."""
        return await (await self._opened()).run(argv, stdin=stdin)

    async def snapshot(self) -> Snapshot:
        """Freeze the present state."""
        return await (await self._opened()).snapshot()

    async def digest(self) -> Digest:
        """Digest of the workspace's contents."""
        return self._state if self._box is None else await self._box.digest()

    async def save(self) -> bytes:
        """The workspace as bytes."""
        return self._saved if self._box is None else await self._box.save()

    async def _opened(self) -> Box:
        """The box itself.

        Raises:
            BoxRefused: it opened in another state than it was left in.
        """
        if self._box is None:
            box = await self._stack.enter_async_context(open_box(self._config, saved=self._saved))
            if (found := await box.digest()) != self._state:
                raise BoxRefused(
                    f"the box was rebuilt as {found[:12]}…, but it was left as "
                    f"{self._state[:12]}…; the saved state was altered, see `audition verify`"
                )
            self._box = box
        return self._box
