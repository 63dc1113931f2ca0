"""The gate as a peer's node has it: the same rule and the same signature, without our package.

What is proposed is one line of text. A rule decides about it, or a reviewer, whose verdict is
signed with Ed25519 over proposal and score and checked before it counts.
"""

from __future__ import annotations

import json
import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

FORBIDDEN = r"\.sh$"
"""What the rule stops."""

_RULE = re.compile(FORBIDDEN)


def proposal(run: str, turn: int) -> str:
    """What is proposed, as text."""
    return json.dumps({"tool": "note", "text": f"{run}.{turn}"}, sort_keys=True)


def judged(proposed: str) -> str:
    """What the rule decides."""
    return "reject" if _RULE.search(proposed) else "proceed"


class Reviewer:
    """Somebody who approves what is proposed, under a key of their own."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self._public = self._key.public_key()

    def verdict(self, proposed: str) -> dict[str, str]:
        """An approval of this proposal, signed."""
        return {"score": "1", "signature": self._key.sign(_said(proposed, "1")).hex()}

    def decides(self, proposed: str, verdict: dict[str, str]) -> str:
        """What comes of a verdict: without a signature that holds, nothing passes."""
        try:
            said = _said(proposed, verdict["score"])
            self._public.verify(bytes.fromhex(verdict["signature"]), said)
        except InvalidSignature:
            return "reject"
        return "proceed" if verdict["score"] == "1" else "reject"


def _said(proposed: str, score: str) -> bytes:
    return json.dumps([proposed, score]).encode()
