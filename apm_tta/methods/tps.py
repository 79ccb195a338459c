"""TPS (arXiv 2403.12952): test-time prototype shifting, one vector per class added to the class weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor
from torch.nn.functional import normalize

from apm_tta.methods.base import Cost, Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import in_full_precision, lowest_entropy, marginal_entropy, scale_of_views, select
from apm_tta.methods.family_defaults import by_family
from apm_tta.methods.parameters import Templates
from apm_tta.methods.view_method import ViewMethod
from apm_tta.methods.views import ViewSpec

# Shifts of the images that are adapted together, 64 MiB; a step holds about twelve tensors of that size.
_SHIFTS_TOGETHER = 2**24
_TENSORS = 12


@dataclass(frozen=True)
class TPSParameters:
    """Of ``tps``.

    Attributes:
        views: N, the evaluation crop included; 64 (paper and code).
        share: of the views, those of lowest entropy, whose marginal entropy is minimised; 0.1 (paper and code).
        learning_rate: of AdamW; 0.005 (paper and code).
        weight_decay: of AdamW; 0.01, PyTorch's default, which the code takes. The first step starts at zero and does
            not feel it.
        steps: per image; 1 (paper and code).
        augmix: whether views go through AugMix; for the fine-grained sets alone, as in the authors' code.
        templates: of the class weights. The authors' scripts also average descriptions of each class by GPT-4 with
            CLIP's 80 templates (``openai80``, without the descriptions).
    """

    views: Annotated[int, Ge(1)] = 64
    share: Annotated[float, Gt(0), Le(1)] = 0.1
    learning_rate: Annotated[float, Gt(0)] = 5e-3
    weight_decay: Annotated[float, Ge(0)] = 0.01
    steps: Annotated[int, Ge(1)] = 1
    augmix: bool = by_family(False, {"fine-grained": True})
    templates: Templates = "dataset"


@register
class TPS(ViewMethod[TPSParameters]):
    """Each image shifts the class weights until its confident views agree; the encoders are never differentiated."""

    name = "tps"
    protocol = "episodic"
    summary = "class weights shifted until confident views agree"
    paper = "arXiv 2403.12952"
    adapts = "a shift of every class weight"

    def setup(self) -> None:
        chosen = self.parameters
        self.spec = ViewSpec(chosen.views, self.task.crop_scale, chosen.augmix)

    def predict(self, batch: Batch) -> Predictions:
        chosen = self.parameters
        features = self.view_features(batch, self.spec)
        shifts = _SHIFTS_TOGETHER if self.memory is None else self.memory // (_TENSORS * 4)
        together = max(1, shifts // self.class_weights.numel())
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
            for part in features.split(together)
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
    r"""Compute the whole of TPS on embeddings.

    .. math:: \delta^* = \delta - \eta \operatorname{AdamW}\bigl(\nabla_\delta H(\bar p_\delta)\bigr), \qquad
        \bar p_\delta = \frac{1}{|S|} \sum_{k \in S} p_\delta(\cdot \mid f_k), \qquad
        p_\delta(c \mid f) \propto \exp \Bigl( s \, f \cdot \frac{w_c + \delta_c}{\lVert w_c + \delta_c \rVert} \Bigr)

    :math:`\delta` starts at zero. S holds the views of lowest entropy, chosen anew in every step (the authors' code).
    The answer is that of view 0 under :math:`\delta^*`.

    Args:
        views: unit rows, ``(..., N, F)``. Images of a batch have shifts of their own and no term of the loss in common.
        class_weights: unit rows, ``(C, F)``.
        logit_scale: one for all, or one per view, ``(..., N, 1)``.
        share: as all that follow, see ``TPSParameters``.

    Returns:
        Logits ``(..., C)``.
    """
    scaled = scale_of_views(views, logit_scale) * views
    shift = class_weights.new_zeros((*views.shape[:-2], *class_weights.shape)).requires_grad_()
    optimizer = torch.optim.AdamW([shift], lr=learning_rate, weight_decay=weight_decay)
    for _ in range(steps):
        with torch.enable_grad():
            logits = scaled @ normalize(class_weights + shift, dim=-1).transpose(-1, -2)
            kept = lowest_entropy(logits.detach(), share)
            loss = marginal_entropy(select(logits, kept)).sum()
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
    shifted = normalize(class_weights + shift.detach(), dim=-1)
    return (scaled[..., :1, :] @ shifted.transpose(-1, -2)).squeeze(-2)
