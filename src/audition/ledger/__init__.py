"""Memory: append-only, hash-covered, signed."""

from audition.ledger.database import LedgerError, on_server
from audition.ledger.events import BODIES, FORMAT, EventError, Source, json_schema, parse_event
from audition.ledger.exchange import export, import_
from audition.ledger.journal import Journal, text
from audition.ledger.keys import Keyring, KeyringError
from audition.ledger.migrating import migrate
from audition.ledger.note import Checkpoint, NoteError, PrivateKey, PublicKey, read_checkpoint
from audition.ledger.register import Register, RegisterError, enrol, read_register, revoke
from audition.ledger.store import Conflict, LetGo, Redacted, SqlLedger, content_name

__all__ = [
    "BODIES",
    "FORMAT",
    "Checkpoint",
    "Conflict",
    "EventError",
    "Journal",
    "Keyring",
    "KeyringError",
    "LedgerError",
    "LetGo",
    "NoteError",
    "PrivateKey",
    "PublicKey",
    "Redacted",
    "Register",
    "RegisterError",
    "Source",
    "SqlLedger",
    "content_name",
    "enrol",
    "export",
    "import_",
    "json_schema",
    "migrate",
    "on_server",
    "parse_event",
    "read_checkpoint",
    "read_register",
    "revoke",
    "text",
]
