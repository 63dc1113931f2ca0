"""Where a local model's chance comes from, and that what was kept changes no bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
import torch

from audition.learn.tokens import sampled
from audition.ledger import PrivateKey, SqlLedger
from audition.ledger.events import CandidatesSealed, StepThought
from audition.loop import run as carry
from audition.model import LocalModel
from audition.model.chance import seed_for, seeded
from audition.model.kept import Kept
from audition.model.local import loaded
from audition.model.sharing import sharing
from chatting import written
from models import _one_thread, ids, made
from rehearsal import bodies, no_box
from taught import SAYS, project

pytestmark = pytest.mark.usefixtures(_one_thread.__name__)


def test_the_seed_follows_from_what_is_sampled_for() -> None:
    with seeded(b"one"):
        first = seed_for(b"a"), seed_for(b"b")
    with seeded(b"one"):
        assert (seed_for(b"a"), seed_for(b"b")) == first
    with seeded(b"other"):
        assert seed_for(b"a") != first[0]
    assert first[0] != first[1]
    assert seed_for(b"a") != seed_for(b"a")  # outside of a thought, by the machine's chance


@pytest.mark.skipif(bool(no_box()), reason="no box can be opened here")
def test_a_run_samples_the_same_whoever_carries_it_and_its_candidates_differ(
    tmp_path: Path,
) -> None:
    given = loaded(LocalModel(folder="m"), written(tmp_path / "m", SAYS))

    def thoughts(number: int, together: int) -> list[tuple[int, ...]]:
        path = tmp_path / f"{number}.db"
        with SqlLedger.open(path, signer=PrivateKey.generate("test")) as ledger:
            made = project(given, "", together)
            found: list[tuple[int, ...]] = []
            for run in ("a" * 32, "b" * 32, "c" * 32):

                async def carried(run: str = run) -> Any:
                    return await carry(made, ledger, run_id=run)

                anyio.run(carried)
                (thought,) = bodies(ledger, run, StepThought)
                (others,) = bodies(ledger, run, CandidatesSealed)
                names = [thought.exchanges, *(one.exchanges for one in others.candidates)]
                found += [sampled(ledger.get(str(name))).ids for name in names]
        return found

    one = thoughts(0, 1)
    assert thoughts(1, 1) == one == thoughts(2, 8)
    assert len(set(one[:4])) > 1 or len(set(one[4:8])) > 1  # three answers for four candidates
    assert len({tuple(one[at : at + 4]) for at in (0, 4, 8)}) > 1


def test_what_was_kept_is_what_is_read_again_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind whole blocks, whatever else was read meanwhile."""
    monkeypatch.setattr("audition.model.kept.BLOCK", 16)
    model = sharing(made())
    common = ids(0, 37)[0].tolist()
    one, other = ((*common, *([tail] * 20)) for tail in (1, 2))
    kept = Kept(1 << 20)
    kept.read(model, [one])
    warm, cold = kept.read(model, [other]), Kept(0).read(model, [other])
    assert warm.lengths == cold.lengths == (len(other) - 1,)
    for mine, again in zip(warm.layers, cold.layers, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine[0], again[0], strict=True))
