"""What may pass: gates, the secret draw."""

from audition.gate.draw import draw, draw_rows, new_secret, run_secret
from audition.gate.gates import (
    GateError,
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

__all__ = [
    "GateError",
    "build",
    "draw",
    "draw_rows",
    "named",
    "new_secret",
    "person",
    "rate",
    "red_lines",
    "run_secret",
    "sampled",
    "sequential",
    "spec",
    "strictest",
    "threshold",
]
