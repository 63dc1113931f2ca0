"""A small language model that learns from its own steps: sampling, and gradients on spans alone.

A step is a span of tokens written after a prompt. The prompt is the step's context: fixed, and not
the step's doing, though an earlier step may have written part of it. Learning by approval is
proximal policy optimisation on the span's tokens, every token with the same advantage, which is the
step's own signal less what a linear critic expected from the prompt alone; learning by
demonstration is the likelihood of the span. The `outcome` baseline differs in its boundary only:
with it open, a step is credited with every reward that follows.

How a prompt is read has two modes (for the closed boundary). In `text` it is an ordinary prompt:
the gradient reaches the weights through the reading of it too, never the choice of its tokens. In
`state` the keys and values of all prompt tokens but the last are cut off by the boundary, and only
what was computed within the step is learned.

The model is transformers' GPT-2 of any size, made from the seed, nothing downloaded:
`policy.model.save_pretrained(folder)` writes it in the usual format.

Source of the clipped objective: Schulman et al. 2017, arXiv 1707.06347, eq. 7.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel

from audition.learn.boundary import Boundary
from audition.learn.lessons import LessonError, Lessons
from audition.learn.objectives import negative_log_likelihood, squared_error
from audition.learn.outcome import Outcomes
from audition.learn.plan import Plan, PlanError
from audition.learn.ppo import clipped
from audition.learn.vocabulary import END, PAD
from audition.step import Frozen

Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
"""A finite positive number."""


class Settings(Frozen):
    """Size and hyper-parameters: a plan's `learner`."""

    width: int = Field(default=64, ge=4, le=4096)
    """Width of the residual stream."""
    layers: int = Field(default=2, ge=1, le=48)
    """Blocks of the transformer."""
    heads: int = Field(default=2, ge=1, le=64)
    """Attention heads of a block."""
    rate: Positive = 1e-3
    """Adam's step size, of the model."""
    critic_rate: Positive = 1e-2
    """Adam's step size, of the critic."""
    epochs: int = Field(default=2, ge=1, le=1000)
    """Passes over a batch's lessons."""
    parts: int = Field(default=4, ge=1, le=100_000)
    """Minibatches of one pass, whatever the lessons are."""
    clip: float = Field(default=0.2, gt=0, lt=1)
    """ε: how far a token's ratio may move before its gradient ends."""
    entropy: float = Field(default=0.0, ge=0, le=1e6)
    """Weight of each token's entropy."""
    mode: Literal["text", "state"] = "text"
    """How a prompt is read: as an ordinary prompt, or as a state that the boundary cuts off."""

    @classmethod
    def of(cls, plan: Plan) -> Self:
        """The settings that a plan declares.

        Raises:
            PlanError: its `learner` is none; the message names the field.
        """
        try:
            settings = cls.model_validate(plan.learner)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(["learner", *map(str, first["loc"])])
            raise PlanError(f"plan {plan.name}: {where}: {first['msg']}") from None
        if settings.width % settings.heads:
            raise PlanError(
                f"plan {plan.name}: learner.width: {settings.width} does not divide into "
                f"{settings.heads} heads"
            )
        return settings


class Written(NamedTuple):
    """Spans that were sampled."""

    tokens_N_S: NDArray[np.uint8]
    """Each ends with `END`, unless the room was used up before; `PAD` after it."""
    logp_N_S: NDArray[np.float32]
    """Log-probability of each token when it was sampled; 0 behind the end."""


class TokenPolicy:
    """A learner that writes spans of tokens after prompts.

    Batches name the context `prompt` (C tokens, `PAD` behind) and `limit` (tokens that the step may
    take), the span `tokens` (S tokens, `PAD` behind) and, unless demonstrated, `logp` (S).

    Args:
        vocabulary: number of tokens, `PAD` and `END` counted.
        window: most tokens of a prompt and its span together.
        settings: size and hyper-parameters.
        boundary: where credit and gradient stop.
        seed: of the first weights.
    """

    name = "token-policy"

    def __init__(
        self, vocabulary: int, window: int, settings: Settings, boundary: Boundary, *, seed: int
    ) -> None:
        self.settings, self.boundary, self.window = settings, boundary, window
        config = GPT2Config(
            vocab_size=vocabulary,
            n_positions=window,
            n_embd=settings.width,
            n_layer=settings.layers,
            n_head=settings.heads,
            activation_function="gelu_pytorch_tanh",  # GPT-2's own, fused
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=END,
            eos_token_id=END,
        )
        with torch.random.fork_rng(devices=[]):  # the weights come from the seed, and nothing else
            torch.manual_seed(seed)
            self.model = GPT2LMHeadModel(config).eval()
            self.critic = nn.Linear(settings.width, 1)
        nn.init.zeros_(self.critic.weight)
        nn.init.zeros_(self.critic.bias)
        self._optimiser = self._fresh()

    @torch.no_grad()
    def write(self, prompt_N_C: NDArray[np.uint8], limit: int, rng: np.random.Generator) -> Written:
        """Sample a span of at most `limit` tokens after each prompt, over a cache of what was read.

        Raises:
            LessonError: an empty prompt, or one that leaves no room for `limit` tokens.
        """
        prompt = torch.from_numpy(prompt_N_C).long()
        length_N = self._lengths(prompt, torch.full((len(prompt),), limit))
        prompt = prompt[:, : int(length_N.max())]
        read_N_C = torch.arange(prompt.shape[1]) < length_N[:, None]
        chance_N_S = torch.from_numpy(rng.random((len(prompt), limit), np.float32))
        tokens_N_S = torch.full(chance_N_S.shape, PAD)
        logp_N_S = torch.zeros(chance_N_S.shape)
        going_N = torch.ones(len(prompt), dtype=torch.bool)
        cache = DynamicCache()
        hidden = self.model.transformer(prompt, past_key_values=cache)[0]
        hidden = hidden[torch.arange(len(prompt)), length_N - 1]
        for place in range(limit):
            spread = torch.log_softmax(self.model.lm_head(hidden)[:, 1:], -1)
            below = spread.exp().cumsum(1) < chance_N_S[:, place, None]
            drawn_N = below.sum(1).clamp(max=spread.shape[1] - 1)
            logp = spread.gather(1, drawn_N[:, None])[:, 0]
            logp_N_S[:, place] = torch.where(going_N, logp, 0.0)
            tokens_N_S[:, place] = torch.where(going_N, drawn_N + 1, PAD)
            going_N = going_N & (drawn_N + 1 != END)
            if place + 1 == limit or not going_N.any():
                break
            written = torch.ones((len(prompt), place + 1), dtype=torch.bool)
            hidden = self.model.transformer(
                (drawn_N + 1)[:, None],
                past_key_values=cache,
                attention_mask=torch.cat([read_N_C, written], 1),
                position_ids=(length_N + place)[:, None],
            )[0][:, -1]
        return Written(tokens_N_S.numpy().astype(np.uint8), logp_N_S.numpy())

    def weights(self) -> bytes:
        """Model and critic, as safetensors; the optimiser's moments are no part of them."""
        return save({name: tensor.contiguous() for name, tensor in self._tensors().items()})

    @torch.no_grad()
    def restore(self, weights: bytes) -> None:
        """Go on from these weights, with a fresh optimiser's moments.

        Raises:
            LessonError: bytes of another model than this.
        """
        try:
            given = load(weights)
        except SafetensorError as error:
            raise LessonError(f"weights of {self.name}: {error}") from None
        held = self._tensors()
        if odd := given.keys() ^ held.keys():
            raise LessonError(f"weights of {self.name}: other layers: {min(odd)}")
        for name, tensor in held.items():
            if given[name].shape != tensor.shape or given[name].dtype != tensor.dtype:
                raise LessonError(
                    f"weights of {self.name}: {name} is {tuple(given[name].shape)}, "
                    f"not {tuple(tensor.shape)}"
                )
            tensor.copy_(given[name])
        self._optimiser = self._fresh()

    def update(self, lessons: Lessons | Outcomes, rng: np.random.Generator) -> Mapping[str, float]:
        """Learn from one batch: `epochs` passes in minibatches of Adam.

        Raises:
            LessonError: prompts or spans that do not fit the model, or fewer lessons than parts.
        """
        steps = self._credited(_arrays(lessons))
        count = len(steps["context.prompt"])
        population = count if isinstance(lessons, Outcomes) else lessons.population
        if count < self.settings.parts:
            raise LessonError(f"{count} lessons for {self.settings.parts} minibatches; use fewer")
        share = population / self.settings.parts  # whatever else was drawn
        totals: list[float] = []
        for _ in range(self.settings.epochs):
            order_L = torch.from_numpy(rng.permutation(count))
            for part_B in order_L.tensor_split(self.settings.parts):
                part = {name: array[part_B] for name, array in steps.items()}
                loss = self.boundary.total(self._losses(part), part["weight"], share)
                self._optimiser.zero_grad()
                loss.backward()
                self._optimiser.step()
                totals.append(float(loss.detach()))
        measures = {"loss": float(np.mean(totals))}
        if "signal" in steps:
            measures["signal"] = float(steps["signal"].mean())
        return measures

    def losses(self, arrays: Mapping[str, Tensor]) -> Tensor:
        """Each lesson's own loss at the present parameters, before `Boundary.total`.

        By approval −Σ_t min(r_t Â, clip(r_t) Â) + (V − signal)² − c Σ_t H_t, where Â = signal − V
        is a constant to the parameters; by demonstration −Σ_t log π_t.

        Args:
            arrays: `context.prompt`, `context.limit`, `span.tokens`; to learn by approval also
                `span.logp` and `approval` (L), with `moment` and `context.t` (the step's place in
                its episode) where the boundary is open; of outcomes, all of shape (N, T, ...),
                `reward` and `last`.

        Returns:
            Shape (L); of outcomes, N·T.
        """
        return self._losses(self._credited(arrays))

    def _credited(self, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rows with the signal that each is credited with, and its advantage."""
        steps = dict(arrays)
        if "reward" in steps:
            last_NT = steps.pop("last").numpy().astype(bool)
            steps["signal"] = _credited(self.boundary, steps.pop("reward"), last_NT)
            steps = {name: array.flatten(0, 1) for name, array in steps.items()}
        elif "approval" in steps:
            steps["signal"] = steps.pop("approval")
            if not self.boundary.closed:
                moment_L, t_L = steps["moment"].numpy(), steps["context.t"].numpy()
                signal_NT, last_NT, where = _lanes(steps["signal"], moment_L, t_L)
                steps["signal"] = _credited(self.boundary, signal_NT, last_NT)[where]
        if "weight" not in steps:
            steps["weight"] = torch.ones(len(steps["context.prompt"]))
        if "signal" in steps:
            with torch.no_grad():
                *_, value_L = self._read(steps)
            steps["advantage"] = steps["signal"] - value_L
        return steps

    def _losses(self, steps: Mapping[str, Tensor]) -> Tensor:
        logp_L_S, entropy_L_S, value_L = self._read(steps)
        own_L_S = steps["span.tokens"] != PAD
        if "signal" not in steps:
            return negative_log_likelihood(logp_L_S, own_L_S)
        advantage_L_1, clip = steps["advantage"][:, None], self.settings.clip
        loss_L_S = clipped(logp_L_S, steps["span.logp"], advantage_L_1, clip)
        loss_L_S = loss_L_S - self.settings.entropy * entropy_L_S
        return (loss_L_S * own_L_S).sum(1) + squared_error(value_L, steps["signal"])

    def _read(self, steps: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probability and entropy at each token of the spans, and the critic's value.

        Whatever the rows hold, shapes are the same, so that no row is computed otherwise, down to
        the last bit, for what another holds.
        """
        prompt, span = steps["context.prompt"].long(), steps["span.tokens"].long()
        length_L = self._lengths(prompt, steps["context.limit"])
        if ((span != PAD).sum(1) > steps["context.limit"]).any() or _has_holes(span):
            raise LessonError("a span longer than its limit, or with nothing inside it")
        read = self._as_text if self.settings.mode == "text" else self._as_state
        hidden_L_S = read(prompt, length_L, span)
        spread = torch.log_softmax(self.model.lm_head(hidden_L_S)[..., 1:], -1)
        logp_L_S = spread.gather(-1, (span - 1).clamp(min=0)[..., None])[..., 0]
        entropy_L_S = -(spread.exp() * spread).sum(-1)
        value_L = self.critic(hidden_L_S[:, 0].detach())[:, 0]  # of the prompt, before any token
        return logp_L_S, entropy_L_S, value_L

    def _as_text(self, prompt: Tensor, length_L: Tensor, span: Tensor) -> Tensor:
        """The last layer where each token of the span is foretold: one text, read at once."""
        room = span.shape[1]
        place_W = torch.arange(self.window)
        own = place_W - length_L[:, None]
        padded = nn.functional.pad(prompt, (0, max(0, self.window - prompt.shape[1])), value=PAD)
        written = span.gather(1, own.clamp(0, room - 1))
        text = torch.where(own < 0, padded[:, : self.window], written)
        hidden = self.model.transformer(text, use_cache=False)[0]
        foretold = (length_L[:, None] - 1 + torch.arange(room)).clamp(max=self.window - 1)
        return hidden.gather(1, foretold[..., None].expand(-1, -1, hidden.shape[2]))

    def _as_state(self, prompt: Tensor, length_L: Tensor, span: Tensor) -> Tensor:
        """The same over keys and values of the prompt but its last token, cut by the boundary."""
        before = self.model.transformer(prompt, use_cache=True).past_key_values
        carried = self.boundary.cut([(one.keys, one.values) for one in before.layers])
        last = prompt.gather(1, length_L[:, None] - 1)
        seen = torch.arange(prompt.shape[1]) < length_L[:, None] - 1
        place = length_L[:, None] - 1 + torch.arange(span.shape[1])
        return self.model.transformer(
            torch.cat([last, span[:, :-1]], 1),
            past_key_values=DynamicCache(carried),
            attention_mask=torch.cat([seen, torch.ones_like(span, dtype=torch.bool)], 1),
            position_ids=place.clamp(max=self.window - 1),
        )[0]

    def _lengths(self, prompt_L_C: Tensor, limit_L: Tensor) -> Tensor:
        """Tokens of each prompt.

        Raises:
            LessonError: none, a hole among them, or no room left for the step.
        """
        length_L = (prompt_L_C != PAD).sum(1)
        if (length_L == 0).any() or _has_holes(prompt_L_C):
            raise LessonError("a prompt without tokens, or with nothing inside it")
        if int((length_L + limit_L).max()) > self.window or int(limit_L.min()) < 1:
            raise LessonError(f"prompts and steps of no or more than {self.window} tokens together")
        return length_L

    def _fresh(self) -> torch.optim.Adam:
        groups = [
            {"params": list(self.model.parameters()), "lr": self.settings.rate},
            {"params": list(self.critic.parameters()), "lr": self.settings.critic_rate},
        ]
        return torch.optim.Adam(groups, betas=(0.9, 0.99), eps=1e-6)

    def _tensors(self) -> dict[str, Tensor]:
        parts = (("critic", self.critic.state_dict()), ("model", self.model.state_dict()))
        return {
            f"{part}.{name}": tensor
            for part, tensors in parts
            for name, tensor in tensors.items()
            if name != "lm_head.weight"  # the same tensor as the embedding
        }


def _has_holes(tokens_L_S: Tensor) -> bool:
    """Whether a token stands behind `PAD`."""
    return bool(((tokens_L_S[:, :-1] == PAD) & (tokens_L_S[:, 1:] != PAD)).any())


def _credited(boundary: Boundary, signal_NT: Tensor, last_NT: NDArray[np.bool_]) -> Tensor:
    """`Boundary.credit`, differentiable: it is linear in the signals."""
    if boundary.closed:
        return signal_NT
    credit_NT = torch.zeros_like(signal_NT)
    for later in range(last_NT.shape[1]):
        one_NT = np.zeros(last_NT.shape, np.float32)
        one_NT[:, later] = 1
        reach_NT = torch.from_numpy(boundary.credit(one_NT, last_NT))
        credit_NT = credit_NT + reach_NT * signal_NT[:, later, None]
    return credit_NT


def _lanes(
    signal_L: Tensor, moment_L: NDArray[Any], t_L: NDArray[Any]
) -> tuple[Tensor, NDArray[np.bool_], tuple[Tensor, Tensor]]:
    """Lessons' signals laid out by episode, an episode ending where the next step is missing."""
    begins_L = np.ones(len(t_L), np.bool_)
    begins_L[1:] = (np.diff(moment_L.astype(int)) != 1) | (np.diff(t_L.astype(int)) != 1)
    lane_L = begins_L.cumsum() - 1
    place_L = np.arange(len(t_L)) - np.flatnonzero(begins_L)[lane_L]
    shape = (int(lane_L[-1]) + 1, int(place_L.max()) + 1)
    last_NT = np.zeros(shape, np.bool_)
    last_NT[lane_L, place_L] = np.append(begins_L[1:], True)
    where = (torch.from_numpy(lane_L), torch.from_numpy(place_L))
    return torch.zeros(shape, dtype=signal_L.dtype).index_put(where, signal_L), last_NT, where


def _arrays(lessons: Lessons | Outcomes) -> dict[str, Tensor]:
    """What `losses` takes, of these lessons or outcomes."""
    if isinstance(lessons, Outcomes):
        given: dict[str, Any] = {f"context.{name}": one for name, one in lessons.context.items()}
        given |= {f"span.{name}": one for name, one in lessons.span.items()}
        given |= {"reward": lessons.reward_NT, "last": lessons.last_NT}
    elif lessons.signal == "comparison":
        raise LessonError("a token policy learns from approvals and demonstrations")
    else:
        given = lessons.arrays()
    return {name: _tensor(array) for name, array in given.items()}


def _tensor(array: NDArray[Any]) -> Tensor:
    kind = np.float32 if array.dtype.kind == "f" else array.dtype
    return torch.from_numpy(np.array(array, kind))
