"""Zero-shot classification (CLIP, arXiv 2103.00020, section 3.1): no adaptation at all."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import normalize

from apm_tta.methods.base import Batch, Method, Predictions, register
from apm_tta.methods.parameters import Templates


def from_features(features: Tensor, class_weights: Tensor, logit_scale: float) -> Tensor:
    r"""Features ``(B, F)`` and class weights ``(C, F)`` of unit norm -> logits ``(B, C)``.

    .. math:: \ell_c = s \cdot \frac{f \cdot w_c}{\lVert f \rVert}
    """
    return logit_scale * normalize(features, dim=-1) @ class_weights.T


@dataclass(frozen=True)
class Parameters:
    """Of ``zeroshot``.

    Attributes:
        templates: "a photo of a {}." alone, as in the baselines of TPT (arXiv 2209.07511).
    """

    templates: Templates = "simple"


@register
class ZeroShot(Method):
    """The class whose prompt embedding is nearest to the image embedding."""

    name = "zeroshot"
    protocol = "episodic"
    summary = "the teacher's answer under one template (CLIP, arXiv 2103.00020)"
    Parameters = Parameters

    def predict(self, batch: Batch) -> Predictions:
        return Predictions(from_features(self.embed(batch.images), self.class_weights, self.teacher.logit_scale))
