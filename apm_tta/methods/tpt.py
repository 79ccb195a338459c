"""TPT (arXiv 2209.07511): test-time prompt tuning."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import torch
from annotated_types import MaxLen, MinLen
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint
from typing_extensions import TypeVar

from apm_tta.apm.memory import free_memory
from apm_tta.errors import UserError
from apm_tta.methods.base import Cost, Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import in_full_precision, lowest_entropy, marginal_entropy, select
from apm_tta.methods.data_defaults import by_family
from apm_tta.methods.parameter_types import Rate, Share, Steps, Views, Weight
from apm_tta.methods.parameters import Templates
from apm_tta.methods.presets import Preset, Published
from apm_tta.methods.view_method import ViewMethod
from apm_tta.methods.views import ViewSpec
from apm_tta.teachers import Teacher
from apm_tta.teachers.learned_prompts import placeholder
from apm_tta.teachers.text_tower import TextTower

# More gain nothing on a CPU: the working set then no longer fits its caches.
_IMAGES_AT_ONCE_ON_CPU = 16
_SHARE_OF_FREE_MEMORY = 0.5

_LEARNED = "learned"
"""Stands in a manifest for a context that came from a file of prompts, and is what a method built from it is given."""


@dataclass(frozen=True)
class TptParameters:
    """Parameters of ``tpt``.

    Attributes:
        context: words before the class name that initialise the tuned vectors, one vector per token; four tokens, the
            paper's (section 4) and the script's ``a_photo_of_a``. With ``--prompts``, the vectors start from these.
        views: N, the evaluation crop included; 64 (section 4).
        share: share of the views, those of lowest entropy, that is kept; 0.1 (section 4, rho).
        learning_rate: of AdamW; 0.005 (section 4).
        weight_decay: of AdamW; 0.01, PyTorch's default, which the code uses.
        steps: per image; 1 (section 4).
        augmix: whether to apply AugMix to views; only for the fine-grained sets, as in the authors' code.
        preset: ``published`` is all as in the authors' script; ``suite``.
        templates: of the teacher's own prediction, which ``agreement`` compares with. The tuned prompt uses none: it is
            the context, the class name and a full stop on every data set, as in the authors' code.
    """

    context: Annotated[str, MinLen(1), MaxLen(1000)] = "a photo of a"
    views: Views = 64
    share: Share = 0.1
    learning_rate: Rate = 5e-3
    weight_decay: Weight = 0.01
    steps: Steps = 1
    augmix: bool = by_family(False, {"fine-grained": True})
    preset: Preset = "suite"
    templates: Templates = "dataset"


T = TypeVar("T", bound=TptParameters, default=TptParameters)


@register
class Tpt(ViewMethod[T]):
    r"""The context of the class prompts, tuned for each image until its confident views agree.

    .. math:: v^* = v - \eta \operatorname{AdamW}\bigl(\nabla_v H(\bar p_v)\bigr), \qquad
        \bar p_v = \frac{1}{|S|} \sum_{k \in S} p_v(\cdot \mid \tilde x_k), \qquad
        p_v(c \mid x) \propto \exp\bigl(s \cos(f(x), t([v; c]))\bigr)

    S contains the views of lowest entropy under the initial prompt; it is selected once. The prediction is that for the
    evaluation crop under :math:`v^*`; then context and optimiser are reset. The image tower is not differentiated.
    """

    name = "tpt"
    protocol = "episodic"
    summary = "the prompt tuned until confident views agree"
    paper = "arXiv 2209.07511"
    adapts = "the context vectors of the class prompts"
    revision = 2
    published = Published(
        "azshue/TPT, scripts/test_tpt.sh: ctx_init a_photo_of_a for every data set; the agreement is with that prompt",
        {"templates": "simple"},
    )
    needs_text = True
    starts_from_prompts = True
    Parameters = TptParameters

    def setup(self) -> None:
        chosen = self.parameters
        self.spec = ViewSpec(chosen.views, self.crop_scale, chosen.augmix)
        self.tower = require_text_tower(self.teacher)
        learned = self._learned_context()
        words = chosen.context if learned is None else placeholder(learned)
        prompts = self.tower.tokens([f"{words} {name}." for name in self.classes])
        self.start, self.stop = context_tokens(self.tower, words, prompts)
        with torch.no_grad():
            self.tokens = self.tower.truncate(prompts)
            self.embedded = self.tower.embed(self.tokens)
            own = self.embedded[0, self.start : self.stop]
            self.context = (own if learned is None else learned.to(own)).clone()
            self.initial_weights = self.weights(self.context[None])[0]

    def check_teacher(self) -> None:
        super().check_teacher()
        require_text_tower(self.teacher)

    def _learned_context(self) -> Tensor | None:
        """Return the vectors ``(n, W)`` that the run starts from where it has learned prompts, as TPT + CoOp does.

        Raises:
            UserError: for vectors of each class, which are not tuned together, or words that would be ignored. Exit
                code 2.
        """
        learned = self.teacher.learned_context
        if learned is not None and learned.ndim != 2:
            raise UserError(f"method {self.name} tunes vectors that all classes share, not prompts of each class", 2)
        if learned is not None and self.parameters.context not in (TptParameters.context, _LEARNED):
            raise UserError(f"method {self.name} starts from --prompts: {self.name}.context has no effect", 2)
        return learned

    def resolved_parameters(self) -> dict[str, Any]:
        return {
            **super().resolved_parameters(),
            "context_tokens": self.stop - self.start,
            **({} if self.teacher.learned_context is None else {"context": _LEARNED}),
        }

    def cost(self) -> Cost:
        steps = self.parameters.steps
        return Cost(image_forwards=self.spec.count, text_forwards=steps + 1, text_backwards=steps)

    def initial_prompts(self) -> tuple[str, ...]:
        learned = self.teacher.learned_context is not None
        return self.templates if learned else (f"{self.parameters.context} {{}}.",)

    def predict(self, batch: Batch) -> Predictions:
        features = self.view_features(batch, self.spec)
        at_once = max(1, self._prompts_at_once() // len(self.classes))
        if self.teacher.device.type == "cpu":
            at_once = min(at_once, _IMAGES_AT_ONCE_ON_CPU)
        return Predictions(torch.cat([self._tune(part) for part in features.split(at_once)]))

    def weights(self, context: Tensor) -> Tensor:
        """Compute unit class weights ``(B, C, F)`` for contexts ``(B, n, W)``, with as many prompts at once as fit."""
        at_once = max(1, self._prompts_at_once() // len(context))
        encode = self._text_embeddings
        if at_once < len(self.classes) and torch.is_grad_enabled():
            # Discards the activations of a part of the classes, and recomputes them for its gradient.
            encode = partial(checkpoint, self._text_embeddings, use_reentrant=False, preserve_rng_state=False)
        parts = [encode(context, start, start + at_once) for start in range(0, len(self.classes), at_once)]
        return normalize(torch.cat(parts, dim=1), dim=-1)

    def losses(self, kept: Tensor, weights: Tensor) -> Tensor:
        """Compute what is minimised for each image, ``(B,)``.

        Args:
            kept: its confident views, unit rows times the scale, ``(B, K, F)``.
            weights: unit class weights, ``(B, C, F)``.
        """
        return marginal_entropy(_view_logits(kept, weights))

    def _tune(self, features: Tensor) -> Tensor:
        """Compute logits ``(B, C)`` from view features ``(B, N, F)``. The images' losses share no parameter."""
        scaled = self.teacher.scales(features) * normalize(features, dim=-1)
        kept = select(scaled, lowest_entropy(_view_logits(scaled, self.initial_weights), self.parameters.share))
        context = self.context.repeat(len(features), 1, 1).requires_grad_()
        optimizer = torch.optim.AdamW(
            [context], lr=self.parameters.learning_rate, weight_decay=self.parameters.weight_decay
        )
        for _ in range(self.parameters.steps):
            with torch.enable_grad():
                loss = self.losses(kept, self.weights(context)).sum()
                optimizer.zero_grad()
                loss.backward()
            optimizer.step()
        with torch.no_grad():
            logits = _view_logits(scaled[:, :1], self.weights(context))
        return logits.squeeze(1)

    def _text_embeddings(self, context: Tensor, start: int, stop: int) -> Tensor:
        """Embed classes ``start`` to ``stop`` under B contexts, ``(B, stop - start, F)``."""
        tokens, embedded = self.tokens[start:stop], self.embedded[start:stop]
        images, classes = len(context), len(tokens)
        parts = [
            embedded[None, :, : self.start].expand(images, -1, -1, -1),
            context[:, None].expand(-1, classes, -1, -1),
            embedded[None, :, self.stop :].expand(images, -1, -1, -1),
        ]
        prompts = torch.cat(parts, dim=2).flatten(0, 1)
        embeddings: Tensor = self.tower.encode(prompts, tokens.repeat(images, 1)).unflatten(0, (images, classes))
        return embeddings

    def _prompts_at_once(self) -> int:
        tower, length = self.tower, self.tokens.shape[1]
        # Activations that a block keeps for its gradient: 17 widths per token (two norms, qkv, attention, a four times
        # wider MLP) and the attention weights; half as much again for temporary values.
        floats = 1.5 * tower.layers * length * (17 * tower.width + 2 * tower.heads * length)
        budget = _SHARE_OF_FREE_MEMORY * free_memory(self.teacher.device) if self.memory is None else self.memory
        return max(1, int(budget / (4 * floats)))


@in_full_precision
def _view_logits(scaled: Tensor, weights: Tensor) -> Tensor:
    """Compute logits ``(..., N, C)`` from scaled views ``(..., N, F)`` and class weights ``(..., C, F)``."""
    logits: Tensor = scaled @ weights.transpose(-1, -2)
    return logits


def require_text_tower(teacher: Teacher) -> TextTower:
    """Return the text tower that prompts are tuned through.

    Raises:
        UserError: when the teacher has none. Exit code 2.
    """
    tower = teacher.text_tower
    if tower is None:
        raise UserError(
            f"teacher {teacher.name} has no text tower; prompt tuning needs a CLIP, such as ViT-B-16:openai", 2
        )
    return tower


def context_tokens(tower: TextTower, context: str, prompts: Tensor) -> tuple[int, int]:
    """Find where the tokens of ``context`` begin and end in every one of ``prompts`` ``(C, L)``.

    Raises:
        UserError: when it has no token that stays the same whatever the class name, or leaves no room for the names.
            Exit code 2.
    """
    empty, alone = tower.tokens(["", context])
    start = _common_prefix(alone[None], empty)
    stop = _common_prefix(prompts, alone)
    if stop <= start:
        raise UserError(f"method tpt: the context {context!r} has no token of its own before the class name", 2)
    if stop == prompts.shape[1]:
        # The tokenizer truncates prompts silently: all classes would get the same one.
        raise UserError(f"method tpt: the context {context!r} leaves no room for the class name in {stop} tokens", 2)
    return start, stop


def _common_prefix(rows: Tensor, row: Tensor) -> int:
    """Return the length of the longest prefix that all ``rows`` ``(R, L)`` share with ``row`` ``(L,)``."""
    same = (rows == row).all(0)
    return int(same.int().cumprod(0).sum())
