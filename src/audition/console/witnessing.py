"""`audition witness` and `cosign`: checkpoints in the memory of somebody else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audition.console.runs import Json, Ledger
from audition.console.speaking import Stop, answer, plainly, say, some, tell, wait_for
from audition.extra import installing
from audition.plain import shown

if TYPE_CHECKING:
    from audition.ledger.cosignature import WitnessKey
    from audition.verify import Witnesses
    from audition.witness import TrustedLogs

LARGEST = 200_000
"""Bytes of a file with a key or a checkpoint."""


@plainly
def witness(
    memory: Annotated[
        Path, typer.Argument(help="What it remembers.", metavar="MEMORY", show_default=False)
    ],
    trust: Annotated[
        list[str],
        typer.Option(
            help="A public key whose checkpoints are taken: its file, its text, or a name in the "
            "keyring; or a .toml file of [[log]] tables with origin and keys. May be repeated.",
            metavar="KEY|FILE",
        ),
    ],
    key: Annotated[
        str, typer.Option(help="The witness's own key, in the keyring.", metavar="NAME")
    ] = "witness",
    new: Annotated[
        bool, typer.Option("--new", help="Begin a memory; otherwise it must be there.")
    ] = False,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any port that is free.", min=0, max=65535)] = 0,
) -> None:
    """Co-sign checkpoints that continue those seen before, and no others, until told to end."""
    from audition.console.keys import keyring
    from audition.witness import LogsError, Memory, MemoryLost, serve

    try:
        import uvicorn  # noqa: F401  what is missing is said before anything is made
    except ImportError:
        raise Stop(f"a witness needs {installing('serve')}") from None
    try:
        logs = _logs(trust)
        with Memory(memory, keyring().made(key), create=new) as opened:

            def ready(address: str) -> None:
                tell(str(opened.key))
                tell(address)
                say("the first line is what `audition verify --witness` takes")

            wait_for(lambda: serve(opened, logs, host=host, port=port, ready=ready, told=say))
    except (LogsError, MemoryLost) as error:
        raise Stop(str(error)) from None


@plainly
def cosign(
    ledger: Ledger,
    where: Annotated[str, typer.Option("--witness", help="Its address.", metavar="URL")],
    key: Annotated[
        str, typer.Option(help="Its key: a file, or its text.", metavar="KEY", show_default=False)
    ],
    every: Annotated[
        float | None,
        typer.Option(
            help="Go on, and ask again after so many seconds.", metavar="SECONDS", min=0.1
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Have a ledger's newest checkpoint co-signed by a witness, and keep that with it."""
    from audition.ledger import SqlLedger
    from audition.witness import Asked, Away, Refused, Witness, keep_cosigned

    asked = Asked()
    with SqlLedger.open(ledger, create=False) as opened:
        one = Witness(where, witness_key(key))
        if every is not None:
            try:
                wait_for(lambda: keep_cosigned(opened, one, asked, every, say))
            finally:
                say(
                    f"{some(asked.cosigned, 'checkpoint')} co-signed; away {asked.away} times, "
                    f"refused {asked.refused}"
                )
            return
        try:
            size = wait_for(lambda: one.cosign(opened))
        except (Away, Refused) as error:
            raise Stop(str(error)) from None
    if as_json:
        answer({"ledger": str(ledger), "cosigned": size})
    elif size is None:
        tell("co-signed already; nothing is new")
    else:
        tell(f"co-signed: {some(size, 'event')}")


def witnesses(
    keys: list[str] | None, quorum: int | None, checkpoints: list[str] | None
) -> Witnesses:
    """What `verify` is told of witnesses."""
    from audition.verify import Witnesses

    named = tuple(witness_key(one) for one in keys or ())
    files = [one for one in checkpoints or () if "://" not in one]
    if quorum is not None and not named:
        raise Stop("--quorum needs --witness KEY", code=2)
    return Witnesses(
        named,
        len(named) if quorum is None else quorum,
        tuple((f"the checkpoint in {Path(one).name}", _text(one)) for one in files),
        tuple((one, _asks(one)) for one in checkpoints or () if one not in files),
    )


def witness_key(what: str) -> WitnessKey:
    """A witness's key: its text, or a file that holds it."""
    from audition.ledger import NoteError
    from audition.ledger.cosignature import WitnessKey

    try:
        return WitnessKey.parse(_text(what) if Path(what).is_file() else what)
    except NoteError as error:
        raise Stop(f"{shown(what, 100)}: {error}") from None


def _asks(url: str) -> Callable[[str], str]:
    from audition.witness import Away, Refused, latest

    def ask(origin: str) -> str:
        try:
            return latest(url, origin)
        except (Away, Refused) as error:
            raise Stop(str(error)) from None

    return ask


def _logs(trust: list[str]) -> TrustedLogs:
    from audition.console.keys import trusted
    from audition.witness import TrustedLogs

    keys = [one for one in trust if not one.endswith(".toml")]
    logs = TrustedLogs(trusted(keys) if keys else ())
    for one in trust:
        if one.endswith(".toml"):
            logs |= TrustedLogs.read(one)
    return logs


def _text(file: str) -> str:
    with Path(file).open("rb") as opened:
        data = opened.read(LARGEST)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Stop(f"{file}: not UTF-8") from None
