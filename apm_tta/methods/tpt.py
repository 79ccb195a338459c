"""TPT (arXiv 2209.07511): test-time prompt tuning."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Le, MinLen
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

from apm_tta.apm.memory import free_memory
from apm_tta.data.task import Task
from apm_tta.errors import UserError
from apm_tta.methods.base import Cost, Method, Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import in_full_precision, lowest_entropy, marginal_entropy, select
from apm_tta.methods.parameters import Templates
from apm_tta.methods.views import ViewSpec
from apm_tta.teachers import Teacher
from apm_tta.teachers.text_tower import TextTower

# More gain nothing on a CPU: what is computed together then no longer fits its caches.
_IMAGES_TOGETHER_ON_CPU = 16
_SHARE_OF_FREE = 0.5


@dataclass(frozen=True)
class Parameters:
    """Of ``tpt``.

    Attributes:
        context: words in front of the class that the tuned vectors start from, one vector a token; the paper's
            (section 4) and the script's ``a_photo_of_a``, four tokens.
        views: N, the evaluation crop included; 64 (section 4).
        share: of the views, those of lowest entropy, that are kept; 0.1 (section 4, rho).
        learning_rate: of AdamW; 0.005 (section 4).
        weight_decay: of AdamW; 0.01, PyTorch's default, which the code takes.
        steps: an image; 1 (section 4).
        augmix: whether views go through AugMix. None, as the authors' code: for the fine-grained sets alone.
        templates: of the teacher's own answer, which ``agreement`` compares with. The tuned prompt has none: it is the
            context, the class and a full stop, on every set, as in the authors' code.
    """

    context: Annotated[str, MinLen(1)] = "a photo of a"
    views: Annotated[int, Ge(1)] = 64
    share: Annotated[float, Gt(0), Le(1)] = 0.1
    learning_rate: Annotated[float, Gt(0)] = 5e-3
    weight_decay: Annotated[float, Ge(0)] = 0.01
    steps: Annotated[int, Ge(1)] = 1
    augmix: bool | None = None
    templates: Templates = "dataset"


@register
class Tpt(Method):
    r"""Each image tunes the context of the class prompts until its confident views agree.

    .. math:: v^* = v - \eta \operatorname{AdamW}\bigl(\nabla_v H(\bar p_v)\bigr), \qquad
        \bar p_v = \frac{1}{|S|} \sum_{k \in S} p_v(\cdot \mid \tilde x_k), \qquad
        p_v(c \mid x) \propto \exp\bigl(s \cos(f(x), t([v; c]))\bigr)

    S holds the views of lowest entropy under the initial prompt; it is chosen once. The answer is that of the
    evaluation crop under :math:`v^*`; then context and optimiser start afresh. The image tower is not differentiated.
    """

    name = "tpt"
    protocol = "episodic"
    summary = "the prompt tuned until confident views agree"
    paper = "arXiv 2209.07511"
    adapts = "the context vectors of the class prompts"
    needs_text = True
    Parameters = Parameters

    def __init__(self, teacher: Teacher, task: Task, parameters: Any, seed: int, memory: int | None = None) -> None:
        super().__init__(teacher, task, parameters, seed, memory)
        augmix = task.family == "fine-grained" if parameters.augmix is None else parameters.augmix
        self.spec = ViewSpec(parameters.views, task.crop_scale, augmix)
        self.tower = TextTower(teacher)
        prompts = self.tower.tokens([f"{parameters.context} {name}." for name in task.classes])
        self.start, self.stop = context_tokens(self.tower, parameters.context, prompts)
        with torch.no_grad():
            self.tokens = self.tower.cut(prompts)
            self.embedded = self.tower.embed(self.tokens)
            self.context = self.embedded[0, self.start : self.stop].clone()
            self.initial_weights = self.weights(self.context[None])[0]

    def check_teacher(self) -> None:
        super().check_teacher()
        TextTower(self.teacher)

    def resolved(self) -> dict[str, Any]:
        return {
            "augmix": self.spec.augmix,
            "crop_scale": list(self.spec.crop_scale),
            "context_tokens": self.stop - self.start,
        }

    def cost(self) -> Cost:
        steps = self.parameters.steps
        return Cost(image_forwards=self.spec.count, text_forwards=steps + 1, text_backwards=steps)

    def predict(self, batch: Batch) -> Predictions:
        features = self.view_features(batch, self.spec)
        together = max(1, self._prompts_together() // len(self.classes))
        if self.teacher.device.type == "cpu":
            together = min(together, _IMAGES_TOGETHER_ON_CPU)
        return Predictions(torch.cat([self._tune(part) for part in features.split(together)]))

    def weights(self, context: Tensor) -> Tensor:
        """Contexts ``(B, n, W)`` -> unit class weights ``(B, C, F)``, through as many prompts at once as memory has."""
        at_once = max(1, self._prompts_together() // len(context))
        encode = self._text_embeddings
        if at_once < len(self.classes) and torch.is_grad_enabled():
            # Forgets what a part of the classes computed, and computes it again when its gradient is wanted.
            encode = partial(checkpoint, self._text_embeddings, use_reentrant=False, preserve_rng_state=False)
        parts = [encode(context, start, start + at_once) for start in range(0, len(self.classes), at_once)]
        return normalize(torch.cat(parts, dim=1), dim=-1)

    def _tune(self, features: Tensor) -> Tensor:
        """View features ``(B, N, F)`` -> logits ``(B, C)``. The images' losses have no parameter in common."""
        scaled = self.teacher.scales(features) * normalize(features, dim=-1)
        kept = select(scaled, lowest_entropy(_products(scaled, self.initial_weights), self.parameters.share))
        context = self.context.repeat(len(features), 1, 1).requires_grad_()
        optimizer = torch.optim.AdamW(
            [context], lr=self.parameters.learning_rate, weight_decay=self.parameters.weight_decay
        )
        for _ in range(self.parameters.steps):
            with torch.enable_grad():
                loss = marginal_entropy(_products(kept, self.weights(context))).sum()
                optimizer.zero_grad()
                loss.backward()
            optimizer.step()
        with torch.no_grad():
            logits = _products(scaled[:, :1], self.weights(context))
        return logits.squeeze(1)

    def _text_embeddings(self, context: Tensor, start: int, stop: int) -> Tensor:
        """Text embeddings of classes ``start`` to ``stop`` under B contexts, ``(B, stop - start, F)``."""
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

    def _prompts_together(self) -> int:
        tower, length = self.tower, self.tokens.shape[1]
        # Activations that a block keeps for its gradient: 17 widths a token (two norms, qkv, attention, a four times
        # wider MLP) and the attention's weights; half as much again for what is alive meanwhile.
        floats = 1.5 * tower.layers * length * (17 * tower.width + 2 * tower.heads * length)
        budget = _SHARE_OF_FREE * free_memory(self.teacher.device) if self.memory is None else self.memory
        return max(1, int(budget / (4 * floats)))


@in_full_precision
def _products(scaled: Tensor, weights: Tensor) -> Tensor:
    """Views ``(..., N, F)`` times their scale, class weights ``(..., C, F)`` -> logits ``(..., N, C)``."""
    logits: Tensor = scaled @ weights.transpose(-1, -2)
    return logits


def context_tokens(tower: TextTower, context: str, prompts: Tensor) -> tuple[int, int]:
    """Where the tokens of ``context`` begin and end in every one of ``prompts`` ``(C, L)``.

    Raises:
        UserError: when it has no token that the class names leave as it is, or leaves none to them. Exit code 2.
    """
    empty, alone = tower.tokens(["", context])
    start = _common(alone[None], empty)
    stop = _common(prompts, alone)
    if stop <= start:
        raise UserError(f"method tpt: the context {context!r} has no token of its own in front of the class", 2)
    if stop == prompts.shape[1]:
        # The tokenizer cuts prompts off without a word: all classes would have the same one.
        raise UserError(f"method tpt: the context {context!r} leaves no room for the class in {stop} tokens", 2)
    return start, stop


def _common(rows: Tensor, row: Tensor) -> int:
    """Length of the longest beginning that all ``rows`` ``(R, L)`` share with ``row`` ``(L,)``."""
    same = (rows == row).all(0)
    return int(same.int().cumprod(0).sum())
