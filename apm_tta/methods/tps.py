"""TPS (arXiv 2403.12952): test-time prototype shifting, one vector per class added to the class weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from apm_tta.methods.base import Cost, Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import in_full_precision, lowest_entropy, marginal_entropy, select, view_scales
from apm_tta.methods.family_defaults import by_family
from apm_tta.methods.parameter_types import Rate, Share, Steps, Views, Weight
from apm_tta.methods.parameters import Templates
from apm_tta.methods.view_method import ViewMethod
from apm_tta.methods.views import ViewSpec

# Size of the shifts of images that are adapted at once, 64 MiB; a step holds about twelve tensors of that size.
_SHIFTS_AT_ONCE = 2**24
_TENSORS_PER_STEP = 12


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
        templates: of the class weights. The authors' scripts also average descriptions of each class by GPT-4 with
            CLIP's 80 templates (``openai80``, without the descriptions).
    """

    views: Views = 64
    share: Share = 0.1
    learning_rate: Rate = 5e-3
    weight_decay: Weight = 0.01
    steps: Steps = 1
    augmix: bool = by_family(False, {"fine-grained": True})
    templates: Templates = "dataset"


@register
class TPS(ViewMethod[TPSParameters]):
    """Class weights shifted for each image until its confident views agree; the encoders are never differentiated."""

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
    scaled = view_scales(views, logit_scale) * views
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
