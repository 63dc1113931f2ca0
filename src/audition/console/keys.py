"""`audition keys`, and the keys that other commands use."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated

import typer

from audition.console.runs import Json, Ledger
from audition.console.speaking import Stop, answer, command, plainly, say, tell, wait_for
from audition.plain import shown

if TYPE_CHECKING:
    from audition.ledger import Keyring, PrivateKey, PublicKey

Name = Annotated[str, typer.Argument(help="The key's name.", metavar="NAME", show_default=False)]

LEDGER = "ledger"
"""Name of the key that signs checkpoints; the first command that writes a ledger makes it."""

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Signing keys and whom to trust."
)


@app.command("new")
@plainly
def new(name: Name) -> None:
    """Make a signing key."""
    ring = keyring()
    public = ring.new(name)
    say(f"wrote {ring.path(name)}, which signs and stays yours")
    say(f"wrote {ring.path(name, public=True)}, the public half, for others:")
    print(public)


@app.command("list")
@plainly
def listed(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List the public keys, and which of them can sign here."""
    ring = keyring()
    keys = ring.list()
    if as_json:
        found = [{"name": key.name, "key": str(key), "signs": ring.holds(key.name)} for key in keys]
        answer({"folder": str(ring.folder), "keys": found})
        return
    for key in keys:
        tell(f"{key}  {'signs here' if ring.holds(key.name) else 'public half only'}")
    if not keys:
        tell(f"no keys in {ring.folder}; `audition keys new NAME` makes one")


@app.command("enroll")
@plainly
def enroll(
    ledger: Ledger,
    name: Name,
    public: Annotated[
        str,
        typer.Argument(
            help="The public half: a file, its text, or a name in the keyring.",
            metavar="PUBKEY-FILE",
            show_default=False,
        ),
    ],
    person: Annotated[
        str, typer.Option(help="Whose key it is, as gates name the person.", metavar="PERSON")
    ],
) -> None:
    """Let a person sign off with this key, in this ledger; a key held before is revoked."""
    from audition.ledger import SqlLedger, enrol

    key = keyring().trusted(public)
    if key.name != name:
        raise Stop(f"{public}: holds the key of {key.name!r}; enrol it under that name")
    operator = signer()
    with SqlLedger.open(ledger, signer=operator) as opened:
        held = wait_for(lambda: enrol(opened, key, person, operator))
    if held is not None:
        tell(f"revoked {held.id}: a person holds one key at a time")
    tell(f"enrolled {key.id} for {shown(person, 200)}")


@app.command("revoke")
@plainly
def revoke(ledger: Ledger, name: Name) -> None:
    """Revoke an enrolled key at once; approvals under it that were not used yet count no more."""
    from audition.ledger import SqlLedger
    from audition.ledger import revoke as record

    operator = signer()
    with SqlLedger.open(ledger, create=False, signer=operator) as opened:
        gone = wait_for(lambda: record(opened, name, operator))
    tell(f"revoked {shown(name, 200)}, the key of {shown(gone.person, 200)}")


@app.command("enrolled")
@plainly
def enrolled(ledger: Ledger, as_json: Json = False) -> None:
    """List whose keys may sign off in a ledger, and who enrolled them."""
    from audition.ledger import SqlLedger, read_register

    with SqlLedger.open(ledger, create=False) as opened:
        register = read_register(opened)
    if as_json:
        active = [{"person": one.person, "key": one.key} for one in register.active.values()]
        revoked = [{"person": one.person, "key": one.key} for one in register.revoked.values()]
        answer({"operator": register.signed_by, "active": active, "revoked": revoked})
        return
    for one in register.active.values():
        tell(f"{shown(one.person, 200)}: {shown(one.key, 400)}")
    for one in register.revoked.values():
        tell(f"{shown(one.person, 200)}: {shown(one.key, 400)}, revoked")
    if not register.length:
        tell(f"no keys; {command('keys', 'enroll', ledger)} NAME PUBKEY-FILE --person PERSON")


def keyring() -> Keyring:
    """The user's keyring: `$AUDITION_HOME/keys`, or the configuration folder."""
    from audition.ledger import Keyring

    return Keyring()


def signer() -> PrivateKey:
    """The key that signs checkpoints, made at its first use."""
    ring = keyring()
    known = ring.holds(LEDGER)
    key = ring.made(LEDGER)
    if not known:
        say(f"made the key {key.public.id} in {ring.folder}; it signs this and later ledgers")
    return key


def signer_or_none(name: str) -> PrivateKey | None:
    """A person's key, if the person has one here."""
    ring = keyring()
    return ring.signer(name) if ring.holds(name) else None


def trusted(named: list[str] | None = None) -> list[PublicKey]:
    """The keys that are named, or all public keys of the keyring."""
    ring = keyring()
    return [ring.trusted(one) for one in named] if named else ring.list()


def draw_secret() -> bytes:
    """From which each run's lottery secret follows: known to whoever holds the signing key."""
    return hashlib.sha256(signer().sign(b"audition/draw/1")).digest()
