"""Loss and gradients of one moment's candidates: ours in both boundaries against TRL's trainer.

    python benchmarks/step_grpo.py [--quick] [--json] [--device cuda] [--size 0.5B]

One moment of H history tokens with G candidates of S tokens each, the same ids for all, no KL term,
the normaliser of GRPO; each measured alternately in one process, medians of several rounds:

- TRL's `GRPOTrainer`: its own loss, then `backward`;
- ours, boundary `text`: the same loss and the same gradient (a test holds them equal);
- ours, boundary `state`: the history is read without gradient.

And generation: G candidates of a history of 2,000 tokens, sampled together over one reading of it,
against transformers' `generate`, a candidate at a time; and how far the log-probabilities that are
told lie from those of a usual pass over the same ids.

The floor is counted: the floating-point operations of the products of matrices that each cannot do
without, forward and backward, attention included (`counted`); the ratio of counts is what a machine
that wastes nothing would show. What TRL takes beyond its count is what the usual pass wastes.

The model is a Llama of 3.7 million parameters in float32 on two threads (`--size 0.5B --device
cuda`: one of half a billion in bfloat16, H = 8,192, S = 512, G = 16). Without --quick the curve
over H and G is walked, and the peak of memory beyond the model's own is told, each in a fresh
process.

TRL takes `pip install 'audition[learn]'`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ["HF_HUB_OFFLINE"] = "1"  # no look for a model's card: nothing leaves this machine

import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

from audition.learn.step_grpo import Group, Objective, accumulate
from audition.model.sampling import sample
from audition.model.sharing import read, sharing

SMALL = {
    "vocab_size": 1024,
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
}
LARGE = {
    "vocab_size": 151_936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
}
SYSTEMS = ("trl", "text", "state")


class Case(NamedTuple):
    """How large a moment is."""

    history: int
    candidates: int
    step: int


QUICK = Case(1024, 8, 64)
CURVE = tuple(Case(h, 8, 64) for h in (256, 512, 1024, 2048, 4096, 8192)) + tuple(
    Case(1024, g, 64) for g in (2, 4, 16, 32)
)
CARD = Case(8192, 16, 512)
WRITTEN = Case(2000, 8, 64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="H = 1,024 alone, under 50 s")
    parser.add_argument("--json", action="store_true", help="one object and nothing else")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda")
    parser.add_argument("--size", choices=["small", "0.5B"], default="small")
    parser.add_argument("--rounds", type=int, default=0, help="how often; 0: as suits the size")
    parser.add_argument("--peak", help="of one system and case (`trl,1024,8,64`), in MB")
    given = parser.parse_args()
    torch.set_num_threads(2)
    large = given.size == "0.5B"
    cases = (CARD,) if large else (QUICK,) if given.quick else CURVE
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bench = Bench(Path(folder), LARGE if large else SMALL, given.device)
        if given.peak:
            system, *numbers = given.peak.split(",")
            print(bench.peak(system, Case(*map(int, numbers))))
            return
        generation = bench.generation(WRITTEN, 1 if given.quick else 3)
        rows = [bench.measured(case, given.rounds or _rounds(case, given.quick)) for case in cases]
    how = ["--device", given.device, "--size", given.size]
    for case, row in zip(cases, rows, strict=True):
        row["peak_mb"] = {} if given.quick else {one: _peak(one, case, how) for one in SYSTEMS}
    first = next((row for row in rows if row["history"] == 1024), rows[0])
    figures = {
        "ratio": first["ratio"],
        "generation": generation,
        "rows": rows,
        "parameters": bench.parameters,
        "device": given.device,
        "threads": torch.get_num_threads(),
        "seconds": round(time.monotonic() - begun, 1),
    }
    print(json.dumps(figures) if given.json else table(figures))


class Bench:
    """The model, and TRL's trainer of it."""

    def __init__(self, folder: Path, size: dict[str, Any], device: str) -> None:
        torch.manual_seed(0)
        self._config = LlamaConfig(**size, max_position_embeddings=16_384)
        self._model = LlamaForCausalLM(self._config)
        if device != "cpu":
            self._model = self._model.to(device, torch.bfloat16)
        self.parameters = sum(one.numel() for one in self._model.parameters())
        words = Tokenizer(WordLevel({"a": 0, "b": 1}, unk_token="a"))
        self._trainer = GRPOTrainer(
            model=self._model,
            reward_funcs=lambda **given: [0.0] * len(given["prompts"]),
            args=GRPOConfig(
                output_dir=str(folder),
                per_device_train_batch_size=8,
                num_generations=8,
                loss_type="grpo",
                report_to=[],
                use_cpu=device == "cpu",
                bf16=device != "cpu",
                gradient_checkpointing=False,
            ),
            train_dataset=Dataset.from_dict({"prompt": ["a"] * 8}),
            processing_class=PreTrainedTokenizerFast(
                tokenizer_object=words, pad_token="a", eos_token="b"
            ),
        )
        self._trainer.current_gradient_accumulation_steps = 1

    def peak(self, system: str, case: Case) -> int:
        """The most memory that one moment takes beyond what stood there before, in MB."""
        self.run(system, Case(16, 2, 4))
        if self._model.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            self.run(system, case)
            return round((torch.cuda.max_memory_allocated() - before) / 1e6)
        Path("/proc/self/clear_refs").write_text("5")  # the peak is as low as what is held now
        before = _resident()
        self.run(system, case)
        return round((_resident() - before) / 1e6)

    def measured(self, case: Case, rounds: int) -> dict[str, Any]:
        """One case, all systems in turn."""
        seconds: dict[str, list[float]] = {name: [] for name in SYSTEMS}
        for number in range(rounds + 1):
            for name in SYSTEMS:
                taken = self.run(name, case)
                if number:  # the first warms up
                    seconds[name].append(taken)
        medians = {name: statistics.median(times) for name, times in seconds.items()}
        counts = {name: counted(self._config, case, name) for name in SYSTEMS}
        print(f"{case}: {medians}", file=sys.stderr)
        return case._asdict() | {
            "seconds": {name: round(one, 4) for name, one in medians.items()},
            "ratio": {
                name: round(
                    statistics.median(
                        theirs / ours
                        for theirs, ours in zip(seconds["trl"], seconds[name], strict=True)
                    ),
                    2,
                )
                for name in ("text", "state")
            },
            "counted": {name: round(counts["trl"] / counts[name], 2) for name in ("text", "state")},
            "gflop": {name: round(one / 1e9, 1) for name, one in counts.items()},
            "gflop_per_second": {
                name: round(counts[name] / medians[name] / 1e9) for name in counts
            },
        }

    def generation(self, case: Case, rounds: int) -> dict[str, Any]:
        """Sampling, together and a candidate at a time, and how exact what is told of it is."""
        model = sharing(self._model).eval()
        chance = torch.Generator().manual_seed(0)
        history = torch.randint(2, self._config.vocab_size, (case.history,), generator=chance)
        history = history.to(model.device)
        seconds: dict[str, list[float]] = {"alone": [], "shared": []}
        apart = 0.0
        with torch.no_grad():
            for _ in range(rounds):
                begun = time.perf_counter()
                for _ in range(case.candidates):
                    model.generate(
                        history[None],
                        attention_mask=torch.ones_like(history[None]),
                        do_sample=True,
                        min_new_tokens=case.step,
                        max_new_tokens=case.step,
                        pad_token_id=0,
                    )
                seconds["alone"].append(time.perf_counter() - begun)
                begun = time.perf_counter()
                past = read(model, [history[:-1]])
                written = sample(
                    model,
                    past,
                    history[-1:],
                    [0] * case.candidates,
                    torch.rand(case.candidates, case.step),
                    ends=(),
                )
                seconds["shared"].append(time.perf_counter() - begun)
            for one in written:
                whole = torch.cat((history, one.ids.to(history)))[None]
                logits = model(whole, logits_to_keep=case.step + 1).logits[0, :-1].float().cpu()
                logps = logits.log_softmax(-1).gather(1, one.ids[:, None])[:, 0]
                apart = max(apart, (logps - one.logps).abs().max().item())
        pairs = zip(seconds["alone"], seconds["shared"], strict=True)
        ratio = statistics.median(alone / shared for alone, shared in pairs)
        medians = {name: round(statistics.median(one), 3) for name, one in seconds.items()}
        return case._asdict() | {"seconds": medians, "ratio": round(ratio, 2), "apart": apart}

    def run(self, system: str, case: Case) -> float:
        """Loss and gradients of one moment, and the seconds that it took."""
        chance = torch.Generator().manual_seed(0)
        words = self._config.vocab_size
        history = torch.randint(2, words, (case.history,), generator=chance)
        texts = torch.randint(2, words, (case.candidates, case.step), generator=chance)
        approval = torch.rand(case.candidates, generator=chance)
        begun = time.perf_counter()
        if system == "trl":
            self._theirs(history, texts, approval)
        else:
            group = Group(history, tuple(texts), None, tuple(approval.tolist()))
            objective = Objective(boundary=system, normaliser="grpo")  # type: ignore[arg-type]
            accumulate(sharing(self._model).train(), [group], objective)
        if self._model.device.type == "cuda":
            torch.cuda.synchronize()
        taken = time.perf_counter() - begun
        self._model.zero_grad()
        return taken

    def _theirs(self, history: torch.Tensor, texts: torch.Tensor, approval: torch.Tensor) -> None:
        self._model.set_attn_implementation("sdpa")
        above = approval - approval.mean()
        prompts = history.expand(len(texts), -1)
        inputs = {
            "prompt_ids": prompts,
            "prompt_mask": torch.ones_like(prompts),
            "completion_ids": texts,
            "completion_mask": torch.ones_like(texts),
            "advantages": above / (above.std() + 1e-4),
            "num_items_in_batch": torch.tensor(texts.numel()),
        }
        inputs = {name: one.to(self._model.device) for name, one in inputs.items()}
        self._trainer._compute_loss(self._model.train(), inputs).backward()


def counted(config: LlamaConfig, case: Case, system: str) -> float:
    """Floating-point operations of the products of matrices, forward and backward.

    A product of n rows with a matrix of m weights takes 2nm forward and 4nm backward; attention of
    a query to a key takes 4d forward (d: width of all heads together) and 10d backward, of which 6d
    where keys and values take no gradient. Of the last layer only keys and values of a history are
    needed, if it is read for them alone.
    """
    width, layers = config.hidden_size, config.num_hidden_layers
    kv = width * config.num_key_value_heads // config.num_attention_heads
    inner = 2 * width**2 + 3 * width * config.intermediate_size
    layer = inner + 2 * width * kv
    history, count, step = case
    heads = 2 * 3 * count * step * width * config.vocab_size

    def attention(queries: float, keys: float, backward: float = 10) -> float:
        return (4 + backward) * width * queries * keys

    if system == "trl":
        tokens = history + step
        one = 6 * tokens * layer + attention(tokens, tokens / 2)
        return count * layers * one + heads
    steps = count * step
    own = 6 * steps * layer + attention(steps, step / 2)
    if system == "text":
        read = (layers - 1) * (6 * history * layer + attention(history, history / 2))
        read += 6 * history * 2 * width * kv
        return read + layers * (own + attention(steps, history)) + heads
    read = (layers - 1) * (2 * history * layer + attention(history, history / 2, 0))
    read += 2 * history * 2 * width * kv
    return read + layers * (own + attention(steps, history, 6)) + heads


def table(figures: dict[str, Any]) -> str:
    """The figures for people."""
    lines = [
        "| H | G | S | TRL s | text s | state s | text | state | counted text | counted state "
        "| peak MB: TRL | text | state |",
        "|" + "---|" * 13,
    ]
    for row in figures["rows"]:
        seconds, peak = row["seconds"], row["peak_mb"]
        lines.append(
            f"| {row['history']} | {row['candidates']} | {row['step']} | {seconds['trl']} "
            f"| {seconds['text']} | {seconds['state']} | {row['ratio']['text']} × "
            f"| {row['ratio']['state']} × | {row['counted']['text']} × "
            f"| {row['counted']['state']} × | "
            + " | ".join(str(peak.get(one, "–")) for one in SYSTEMS)
            + " |"
        )
    wrote = figures["generation"]
    lines.append(
        f"\ngeneration: {wrote['candidates']} candidates of {wrote['history']} tokens together in "
        f"{wrote['seconds']['shared']} s, one at a time in {wrote['seconds']['alone']} s: "
        f"{wrote['ratio']} ×; log-probabilities {wrote['apart']:.1e} apart"
    )
    lines.append(f"\n{figures['parameters']} parameters, {figures['seconds']} s in all")
    return "\n".join(lines)


def _rounds(case: Case, quick: bool) -> int:
    return 3 if quick or case.history * case.candidates <= 8192 else 1


def _peak(system: str, case: Case, how: Sequence[str]) -> int:
    """Its peak of memory, in a process of its own."""
    named = ",".join([system, *map(str, case)])
    arguments = [sys.executable, __file__, "--peak", named, *how]
    return int(subprocess.run(arguments, capture_output=True, check=True, text=True).stdout)


def _resident() -> int:
    """The most memory that this process held since its peak was forgotten, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


if __name__ == "__main__":
    main()
