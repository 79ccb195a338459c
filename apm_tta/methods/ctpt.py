"""C-TPT (arXiv 2403.14119): TPT that keeps the classes' text embeddings apart, for calibrated confidences."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from apm_tta.methods.base import register
from apm_tta.methods.data_defaults import by_family
from apm_tta.methods.parameter_types import Weight
from apm_tta.methods.presets import Published
from apm_tta.methods.tpt import Tpt, TptParameters


@dataclass(frozen=True)
class CtptParameters(TptParameters):
    """Parameters of ``ctpt``: those of ``tpt``, and one more.

    Attributes:
        context: see ``tpt``; ``a photo of a`` (the authors' scripts).
        views: see ``tpt``; 64 (the authors' scripts).
        share: see ``tpt``; 0.1 (the authors' code).
        learning_rate: of AdamW; 0.005 (the authors' code).
        weight_decay: of AdamW; 0.01, PyTorch's default, which the code uses.
        steps: per image; 1 (the authors' code).
        augmix: whether to apply AugMix to views; for the fine-grained sets and ImageNet's variants (the authors'
            scripts; TPT has it for the fine-grained sets alone).
        preset: ``published`` is all as in the authors' script; ``suite``.
        templates: of the teacher's own prediction, which ``agreement`` compares with; see ``tpt``.
        dispersion_weight: lambda; 50, and 20 for ImageNet's variants (the authors' scripts).
    """

    augmix: bool = by_family(False, {"fine-grained": True, "imagenet": True})
    dispersion_weight: Weight = by_family(50.0, {"imagenet": 20.0})  # noqa: RUF009  immutable


@register
class Ctpt(Tpt[CtptParameters]):
    r"""TPT with a reward for text embeddings that lie far from their mean.

    .. math:: \mathcal{L} = H(\bar p_v) - \lambda \frac{1}{C} \sum_c \Bigl\lVert t_c - \frac{1}{C} \sum_k t_k
        \Bigr\rVert

    The text embeddings t are of unit length, their mean is not. Everything else is TPT's. Its paper measures the
    expected calibration error in 20 bins; ``ece`` of this suite has its own number.
    """

    name = "ctpt"
    summary = "tpt with the text embeddings kept apart"
    paper = "arXiv 2403.14119"
    published = Published(
        "hee-suk-yoon/C-TPT, scripts/test_tpt_ctpt_fg.sh and test_tpt_ctpt_ds.sh: ctx_init a_photo_of_a for every data "
        "set; the agreement is with that prompt",
        {"templates": "simple"},
    )

    def losses(self, kept: Tensor, weights: Tensor) -> Tensor:
        return super().losses(kept, weights) - self.parameters.dispersion_weight * dispersion(weights)


def dispersion(weights: Tensor) -> Tensor:
    """Compute the mean distance of class weights ``(..., C, F)`` from their mean, ``(...)``."""
    distances: Tensor = (weights - weights.mean(-2, keepdim=True)).norm(dim=-1)
    return distances.mean(-1)
