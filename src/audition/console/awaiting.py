"""Who is awaited, how far a sign-off has come, and who cannot sign yet and what would mend it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from audition.console.speaking import command
from audition.plain import shown

if TYPE_CHECKING:
    from audition.ledger import SqlLedger
    from audition.waiting import Signing, Waiting


def whom(found: Sequence[Waiting]) -> str:
    """Everybody who is awaited, by name; nobody in particular where an act has no outcome."""
    *others, last = dict.fromkeys(
        "a word on an act that has begun and has no outcome"
        if one.for_whom == "settle"
        else shown(one.for_whom, 100)
        for one in found
    )
    return f"{', '.join(others)} and {last}" if others else last


def signings(found: Sequence[Waiting]) -> Iterator[str]:
    """A line for each sign-off that has not come to its end."""
    for signing in dict.fromkeys(one.signing for one in found):
        if signing is not None:
            yield how_far(signing)


def how_far(signing: Signing) -> str:
    """How many must sign, and how many did."""
    signed = f" ({', '.join(shown(one, 100) for one in signing.signed)})" if signing.signed else ""
    return (
        f"{signing.needs} of {len(signing.asked)} asked must sign, {len(signing.signed)} did"
        f"{signed}, {signing.missing} more {'is' if signing.missing == 1 else 'are'} needed"
    )


def keyless(ledger: SqlLedger, where: str, found: Sequence[Waiting]) -> Iterator[str]:
    """A line for each who is asked for a key and has none, with the commands that mend it."""
    from audition.console.keys import keyring
    from audition.ledger import read_register

    asked = dict.fromkeys(one.for_whom for one in found if one.signing is not None)
    if not asked:
        return
    register = read_register(ledger)
    for name in asked:
        if name not in register.active:
            before = sum(one.person == name for one in register.revoked.values())
            key = f"{name}-{before + 1}" if before else name  # what was revoked never comes back
            made = keyring().holds(key)  # to make it again would fail, and leave an empty file
            make = f"{command('keys', 'new', key)} > {shlex.quote(f'{key}.pub')} && "
            half = key if made else f"{key}.pub"
            enrol = command("keys", "enroll", where, key, half, "--person", name)
            yield f"{shown(name, 100)} has no enrolled key: {'' if made else make}{enrol}"
