"""Processes that learn together come to the weights to which one comes alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import divided
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from audition.learn import LessonError
from audition.learn.language import LanguageLearner
from audition.learn.sharded import sharded
from audition.model import LocalModel
from audition.model.local import loaded
from models import _one_thread
from taught import learning_of

pytestmark = pytest.mark.usefixtures(_one_thread.__name__)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes wrote what they came to."""
    folder = tmp_path_factory.mktemp("divided")
    divided.whole("llama").save_pretrained(folder / "m")
    words = Tokenizer(WordLevel({"a": 0}, unk_token="a"))
    PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(folder / "m")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*launch, "--local_addr=127.0.0.1", divided.__file__, str(folder)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert not done.returncode, done.stderr.decode()[-3000:]
    return folder


def test_two_processes_come_to_the_weights_of_one(folder: Path) -> None:
    """To 1e-6, and to the same bits in both, over a restored checkpoint and a refusal."""
    one, other = (load_file(folder / f"learner.{rank}.safetensors") for rank in range(2))
    model = folder / "m"
    alone = LanguageLearner(loaded(LocalModel(folder="m"), model), learning_of("bnpo"), model)
    before = {name: value.clone() for name, value in alone.given.model.state_dict().items()}
    for groups in divided.UPDATES:
        alone.update(groups, float(len(groups)))
    learned = alone.given.model.state_dict()
    assert learned.keys() == one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name
        assert torch.allclose(value, learned[name], rtol=0, atol=1e-6), name
        assert not torch.equal(value, before[name]), name


def test_a_model_whose_weights_are_divided_learns_the_same(folder: Path) -> None:
    """FSDP: loss and every gradient, of one moment a process and of three, in both boundaries."""
    for rank in range(2):
        apart = load_file(folder / f"sharded.{rank}.safetensors")
        assert len(apart) > 4
        assert {name: one.item() for name, one in apart.items() if one > 1e-6} == {}


def test_what_cannot_be_divided_is_refused() -> None:
    with pytest.raises(LessonError, match="tie_word_embeddings"):
        sharded(divided.whole("gemma"))  # type: ignore[arg-type]
