"""What may pass: gates, the secret draw."""

from audition.gate.draw import draw, draw_rows, new_secret, planted, run_secret
from audition.gate.gates import (
    GATES,
    GateError,
    bars,
    build,
    named,
    person,
    rate,
    red_lines,
    sampled,
    sequential,
    spec,
    strictest,
    threshold,
)
from audition.gate.keys import Keys, approves, keys, keys_asked, must_sign, signers

__all__ = [
    "GATES",
    "GateError",
    "Keys",
    "approves",
    "bars",
    "build",
    "draw",
    "draw_rows",
    "keys",
    "keys_asked",
    "must_sign",
    "named",
    "new_secret",
    "person",
    "planted",
    "rate",
    "red_lines",
    "run_secret",
    "sampled",
    "sequential",
    "signers",
    "spec",
    "strictest",
    "threshold",
]
