"""How commands speak.

Results go to standard output; progress, questions and errors to standard error. With `--json`,
standard output carries one object and nothing else.
"""

from __future__ import annotations

import functools
import shlex
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from audition.plain import inert, shown

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Stop(Exception):
    """Ends a command with one line and an exit code.

    Args:
        line: what to say; empty for nothing.
        code: 1 the input or the world stood in the way, 2 wrong usage.
    """

    def __init__(self, line: str = "", code: int = 1) -> None:
        super().__init__(line)
        self.line = line
        self.code = code


def say(line: str = "") -> None:
    """A line on the way: progress, a question, what went wrong. Never cut.

    What of it is untrusted has passed `shown`; here nothing is named twice.
    """
    print(inert(line), file=sys.stderr, flush=True)


def tell(line: str = "") -> None:
    """A line of the result, as `say` takes it."""
    print(inert(line), flush=True)


def margined(text: str) -> Iterator[str]:
    """Untrusted text in full, each of its lines behind a margin that it cannot leave."""
    for line in shown(text, len(text), lines=True).split("\n"):
        yield f"  | {line}"


def some(number: int, what: str) -> str:
    """A number of things, as in `1 run`, `2 runs`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def command(*words: object) -> str:
    """A command line that a shell takes as it is meant, whatever the words hold."""
    return shlex.join(["audition", *map(str, words)])


def answer(value: Any) -> None:
    """The one JSON object on standard output."""
    print(as_json(value), flush=True)


def as_json(value: Any) -> str:
    """A value on one line."""
    import json

    from audition.canonical import canonical

    try:  # unlike faster writers, this one takes lone surrogates and integers of any size
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError):  # it holds what JSON has no word for: an infinity, bytes
        return canonical(value).decode()


def plainly(carry: Callable[_P, _R]) -> Callable[_P, _R]:
    """Turn what goes wrong outside the program into one line; leave its own faults visible."""

    @functools.wraps(carry)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return carry(*args, **kwargs)
        except BrokenPipeError:  # nobody reads any more
            raise
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise Stop(_one_line(f"{where}{error.strerror or error}")) from None
        except BaseExceptionGroup as group:
            raise Stop(_one_line(str(_innermost(group)))) from None
        except _expected() as error:
            raise Stop(_one_line(str(error))) from None

    return wrapped


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on the terminal, told how many of `total` are done; nothing where nobody watches."""
    if not sys.stderr.isatty() or not total:
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(what, total=total)
        yield lambda done: bars.update(task, completed=done)


def wait_for(work: Callable[[], Awaitable[_R]]) -> _R:
    """Run asynchronous work to its end."""
    import anyio

    async def body() -> _R:
        return await work()

    return anyio.run(body)


def _expected() -> tuple[type[Exception], ...]:
    """What may go wrong outside the program; imported when something has."""
    from audition.act import Refused, SetupError
    from audition.audit import Left, RulesError, TrainedError
    from audition.box import BoxError, BoxRefused, BoxUnavailable, LibraryError
    from audition.learn import BatchError, Forbidden, LessonError, PlanError
    from audition.ledger import EventError, LedgerError, NoteError
    from audition.loop import OtherProject
    from audition.model import ModelError
    from audition.project import ProjectError
    from audition.records import RecordError
    from audition.verify import CertificateError
    from audition.waiting import NotWaiting

    return (
        BatchError,
        BoxError,
        BoxRefused,
        BoxUnavailable,
        CertificateError,
        EventError,
        Forbidden,
        LedgerError,
        Left,
        LessonError,
        ModelError,
        LibraryError,
        NoteError,
        NotWaiting,
        OtherProject,
        PlanError,
        ProjectError,
        RecordError,
        Refused,
        RulesError,
        SetupError,
        TrainedError,
    )


def _one_line(text: str) -> str:
    line = inert(" ".join(text.split()))
    return line if len(line) <= 600 else f"{line[:600]} …"


def _innermost(group: BaseExceptionGroup[Any]) -> BaseException:
    first = group.exceptions[0]
    return _innermost(first) if isinstance(first, BaseExceptionGroup) else first
