"""A model whose weights are divided among processes (FSDP2), made ready for learning by groups.

A moment is read in one pass and followed in another, and the gradient of `text` goes back through
both. FSDP looks for one pass: it gathers a layer's weights for the way back when the gradient of
the layer's output comes, and of the last layer that reads a history there is no output, only keys
and values. So that layer keeps its weights until the moment is learned; and the embedding, whose
gradient comes last, is a unit of its own, or FSDP would have summed before it was there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from audition.learn.lessons import LessonError


def sharded(model: PreTrainedModel) -> Callable[[Tensor], None]:
    """Divide a model's weights, gradients and so the state of its optimiser among all processes.

    Every process then makes the same number of passes: give `accumulate` as many moments on each,
    none of them even, and for `moments` how many there are on all. Losses sum to that of all.

    Args:
        model: made ready by `audition.model.sharing`; it is changed in place.

    Returns:
        What `accumulate` takes as `backward`.

    Raises:
        LessonError: the model does not say what its layers are, or its embedding and its head are
            one weight, which no two units can hold.
    """
    from torch import distributed
    from torch.distributed.fsdp import fully_shard

    kinds = set(model._no_split_modules or ())
    layers: list[Any] = [one for one in model.modules() if type(one).__name__ in kinds]
    if not layers:
        raise LessonError(f"{type(model).__name__} does not say what its layers are")
    if model.all_tied_weights_keys:
        raise LessonError("tie_word_embeddings: a weight that two units share cannot be divided")
    for unit in (*layers, model.get_input_embeddings()):
        fully_shard(unit)
    fully_shard(model)
    last = layers[-1]
    last.set_reshard_after_backward(False)
    processes = distributed.get_world_size()

    def backward(loss: Tensor) -> None:
        (loss * processes).backward()  # FSDP takes the mean
        last.reshard()

    return backward
