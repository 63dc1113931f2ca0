"""Memory of training by groups, counted: what fits on how many cards.

    python benchmarks/memory.py [--json] [--check]

For models of 0.5, 8 and 70 billion parameters (the published shapes of Qwen2.5-0.5B, Llama-3.1-8B
and Llama-3.1-70B) in bfloat16, a moment of H history tokens with G candidates of S tokens. Counted
in bytes, told in GB of 10^9:

- held: weights, their gradients, and AdamW's two moments, each in the precision of the weights; of
  LoRA, the weights and all three of the adapters alone;
- the keys and values of the history, once for all candidates, and G times without sharing;
- activations that the way back needs: of each layer what its products read, or with checkpointing
  its input alone and one layer's worth while it is computed again; in `text` of the history too, in
  `state` of the candidates alone;
- logits of the candidates in bfloat16, in float32, and twice more for their gradient.

It is an estimate: what a product needs while it is computed, what libraries take for themselves and
what an allocator cannot fill is left out, which is why a part of each card is left free.
`--check` holds it against the peak that `benchmarks/step_grpo.py --peak` measures for its small
model in float32, in a process of its own, for each boundary.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

CARD = 141.0
"""GB of an H200."""

LEFT = 0.75
"""Share of a card that is planned with."""


KEYS = 1024
"""Keys of a block of attention, as `audition.model.attention` has them."""


class Shape(NamedTuple):
    """A model's widths."""

    words: int
    width: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    tied: bool = False

    def layer(self) -> int:
        """Parameters of the products of one layer."""
        own = self.heads * self.head
        return self.width * (2 * own + 2 * self.kv_heads * self.head + 3 * self.inner)

    def parameters(self) -> int:
        """Of the whole model, norms and biases left out."""
        return self.layers * self.layer() + (1 if self.tied else 2) * self.words * self.width

    def adapters(self, rank: int) -> int:
        """Of LoRA on queries and values."""
        own, kv = self.heads * self.head, self.kv_heads * self.head
        return self.layers * rank * (2 * self.width + own + kv)


MODELS = {
    "0.5B": Shape(151_936, 896, 4864, 24, 14, 2, 64, tied=True),
    "8B": Shape(128_256, 4096, 14_336, 32, 32, 8, 128),
    "70B": Shape(128_256, 8192, 28_672, 80, 64, 8, 128),
}
SMALL = Shape(1024, 256, 704, 4, 4, 4, 64)
"""Of `benchmarks/step_grpo.py`."""


class Case(NamedTuple):
    """How large a moment is."""

    history: int
    candidates: int
    step: int


CASE = Case(8192, 16, 512)
CHECKED = Case(4096, 8, 64)
RANK = 16


def held(shape: Shape, rank: int = 0, size: int = 2) -> int:
    """Bytes of weights, gradients and moments; with adapters of a rank, or of all weights."""
    learned = shape.adapters(rank) if rank else shape.parameters()
    return size * (shape.parameters() + (learned if rank else 0) + 3 * learned)


def kept(shape: Shape, tokens: int, size: int = 2) -> int:
    """Bytes of the keys and values of tokens, in all layers."""
    return 2 * shape.layers * shape.kv_heads * shape.head * tokens * size


def activations(shape: Shape, tokens: int, *, again: bool, size: int = 2) -> int:
    """Bytes of what the way back needs of tokens.

    Of each of a layer's two norms its input, what it divides and what comes of it (the first two in
    float32); queries, keys and values; what attention finds, as it came and as the next product
    reads it; of the gated product its factors, the first behind its activation, and the product.
    """
    own, kv = shape.heads * shape.head, shape.kv_heads * shape.head
    norms = 2 * shape.width * (4 + 4 + size)
    layer = tokens * (norms + size * (3 * own + 2 * kv + 4 * shape.inner))
    if again:
        return shape.layers * tokens * shape.width * size + layer
    return shape.layers * layer


def logits(shape: Shape, tokens: int, size: int = 2) -> int:
    """Bytes of the logits: as they are made, in float32, and the gradient's two parts of that."""
    return tokens * shape.words * ((size if size < 4 else 0) + 3 * 4)


def moment(
    shape: Shape, case: Case, boundary: str, *, again: bool = False, size: int = 2
) -> dict[str, int]:
    """Bytes that one moment takes beyond what is held.

    `history` is its keys and values in `state`; in `text` these are activations, and it is their
    gradient. `attention` is what `state` writes out of probabilities and their gradient: blocks of
    one layer.
    """
    steps = case.candidates * case.step
    tokens = steps + (case.history if boundary == "text" else 0)
    return {
        "history": kept(shape, case.history, size),
        "attention": 3 * 4 * shape.heads * steps * KEYS if boundary == "state" else 0,
        "activations": activations(shape, tokens, again=again, size=size),
        "logits": logits(shape, steps, size),
    }


def usual(shape: Shape, case: Case, *, again: bool = False) -> dict[str, int]:
    """The same of a pass in which each candidate reads the history for itself."""
    tokens = case.candidates * (case.history + case.step)
    return {
        "history": 0,
        "activations": activations(shape, tokens, again=again),
        "logits": logits(shape, case.candidates * case.step),
    }


def cards(shape: Shape, rank: int, beside: float) -> int:
    """Cards among which the held bytes are divided, so that a moment has room beside; 0: never."""
    room = CARD * LEFT * 1e9 - beside
    return -(-held(shape, rank) // int(room)) if room > 0 else 0


def figures() -> dict[str, Any]:
    """All that the tables show."""
    models: dict[str, Any] = {}
    for name, shape in MODELS.items():
        passes = {
            "usual": usual(shape, CASE),
            "usual, checkpointing": usual(shape, CASE, again=True),
            "text": moment(shape, CASE, "text"),
            "text, checkpointing": moment(shape, CASE, "text", again=True),
            "state": moment(shape, CASE, "state"),
            "state, checkpointing": moment(shape, CASE, "state", again=True),
        }
        least = sum(passes["text, checkpointing"].values())
        models[name] = {
            "parameters": shape.parameters(),
            "held": {"full": held(shape), f"LoRA {RANK}": held(shape, RANK)},
            "keys and values": {
                "token": kept(shape, 1),
                "shared": kept(shape, CASE.history),
                "each": CASE.candidates * kept(shape, CASE.history),
            },
            "moment": {one: each | {"in all": sum(each.values())} for one, each in passes.items()},
            "cards": {"full": cards(shape, 0, least), f"LoRA {RANK}": cards(shape, RANK, least)},
        }
    return {"case": CASE._asdict(), "card": CARD, "models": models}


def table(told: dict[str, Any]) -> str:
    """The figures for people."""
    models = told["models"]
    lines = [
        "| GB | " + " | ".join(models) + " |",
        "|---|" + "---|" * len(models),
        _row("parameters, 10^9", [one["parameters"] for one in models.values()]),
    ]
    for part in ("held", "keys and values"):
        for name in models["8B"][part]:
            if name != "token":
                lines.append(_row(f"{part}: {name}", [one[part][name] for one in models.values()]))
    for name in models["8B"]["moment"]:
        for part in ("activations", "in all"):
            row = [one["moment"][name][part] for one in models.values()]
            lines.append(_row(f"{name}: {part}", row))
    for name in models["8B"]["cards"]:
        counts = " | ".join(str(one["cards"][name] or "–") for one in models.values())
        lines.append(f"| cards that hold it: {name} | {counts} |")
    size = told["case"]
    lines.append(
        f"\nH = {size['history']:,}, G = {size['candidates']}, S = {size['step']}, bfloat16; "
        f"cards of {told['card']:.0f} GB, {LEFT:.0%} of them planned with, "
        "beside a moment in `text` with checkpointing"
    )
    for name, one in models.items():
        lines.append(
            f"{name}: {one['keys and values']['token']:,} bytes of keys and values a token"
        )
    return "\n".join(lines)


def checked() -> list[dict[str, Any]]:
    """Counted and measured peaks of the small model, in MB."""
    script = Path(__file__).with_name("step_grpo.py")
    rows: list[dict[str, Any]] = []
    gradients = 4 * SMALL.parameters()
    for boundary in ("text", "state"):
        named = ",".join([boundary, *map(str, CHECKED)])
        command = [sys.executable, str(script), "--peak", named]
        out = subprocess.run(command, capture_output=True, check=True, text=True).stdout
        counted = sum(moment(SMALL, CHECKED, boundary, size=4).values()) + gradients
        rows.append({"boundary": boundary, "measured": int(out), "counted": round(counted / 1e6)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="one object and nothing else")
    parser.add_argument("--check", action="store_true", help="against the measured peak")
    given = parser.parse_args()
    told = figures() | ({"checked": checked()} if given.check else {})
    if given.json:
        print(json.dumps(told))
        return
    print(table(told))
    for one in told.get("checked", ()):
        ratio = one["measured"] / one["counted"]
        print(
            f"small model, {one['boundary']}: measured {one['measured']} MB, "
            f"counted {one['counted']} MB, {ratio:.2f} ×"
        )


def _row(name: str, values: list[int]) -> str:
    return f"| {name} | " + " | ".join(f"{one / 1e9:,.2f}" for one in values) + " |"


if __name__ == "__main__":
    main()
