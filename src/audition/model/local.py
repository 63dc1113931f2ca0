"""A Hugging Face causal language model in this process, as a chat that tells its tokens exactly.

A reply's exchange is a chat completion as vLLM writes it with `return_token_ids`: the ids of the
prompt and of what was sampled, and the log-probability of each when it was. What is learned from a
step is learned from these.

Requests that wait together are answered in one batch, up to `together`. One alone is computed in
passes whose shapes follow from its own tokens, so that with `together = 1` it comes out the same to
the bit whatever else this process does.

Source of the fields: https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import numpy as np
import orjson
import torch
from anyio.lowlevel import RunVar
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from audition.canonical import digest_value
from audition.model.chance import seed_for, told_apart
from audition.model.chat import ModelError, Reply, sendable
from audition.model.kept import Kept
from audition.model.sampling import Written, sample
from audition.model.sharing import CannotShare, sharing
from audition.model.weights import digest_of_folder
from audition.model.wording import Said, Wording
from audition.plain import shown
from audition.step import Digest, Exchange, JsonObject, Usage

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from audition.model.folder import LocalModel

REMEMBERED = 256
"""Replies that a later prompt may go on from."""


@dataclass(frozen=True)
class Loaded:
    """A model, its tokenizer, and what they are."""

    name: str
    """The folder's name."""
    model: PreTrainedModel
    """The model, made ready by `audition.model.sharing`."""
    tokenizer: PreTrainedTokenizerBase
    """Its tokenizer."""
    digest: Digest
    """Digest of the folder's files, or of the weights that took their place."""


def loaded(config: LocalModel, folder: Path) -> Loaded:
    """Load a model from its folder; nothing is fetched.

    Raises:
        ModelError: there is none, it is not one that can be read here, or the tokenizer is not the
            model's.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder}: no model: there is no config.json in it")
    logging.disable_progress_bar()  # pyright: ignore[reportUnknownMemberType]
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, dtype=getattr(torch, config.dtype)
        )
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        sharing(model.to(config.device).eval().requires_grad_(False))
    except CannotShare as error:
        raise ModelError(f"{folder.name}: {error}") from None
    except Exception as error:  # noqa: BLE001  the folder may hold anything
        raise ModelError(f"{folder.name}: it cannot be loaded: {shown(str(error), 300)}") from None
    check_words(folder.name, model, tokenizer)
    return Loaded(folder.name, model, tokenizer, digest_of_folder(folder))


def check_words(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer that is not the model's.

    Raises:
        ModelError: it knows tokens that the model does not.
    """
    words = int(model.get_input_embeddings().weight.shape[0])  # type: ignore[union-attr]
    known = max(tokenizer.get_vocab().values(), default=-1) + 1
    if known > words:
        raise ModelError(
            f"{name}: the tokenizer is not the model's: it knows {known} tokens, the model {words}"
        )


class Local:
    """A model in this process that answers messages.

    Args:
        config: how it is asked.
        given: the model.

    Raises:
        ModelError: the tokenizer has no chat template.
    """

    def __init__(self, config: LocalModel, given: Loaded) -> None:
        self.name = given.name
        self.config = config
        """How it is asked."""
        self.given = given
        """The model itself."""
        self._ends = _ends(given)
        self._wording = Wording(given.name, given.tokenizer, self._ends)
        self._kept = Kept(config.kept)
        self._said: dict[Digest, Said] = {}
        self._waiting: list[_Request] = []
        self._lock: RunVar[anyio.Lock | None] = RunVar("local model", None)

    def configuration(self) -> Digest:
        """Digest of the weights and of how they are asked; where it runs is no part of it."""
        asked = self.config.asked.model_dump(exclude_none=True)
        return digest_value({"weights": self.given.digest, "asked": asked})

    async def reply(
        self,
        messages: Sequence[JsonObject],
        *,
        tools: Sequence[JsonObject] = (),
        schema: JsonObject | None = None,
        tokens: int | None = None,
    ) -> Reply:
        """Ask once; see `Chat.reply`.

        Raises:
            ModelError: the messages are longer than the model's context, or its template does not
                take them.
        """
        begun = time.monotonic()
        asked = self.config.asked
        said = sendable(list(messages))
        prompt = self._wording.prompt(said, tools, self._before(said))
        room = self.given.model.config.get_text_config().max_position_embeddings
        if len(prompt) < 2:
            raise ModelError(f"{self.name}: a prompt of {len(prompt)} tokens; two are the least")
        if len(prompt) >= room:
            raise ModelError(
                f"{self.name}: a prompt of {len(prompt)} tokens, and its context has {room}; lower "
                "the budget's `history`, by which the oldest entries are left out and counted"
            )
        most = min(asked.tokens, room - len(prompt), tokens or asked.tokens)
        seed = b"" if asked.seed is None else str(asked.seed).encode()
        request = _Request(prompt, most, seed_for(seed + np.array(prompt, "<i8").tobytes()))
        written = await self._answered(request)
        ids = tuple(int(one) for one in written.ids)
        parsed = self._wording.read(prompt, ids, tools)
        self._remember(Said(said, (*prompt, *ids)), parsed.text)
        finish = "length" if not written.ended else "tool_calls" if parsed.calls else "stop"
        usage = Usage(
            seconds=time.monotonic() - begun,
            tokens_in=len(prompt),
            tokens_out=len(ids),
            usd=asked.usd(len(prompt), len(ids)),
        )
        body: JsonObject = {"model": self.name, "messages": said, "max_tokens": most}
        body |= {"tools": list(tools)} if tools else {}
        body |= asked.model_dump(include={"temperature", "seed"}, exclude_none=True)
        reply: JsonObject = {
            "object": "chat.completion",
            "model": self.name,
            "weights": self.given.digest,
            "prompt_token_ids": list(prompt),
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": parsed.text or None,
                        "reasoning_content": parsed.reasoning or None,
                        "tool_calls": [
                            {
                                "id": one.id,
                                "type": "function",
                                "function": {"name": one.name, "arguments": one.arguments},
                            }
                            for one in parsed.calls
                        ]
                        or None,
                    },
                    "token_ids": list(ids),
                    "logprobs": {
                        "content": [
                            {"token": self._wording.word(one), "logprob": float(logp)}
                            for one, logp in zip(ids, written.logps, strict=True)
                        ]
                    },
                    "finish_reason": finish,
                }
            ],
            "usage": {"prompt_tokens": len(prompt), "completion_tokens": len(ids)},
        }
        return Reply(
            text=parsed.text,
            reasoning=parsed.reasoning,
            calls=parsed.calls,
            finish=finish,
            model=self.name,
            usage=usage,
            exchange=Exchange(request=orjson.dumps(body), reply=orjson.dumps(sendable(reply))),
        )

    def _before(self, messages: Sequence[JsonObject]) -> Said | None:
        """The prompt that these messages go on from with its reply, if it was of this thought."""
        spoke = [at for at, one in enumerate(messages) if one.get("role") == "assistant"]
        if not spoke:
            return None
        told = messages[: spoke[-1]], messages[spoke[-1]].get("content") or ""
        return self._said.get(_key(*told))

    def _remember(self, said: Said, text: str) -> None:
        key = _key(said.messages, text)
        self._said.pop(key, None)
        self._said[key] = said
        if len(self._said) > REMEMBERED:
            del self._said[next(iter(self._said))]

    async def _answered(self, request: _Request) -> Written:
        """What is sampled for a request, once its turn has come."""
        lock = self._lock.get()
        if lock is None:
            lock = anyio.Lock()
            self._lock.set(lock)
        self._waiting.append(request)
        try:
            await anyio.lowlevel.checkpoint()  # whoever asks at the same time is heard first
            async with lock:
                if request.written is None:
                    others = [one for one in self._waiting if one is not request]
                    room = self.config.together - 1
                    batch, self._waiting = [request, *others[:room]], others[room:]
                    await anyio.to_thread.run_sync(self._sample, batch)
        finally:
            if request in self._waiting:
                self._waiting.remove(request)
        assert request.written is not None
        return request.written

    def _sample(self, batch: Sequence[_Request]) -> None:
        prompts = list(dict.fromkeys(request.prompt for request in batch))
        place = {prompt: number for number, prompt in enumerate(prompts)}
        ordered = sorted(batch, key=lambda request: place[request.prompt])
        model = self.given.model
        past = self._kept.read(model, prompts)
        longest = max(request.most for request in ordered)
        chance = torch.ones(len(ordered), longest, dtype=torch.float64)
        for row, request in zip(chance, ordered, strict=True):
            numbers = np.random.Generator(np.random.Philox(request.seed)).random(request.most)
            row[: request.most] = torch.from_numpy(numbers)
        temperature = self.config.asked.temperature
        found = sample(
            model,
            past,
            torch.tensor([prompt[-1] for prompt in prompts], device=model.device),
            [place[request.prompt] for request in ordered],
            chance,
            [request.most for request in ordered],
            ends=self._ends,
            temperature=1.0 if temperature is None else temperature,
        )
        for request, written in zip(ordered, found, strict=True):
            request.written = written


@dataclass(eq=False)
class _Request:
    """A prompt that waits for its answer."""

    prompt: tuple[int, ...]
    most: int
    seed: int
    written: Written | None = field(default=None)


def _key(messages: Sequence[JsonObject], text: Any) -> Digest:
    """What tells a reply from those to the same messages in another thought."""
    return digest_value([told_apart().hex(), list(messages), text])


def _ends(given: Loaded) -> frozenset[int]:
    """Tokens with which a model ends a reply."""
    said: Any = getattr(given.model.generation_config, "eos_token_id", None)
    ends = {said} if isinstance(said, int) else set(said or ())
    own = given.tokenizer.eos_token_id
    return frozenset(ends | ({own} if isinstance(own, int) else set()))
