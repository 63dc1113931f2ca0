"""Two processes that learn together, `divided.py FOLDER`, as a launcher begins them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import distributed

sys.path.insert(0, str(Path(__file__).parent.parent))
torch.set_num_threads(1)

from audition.learn.lessons import LessonError  # noqa: E402
from audition.learn.sharded import sharded  # noqa: E402
from audition.learn.step_grpo import Group, Objective, accumulate  # noqa: E402
from audition.learn.with_accelerate import DividedLearner, joined  # noqa: E402
from audition.model import LocalModel  # noqa: E402
from audition.model.local import loaded  # noqa: E402
from audition.model.sharing import sharing  # noqa: E402
from models import KINDS, WORDS  # noqa: E402
from taught import learning_of  # noqa: E402


def group(seed: int, even: bool = False) -> Group:
    """A moment of random tokens."""
    chance = torch.Generator().manual_seed(seed)
    texts = [torch.randint(0, WORDS, (size,), generator=chance) for size in (9, 3, 5)]
    return Group(texts[0], tuple(texts[1:]), None, approval=(0.5, 0.5 if even else 1.0))


UPDATES = [
    [group(0), group(1), group(2)],
    [group(3)],
    [group(4, even=True), group(5)],
]
"""Of one moment each has a part, of one alone the second process has none."""


def whole(kind: str) -> torch.nn.Module:
    """A model with the same weights in every process."""
    torch.manual_seed(0)
    return sharing(KINDS[kind]()).eval()


def learner(folder: Path) -> None:
    accelerator = joined(cpu=True)
    rank = accelerator.process_index
    model = folder / "m"
    made = DividedLearner(
        loaded(LocalModel(folder="m"), model), learning_of("bnpo"), model, accelerator
    )
    with made.leading() as leads:
        if leads:
            digest = made.save(folder / "begun")
            for groups in UPDATES:
                made.update(groups, float(len(groups)))
            first = made._moments()
            made.restore(folder / "begun", digest)
            for groups in UPDATES:
                made.update(groups, float(len(groups)))
            assert all(torch.equal(one, made._moments()[name]) for name, one in first.items())
            bad = Group(torch.tensor([1]), (torch.tensor([2]), torch.tensor([WORDS])), None, (0, 1))
            with pytest.raises(LessonError, match="knows"):  # as the second process found
                made.update([group(0), bad], 2.0)
    state = {name: one.contiguous() for name, one in made.given.model.state_dict().items()}
    save_file(state, folder / f"learner.{rank}.safetensors")


def split(folder: Path) -> None:
    rank, found = distributed.get_rank(), {}
    groups = [group(number) for number in range(6)]
    for boundary in ("text", "state"):
        for count in (2, 6):
            objective = Objective(boundary=boundary, normaliser="grpo")
            plain, parts = whole("llama"), whole("llama")
            told = accumulate(plain, groups[:count], objective)
            backward = sharded(parts)
            mine = groups[rank:count:2]
            part = accumulate(parts, mine, objective, moments=count, backward=backward)
            loss = torch.tensor(part.loss)
            distributed.all_reduce(loss)
            name = f"{boundary}.{count}"
            found[f"{name}.loss"] = (loss - told.loss).abs()
            wants = dict(plain.named_parameters())
            for key, one in parts.named_parameters():
                assert one.to_local().numel() < one.numel()
                found[f"{name}.{key}"] = (one.grad.full_tensor() - wants[key].grad).abs().max()
    save_file(found, folder / f"sharded.{rank}.safetensors")


if __name__ == "__main__":
    learner(Path(sys.argv[1]))
    split(Path(sys.argv[1]))
    distributed.destroy_process_group()
