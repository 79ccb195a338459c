"""TPS (arXiv 2403.12952): test-time prototype shifting, one vector per class added to the class weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from apm_tta.methods.base import Cost, Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import by_images, in_full_precision, lowest_entropy, select
from apm_tta.methods.data_defaults import by_family
from apm_tta.methods.parameter_types import Rate, Share, Steps, Views, Weight
from apm_tta.methods.parameters import Templates
from apm_tta.methods.presets import Preset, Published
from apm_tta.methods.view_method import ViewMethod
from apm_tta.methods.views import ViewSpec

# Size of the shifts of images that are adapted at once, 64 MiB; a step holds at most six tensors of that size.
_SHIFTS_AT_ONCE = 2**24
_TENSORS_PER_STEP = 6


@dataclass(frozen=True)
class TPSParameters:
    """Parameters of ``tps``.

    Attributes:
        views: N, the evaluation crop included; 64 (paper and code).
        share: share of the views, those of lowest entropy, whose marginal entropy is minimised; 0.1 (paper and code).
        learning_rate: of AdamW; 0.005 (paper and code).
        weight_decay: of AdamW; 0.01, PyTorch's default, which the code uses. It has no effect on the first step, which
            starts at zero.
        steps: per image; 1 (paper and code).
        augmix: whether to apply AugMix to views; only for the fine-grained sets, as in the authors' code.
        preset: ``published`` is all as in the authors' script; ``suite``.
        templates: of the class weights. The authors' scripts also average descriptions of each class by GPT-4 with
            CLIP's 80 templates (``openai80``, without the descriptions).
    """

    views: Views = 64
    share: Share = 0.1
    learning_rate: Rate = 5e-3
    weight_decay: Weight = 0.01
    steps: Steps = 1
    augmix: bool = by_family(False, {"fine-grained": True})
    preset: Preset = "suite"
    templates: Templates = "dataset"


@register
class TPS(ViewMethod[TPSParameters]):
    """Class weights shifted for each image until its confident views agree; the encoders are never differentiated."""

    name = "tps"
    protocol = "episodic"
    summary = "class weights shifted until confident views agree"
    paper = "arXiv 2403.12952"
    adapts = "a shift of every class weight"
    revision = 2
    published = Published(
        "elaine-sui/TPS, scripts/shift/shift_text_per_class_mean_init_template.sh: CLIP's 80 sentences; other scripts "
        "also average descriptions of each class by GPT-4, which are not part of this package",
        {"templates": "openai80"},
    )

    def setup(self) -> None:
        chosen = self.parameters
        self.spec = ViewSpec(chosen.views, self.crop_scale, chosen.augmix)

    def predict(self, batch: Batch) -> Predictions:
        chosen = self.parameters
        features = self.view_features(batch, self.spec)
        shifts = _SHIFTS_AT_ONCE if self.memory is None else self.memory // (_TENSORS_PER_STEP * 4)
        at_once = max(1, shifts // self.class_weights.numel())
        logits = [
            from_features(
                normalize(part.float(), dim=-1),
                self.class_weights,
                self.teacher.scales(part),
                share=chosen.share,
                learning_rate=chosen.learning_rate,
                weight_decay=chosen.weight_decay,
                steps=chosen.steps,
            )
            for part in features.split(at_once)
        ]
        return Predictions(torch.cat(logits))

    def cost(self) -> Cost:
        return Cost(image_forwards=self.spec.count, other=f"{self.parameters.steps} AdamW steps on C x F shifts")


@in_full_precision
def from_features(
    views: Tensor,
    class_weights: Tensor,
    logit_scale: Tensor | float,
    *,
    share: float = 0.1,
    learning_rate: float = 5e-3,
    weight_decay: float = 0.01,
    steps: int = 1,
) -> Tensor:
    r"""Apply the complete TPS algorithm to embeddings.

    .. math:: \delta^* = \delta - \eta \operatorname{AdamW}\bigl(\nabla_\delta H(\bar p_\delta)\bigr), \qquad
        \bar p_\delta = \frac{1}{|S|} \sum_{k \in S} p_\delta(\cdot \mid f_k), \qquad
        p_\delta(c \mid f) \propto \exp \Bigl( s \, f \cdot \frac{w_c + \delta_c}{\lVert w_c + \delta_c \rVert} \Bigr)

    :math:`\delta` starts at zero. S contains the views of lowest entropy, selected again in every step (the authors'
    code). The prediction is that for view 0 under :math:`\delta^*`.

    Args:
        views: unit rows, ``(..., N, F)``. Images of a batch have separate shifts and share no term of the loss.
        class_weights: unit rows, ``(C, F)``.
        logit_scale: one for all, or one per view, ``(..., N, 1)``.
        share: for this and the following arguments see ``TPSParameters``.

    Returns:
        Logits ``(..., C)``.
    """
    norms = class_weights.norm(dim=-1)
    unit = class_weights / norms[:, None]
    # On a CPU the shifts of one image are already more than its caches hold.
    at_once = 1 if views.device.type == "cpu" else max(1, len(views))

    def of(some: Tensor, scales: Tensor) -> tuple[Tensor]:
        scaled = scales * some
        logits = scaled @ unit.T
        kept = lowest_entropy(logits, share)
        parts = zip(scaled.split(at_once), logits.split(at_once), kept.split(at_once), strict=True)
        return (torch.cat([adapted(*part) for part in parts]),)

    def adapted(scaled: Tensor, logits: Tensor, kept: Tensor) -> Tensor:
        """Compute logits ``(b, C)`` of view 0 after the steps; ``scaled``: views times their scales."""
        shifted = _Shifted(class_weights, norms, _AdamW(learning_rate, weight_decay, steps))
        for step in range(steps):
            if step:
                logits = shifted.logits(scaled)
                kept = lowest_entropy(logits, share)
            shifted.step(select(scaled, kept), select(logits, kept))
        return shifted.logits(scaled[:, :1]).squeeze(1)

    with torch.no_grad():
        (answers,) = by_images(of, views, logit_scale, len(class_weights))
    return answers


def _derivative(logits: Tensor) -> Tensor:
    r"""Compute the derivative of the marginal entropy with respect to the logits ``(..., K, C)`` of K views.

    .. math:: \frac{\partial H}{\partial \ell_{kc}}
        = -\frac{p_{kc}}{K} \Bigl( \log \bar p_c - \sum_{c'} p_{kc'} \log \bar p_{c'} \Bigr)
    """
    logs, views = logits.log_softmax(-1), logits.shape[-2]
    mean = logs.logsumexp(-2, keepdim=True) - math.log(views)
    probabilities = logs.exp()
    return probabilities * ((probabilities * mean).sum(-1, keepdim=True) - mean) / views


class _AdamW(NamedTuple):
    """The optimiser of the authors' code, with PyTorch's default coefficients."""

    learning_rate: float
    weight_decay: float
    steps: int
    first: float = 0.9
    second: float = 0.999
    least: float = 1e-8


class _Shifted:
    """The class weights with the shifts of b images, whose gradient is written out.

    Args:
        class_weights: ``(C, F)``.
        norms: theirs, ``(C,)``.
        optimizer: takes the steps.
    """

    def __init__(self, class_weights: Tensor, norms: Tensor, optimizer: _AdamW) -> None:
        self._start = self._rows = class_weights
        self._norms, self._optimizer, self._steps = norms, optimizer, 0

    def logits(self, scaled: Tensor) -> Tensor:
        """Compute logits ``(b, n, C)`` of scaled views ``(b, n, F)``."""
        return scaled @ self._rows.mT / self._norms[..., None, :]

    def step(self, scaled: Tensor, logits: Tensor) -> None:
        r"""Take a step along the gradient of the marginal entropy with respect to the shifts.

        .. math:: \nabla_{\delta_c} H = \frac{1}{n_c} \sum_k \frac{\partial H}{\partial \ell_{kc}}
            \Bigl( s f_k - \ell_{kc} \frac{w_c + \delta_c}{n_c} \Bigr), \qquad n_c = \lVert w_c + \delta_c \rVert

        Args:
            scaled: the confident views times their scales, ``(b, K, F)``.
            logits: theirs, ``(b, K, C)``.
        """
        to_rows = _derivative(logits) / self._norms[..., None, :]
        along = (to_rows * logits).sum(-2) / self._norms
        gradient = (to_rows.mT @ scaled).addcmul_(self._rows, along[..., None], value=-1)
        self._rows = self._moved(gradient)
        self._norms = torch.linalg.vector_norm(self._rows, dim=-1)

    def _moved(self, gradient: Tensor) -> Tensor:
        """Return the rows after a step."""
        chosen = self._optimizer
        self._steps += 1
        if self._steps == 1:
            if chosen.steps > 1:
                self._first, self._second = (1 - chosen.first) * gradient, (1 - chosen.second) * gradient.square()
            # Once their bias is corrected, the first moments are the gradient's own; decay finds nothing to shrink.
            return torch.addcdiv(self._start, gradient, gradient.abs().add_(chosen.least), value=-chosen.learning_rate)
        self._first.lerp_(gradient, 1 - chosen.first)
        self._second.mul_(chosen.second).addcmul_(gradient, gradient, value=1 - chosen.second)
        corrected = (self._second / (1 - chosen.second**self._steps)).sqrt_().add_(chosen.least)
        decayed = self._rows.lerp(self._start, chosen.learning_rate * chosen.weight_decay)
        return decayed.addcdiv_(self._first, corrected, value=-chosen.learning_rate / (1 - chosen.first**self._steps))
