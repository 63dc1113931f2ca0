"""An auditor that was trained: a language model with a head of one number, read for each step.

What it reads is the document that a critic is shown, whole; a document that does not fit its window
is not judged. It writes nothing and executes nothing: the number behind the last token, calibrated,
is its approval of the step.
"""

from __future__ import annotations

import hashlib
import math
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import anyio.to_thread

from audition.audit.dialogue import Unparsable
from audition.audit.document import Shown, document
from audition.audit.judgement import Judgement, TrainedError, read_judgement
from audition.failing import told
from audition.step import (
    Digest,
    Evidence,
    Moment,
    Proposal,
    Role,
    Usage,
    Verdict,
    View,
    Words,
    digest_of,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from torch import Tensor

DEVICE = r"^(cpu|cuda(:[0-9]{1,3})?|mps)$"
"""Where a model can be."""

SEES = frozenset({Evidence.HISTORY, Evidence.PROPOSAL})
"""What its text is made of."""


class Trained:
    """A trained auditor from its folder.

    A teacher approves of a step, and of each candidate where it is shown them; one that was trained
    from rankings ranks them. A guard suspects: 1 less the approval.

    Args:
        name: the auditor's name.
        folder: what `audition train-auditor` wrote.
        role: the role that is expected; None: whichever the card says.
        candidates: whether a teacher is shown all candidates of a moment.
        device: where its model is.

    Raises:
        TrainedError: the folder is not what its card says, or the card says another role.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        role: Role | None = None,
        candidates: bool = False,
        device: str = "cpu",
    ) -> None:
        self.name = name
        self.judgement, self.trained_from = read_judgement(folder)
        self.role = self.judgement.role
        ranks = self.judgement.labels.signal == "comparison"
        if role not in (None, self.role):
            raise TrainedError(f"auditor {name}: {folder} is a {self.role}, and no {role}")
        if candidates and self.role is Role.GUARD:
            raise TrainedError(f"auditor {name}: a guard is shown no candidates")
        self.sees = SEES | {Evidence.CANDIDATES} if candidates or ranks else SEES
        self._ranks = ranks
        self._folder, self._device = folder, device
        self._lock = threading.Lock()
        self._reader: Reader | None = None

    def configuration(self) -> Digest:
        """Digest of its card, which names all that decides how it judges."""
        return self.trained_from

    async def audit(self, view: View) -> Verdict:
        """Read the step, or each of its candidates.

        Raises:
            Unparsable: the model gives no number.
            OSError: it cannot be loaded, which is no fault of the moment.
        """
        return await anyio.to_thread.run_sync(self._judged, view, abandon_on_cancel=True)

    def _judged(self, view: View) -> Verdict:
        judgement, reader = self.judgement, self._loaded()
        proposals = view.candidates or ((view.proposal,) if view.proposal is not None else ())
        if self._ranks and len(proposals) < 2:
            return self._abstains(view, "out of scope", "there is nothing to compare it with")
        texts = [
            text_of(view.moment, view.goal, view.history, one, judgement.shown) for one in proposals
        ]
        ids = [None if text is None else reader.ids(text) for text in texts]
        read = [one for one in ids if one is not None]
        if len(read) < len(ids):
            most = f"{judgement.shown.characters} characters or {judgement.window} tokens"
            return self._abstains(view, "not shown", f"more than {most} to be judged")
        numbers = [reader.number(one) for one in read]
        if not all(map(math.isfinite, numbers)):
            raise Unparsable(f"the model gives {', '.join(map(str, numbers))}, which is no number")
        given: dict[str, Any] = {}
        if self._ranks:
            lots = [_lot(view.moment_digest, number) for number in range(len(numbers))]
            order = sorted(range(len(numbers)), key=lambda one: (-numbers[one], lots[one]))
            given["ranking"] = tuple(order)
        else:
            each = tuple(approval(judgement, one) for one in numbers)
            given["score"] = each[0] if self.role is Role.TEACHER else 1 - each[0]
            given["approvals"] = each if len(each) > 1 else None
        says = ", ".join(f"{one:.4g}" for one in numbers)
        return self._verdict(
            view,
            words=Words(rationale=f"before calibration: {says}"),
            usage=Usage(tokens_in=sum(map(len, read))),
            **given,
        )

    def _abstains(
        self, view: View, why: Literal["out of scope", "not shown"], says: str
    ) -> Verdict:
        return self._verdict(view, abstains=why, words=Words(rationale=says))

    def _verdict(self, view: View, **given: Any) -> Verdict:
        return Verdict(
            auditor=self.name,
            role=self.role,
            moment=view.moment_digest,
            saw=tuple(sorted(self.sees)),
            trained_from=self.trained_from,
            **given,
        )

    def _loaded(self) -> Reader:
        with self._lock:
            if self._reader is None:
                try:
                    window = self.judgement.window
                    self._reader = Reader(self._folder, window, device=self._device)
                except TrainedError as error:
                    raise OSError(str(error)) from None
            return self._reader


class Reader:
    """A language model with a head of one number, and its tokenizer.

    Args:
        folder: a Hugging Face model; where it has no such head, one is made.
        window: most tokens of a text.
        seed: of the head that is made.
        device: where the model is.

    Raises:
        TrainedError: there is no model that can be read so, or the tokenizer is another model's.
    """

    def __init__(self, folder: Path, window: int, *, seed: int = 0, device: str = "cpu") -> None:
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        try:
            with quietly(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                self.model = AutoModelForSequenceClassification.from_pretrained(
                    folder,
                    num_labels=1,
                    dtype=torch.float32,
                    local_files_only=True,
                    use_safetensors=True,
                )
                self.model = self.model.eval().to(device)
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # noqa: BLE001  a library that reads files may fail in any way
            raise TrainedError(f"{folder}: no model that can be read: {told(error)}") from None
        words = int(self.model.get_input_embeddings().weight.shape[0])
        highest = max(self.tokenizer.get_vocab().values(), default=-1)
        if not 0 <= highest < words:
            raise TrainedError(
                f"{folder}: the tokenizer's last token is {highest}, the model knows {words}; "
                "it is another model's"
            )
        config = self.model.config.get_text_config()
        self.window = min(window, getattr(config, "max_position_embeddings", window))

    def ids(self, text: str) -> list[int] | None:
        """The tokens of a text; None if they are more than its window holds, or none."""
        found: list[int] = self.tokenizer(text, verbose=False)["input_ids"]
        return found if 0 < len(found) <= self.window else None

    def read(self, ids: Sequence[int]) -> Tensor:
        """The number behind the last token, a tensor without dimensions.

        Each text is a pass of its own: nothing is padded, and no other text has any part in it.
        """
        import torch

        given = torch.tensor([ids], device=self.model.device)
        return self.model(input_ids=given, use_cache=False).logits[0, 0].float()

    def number(self, ids: Sequence[int]) -> float:
        """As `read`, without a gradient."""
        import torch

        with torch.no_grad():
            return self.read(ids).item()

    def save(self, folder: Path) -> None:
        """Write model and tokenizer into a folder, the weights as one file."""
        with quietly():
            self.model.save_pretrained(folder, max_shard_size="1000TB")
            self.tokenizer.save_pretrained(folder)


@contextmanager
def quietly() -> Generator[None]:
    """Without the library's bars, and its remark that a head is new."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def text_of(
    moment: Moment, goal: str, history: Any, proposal: Proposal, shown: Shown
) -> str | None:
    """What is read of a step; None where it does not fit.

    Args:
        moment: which step.
        goal: what its run is for.
        history: a `History`, without thoughts.
        proposal: the step itself.
        shown: how much of it is read.

    Raises:
        ValueError: it holds a number that JSON cannot carry.
    """
    view = View(
        moment=moment,
        moment_digest=digest_of(moment),
        goal=goal,
        history=history,
        proposal=proposal,
    )
    found = document(view, shown)
    return None if found is None else found.text


def approval(judgement: Judgement, number: float) -> float:
    """The calibrated approval that a model's number stands for: σ(slope · z + offset)."""
    at = judgement.slope * number + judgement.offset
    small = math.exp(-abs(at))
    return (1 if at >= 0 else small) / (1 + small)


def _lot(moment: Digest, number: int) -> bytes:
    """Among candidates that the model cannot tell apart, the order that the moment draws."""
    return hashlib.sha256(f"{moment} {number}".encode()).digest()
