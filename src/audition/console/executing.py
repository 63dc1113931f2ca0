"""`audition executor`: executors under a user of their own, who alone holds the credentials."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audition.console.speaking import Stop, plainly, say, tell, wait_for
from audition.plain import shown


@plainly
def executor(
    file: Annotated[
        Path, typer.Argument(help="The executors.", metavar="EXECUTORS", show_default=False)
    ],
    where: Annotated[
        Path, typer.Option("--socket", help="The Unix socket to make.", metavar="PATH")
    ],
    ledger: Annotated[
        str, typer.Option(help="The ledger of the runs that are served.", metavar="LEDGER")
    ],
    trust: Annotated[
        list[str] | None,
        typer.Option(
            help="A public key whose runs are served: a file, its text, or a name in the keyring; "
            "may be repeated. Without it: every key of the keyring.",
            metavar="KEY",
        ),
    ] = None,
) -> None:
    """Perform what runs in other processes were permitted, each act once, until told to end."""
    from audition.act import Redemptions, SetupError, alone, serve
    from audition.act.offering import offered
    from audition.console.keys import trusted
    from audition.step import digest_of

    keys = trusted(trust)
    if not keys:
        raise Stop("no key to trust; name one with --trust, or put it into the keyring")
    try:
        with alone(file):
            offer = offered(file)
            redemptions = Redemptions(ledger, keys)

            def ready() -> None:
                tell("[tools.remote.tools]")
                for name, one in offer.executors.items():
                    tell(f'{name} = "{digest_of(one.schema)}"')
                say(f"performs at {shown(str(where), 300)}; the project pins the lines above")

            wait_for(
                lambda: serve(
                    offer.executors,
                    redemptions,
                    where,
                    callers=offer.callers,
                    group=offer.group,
                    ready=ready,
                )
            )
    except SetupError as error:
        raise Stop(str(error)) from None
