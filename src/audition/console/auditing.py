"""`audition train-auditor`: a model that judges as an auditor of a ledger did."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from audition.console.runs import Json, Ledger
from audition.console.speaking import Stop, answer, plainly, progress_bar, some, tell
from audition.plain import shown


@plainly
def train_auditor(
    ledger: Ledger,
    model: Annotated[
        Path, typer.Option(help="The folder of a causal language model.", metavar="FOLDER")
    ],
    auditor: Annotated[str, typer.Option(help="Whose verdicts.", metavar="NAME")],
    out: Annotated[Path, typer.Option(help="A new folder for the result.", metavar="FOLDER")],
    signal: Annotated[
        Literal["approval", "comparison"] | None,
        typer.Option(help="Ratings or rankings, of one who gave both."),
    ] = None,
    epochs: Annotated[
        int, typer.Option(help="Times that every verdict is seen.", min=1, max=10_000)
    ] = 3,
    rate: Annotated[float, typer.Option(help="Step size at first.", min=1e-12, max=1)] = 2e-5,
    window: Annotated[int, typer.Option(help="Most tokens of a text.", min=1, max=1 << 24)] = 4096,
    characters: Annotated[
        int,
        typer.Option(help="Most characters of a step, and of its history.", min=1000, max=10**7),
    ] = 4000,
    entries: Annotated[
        int, typer.Option(help="Most entries of the history.", min=0, max=10_000)
    ] = 40,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.", metavar="DEVICE")] = "cpu",
    seed: Annotated[int, typer.Option(help="Of all that is drawn.", min=0, max=2**32 - 1)] = 0,
    as_json: Json = False,
) -> None:
    """Train a model of an auditor from its verdicts, calibrated and measured on held-out runs."""
    from audition.audit import Shown
    from audition.audit.trained import DEVICE
    from audition.console.keys import signer
    from audition.learn.approval_model import Fitting
    from audition.learn.auditors import train_auditor as carry
    from audition.ledger import SqlLedger

    if not re.fullmatch(DEVICE, device):
        raise Stop(f"--device {shown(device, 60)}: it is cpu, cuda, cuda:1 … or mps", 2)
    text = Shown(characters=characters, entries=entries, entry=max(100, characters // 4))
    with (
        SqlLedger.open(ledger, create=False, signer=signer()) as opened,
        progress_bar("training", 1000) as bar,
    ):
        found = carry(
            opened,
            model,
            auditor,
            out,
            signal=signal,
            fitting=Fitting(epochs=epochs, rate=rate, window=window, device=device, shown=text),
            seed=seed,
            progress=lambda done, of: bar(1000 * done // of),
        )
    judgement, trained = found.judgement, found.trained
    if as_json:
        answer(
            {
                "run": trained.run,
                "trained_from": trained.thinker,
                "role": judgement.role,
                "lessons": trained.lessons,
                "redacted": found.redacted,
                "figures": judgement.figures,
            }
        )
        return
    count = some(trained.lessons, "verdict")
    tell(f"{judgement.role} trained from {count} of {shown(auditor, 80)}")
    if found.redacted:
        tell(f"  left out: {some(found.redacted, 'verdict')} whose content was redacted")
    for part in ("trained_on", "calibrated_on", "measured_on", "not_shown"):
        tell(f"  {part.replace('_', ' ')}: {judgement.figures[part]:,.0f}")
    for name in ("brier", "brier_uncalibrated", "brier_of_the_mean", "calibration_error", "auc"):
        if name in judgement.figures:
            tell(f"  {name.replace('_', ' ')}: {_with_interval(judgement.figures, name)}")
    tell(f"wrote {shown(str(out), 300)}, trained_from {trained.thinker[:12]}… by run {trained.run}")


def _with_interval(figures: dict[str, Any], name: str) -> str:
    low, high = figures.get(f"{name}_low"), figures.get(f"{name}_high")
    ends = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
    return f"{figures[name]:.3f}{ends}"
