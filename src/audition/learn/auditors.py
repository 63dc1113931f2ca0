"""Training an auditor: a run of the ledger that holds the verdicts, and a folder at its end."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import anyio

from audition.audit import Judgement, TrainedError
from audition.audit.judgement import CARD
from audition.canonical import digest_value
from audition.learn.approval_model import ApprovalModel, Fitting, Progress
from audition.learn.boundary import Boundary
from audition.learn.lessons import LessonError
from audition.learn.plan import Plan, Study
from audition.learn.restrictions import GUARDED, PROCESS
from audition.learn.training import Trained, train
from audition.learn.verdicts import Recorded, Verdicts, verdicts_of
from audition.ledger import SqlLedger
from audition.step import Digest, Name, Restriction, Role

STUDY = "verdicts"
"""What the plan of such a training calls its study."""

READ = (".json", ".safetensors", ".model", ".txt", ".jinja")
"""How the names of files end that decide what a model of Hugging Face is."""


@dataclass(frozen=True)
class Auditor:
    """An auditor that was trained."""

    judgement: Judgement
    """Its card."""
    trained: Trained
    """The run that trained it; `thinker` is the card's digest."""
    redacted: int
    """Verdicts left out because their content is gone."""


def train_auditor(
    ledger: SqlLedger,
    base: Path,
    auditor: Name,
    out: Path,
    *,
    signal: Literal["approval", "comparison"] | None = None,
    fitting: Fitting | None = None,
    seed: int = 0,
    restrictions: tuple[Restriction, ...] = (),
    progress: Progress | None = None,
) -> Auditor:
    """Train a model of an auditor from its verdicts in a ledger, in which that is a run.

    Args:
        ledger: where the verdicts are, and where the training is written.
        base: the folder of a causal language model.
        auditor: whose verdicts; a guard's make a guard, a teacher's a teacher.
        out: a new folder for the trained auditor.
        signal: ratings or rankings; None: whichever there are.
        fitting: hyper-parameters.
        seed: of all that is drawn.
        restrictions: declared beside the one that holds of every such run.
        progress: told as the fitting goes on.

    Raises:
        LessonError: nothing to learn from, too few runs, or a folder that is there already.
        TrainedError: the base is no language model that can be read.
        Forbidden: a restriction forbids it.
    """
    if out.exists():
        raise LessonError(f"{out}: it is there already; name a new folder")
    fitting = fitting or Fitting()
    verdicts = verdicts_of(ledger, auditor, fitting.shown, signal)
    plan = plan_of(verdicts, base_of(base), fitting, seed)
    guard = verdicts.labels.role is Role.GUARD
    with tempfile.TemporaryDirectory(dir=out.resolve().parent, prefix=f".{out.name}-") as beside:
        work = Path(beside) / "auditor"
        study = study_of(plan, base, work, verdicts, seed, progress)
        declared = (GUARDED if guard else PROCESS, *restrictions)
        carry = functools.partial(train, plan, ledger, seed, study=study, restrictions=declared)
        trained = anyio.run(carry)
        if not work.exists():
            raise LessonError(f"nothing was learned: {trained.stopped or 'too few lessons'}")
        work.rename(out)
    card = Judgement.parse((out / CARD).read_bytes())
    return Auditor(card, trained, verdicts.redacted)


def plan_of(verdicts: Verdicts, base: Digest, fitting: Fitting, seed: int) -> Plan:
    """What is declared of such a training before it begins."""
    labels = verdicts.labels
    return Plan(
        name=f"auditor {labels.auditor}"[:200],
        says=f"Judge steps as {labels.auditor} did.",
        study=STUDY,
        world={"rows": len(verdicts.rows), "redacted": verdicts.redacted},
        learner=fitting.model_dump() | {"base": base},
        teacher=labels.model_dump(mode="json", exclude_none=True),
        signal=labels.signal,
        batches=len(verdicts.batches()),
        leaf=1,
        seeds=(seed,),
        libraries={
            name: importlib.metadata.version(name) for name in ("numpy", "torch", "transformers")
        },
        becomes=labels.role,
    )


def study_of(
    plan: Plan,
    base: Path,
    folder: Path,
    verdicts: Verdicts,
    seed: int,
    progress: Progress | None = None,
) -> Study:
    """The objects that carry such a plan out, or replay it."""
    fields = {name: value for name, value in plan.learner.items() if name != "base"}
    fitting, boundary = Fitting.model_validate(fields), Boundary(plan.horizon)
    model = ApprovalModel(
        base,
        base_of(base),
        folder,
        verdicts,
        fitting,
        boundary,
        seed=seed,
        progress=progress,
    )
    return Study(verdicts, model, Recorded(verdicts))


def base_of(folder: Path) -> Digest:
    """Digest of the files that make a language model what it is.

    Raises:
        TrainedError: no model is there.
        LessonError: it is a trained auditor.
    """
    try:
        config = json.loads((folder / "config.json").read_bytes())
        kinds = " ".join(config.get("architectures") or ())
        files = sorted(one for one in folder.iterdir() if one.suffix in READ and one.is_file())
        if (folder / CARD).exists() or "SequenceClassification" in kinds:
            raise LessonError(
                f"{folder}: a model that judges already; begin from a language model, of which "
                "nobody need ask whose labels are in it"
            )
        return digest_value({one.name: _hashed(one) for one in files})
    except OSError as error:
        raise TrainedError(f"{folder}: no language model: {error.strerror}") from None
    except (ValueError, AttributeError, RecursionError) as error:
        if isinstance(error, LessonError):
            raise
        raise TrainedError(f"{folder}: its config.json is none") from None


def _hashed(path: Path) -> Digest:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
