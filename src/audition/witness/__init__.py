"""The witness: a server that keeps checkpoints and co-signs what continues them, and its client."""

from audition.witness.asking import (
    Asked,
    Away,
    Refused,
    Witness,
    ask,
    cosigning,
    keep_cosigned,
    latest,
)
from audition.witness.logs import LogsError, TrustedLogs
from audition.witness.memory import Memory, MemoryLost
from audition.witness.serving import application, serve

__all__ = [
    "Asked",
    "Away",
    "LogsError",
    "Memory",
    "MemoryLost",
    "Refused",
    "TrustedLogs",
    "Witness",
    "application",
    "ask",
    "cosigning",
    "keep_cosigned",
    "latest",
    "serve",
]
