"""VTE (arXiv 2405.14977): vision-text-space ensemble, the mean embedding of the confident views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le
from torch import Tensor

from apm_tta.methods.base import Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import in_full_precision, lowest_entropy, scale_of_views, select
from apm_tta.methods.parameters import Templates
from apm_tta.methods.view_method import ViewMethod


@dataclass(frozen=True)
class VTEParameters:
    """Of ``vte``.

    Attributes:
        views: N, the evaluation crop included; 64, TPT's (arXiv 2209.07511), as is the choice of the confident ones.
        share: of the views, those of lowest entropy, that are averaged; 0.1 (the authors' code, ``SELECTION_P``).
        templates: of the class weights. The text half of the ensemble is one of prompts: ``openai80``.
    """

    views: Annotated[int, Ge(1)] = 64
    share: Annotated[float, Gt(0), Le(1)] = 0.1
    templates: Templates = "dataset"


@register
class VTE(ViewMethod[VTEParameters]):
    """The mean embedding of the views that the teacher is surest of, against the class weights."""

    name = "vte"
    protocol = "episodic"
    summary = "the mean embedding of confident views"
    paper = "arXiv 2405.14977"
    adapts = "the image embedding"

    def predict(self, batch: Batch) -> Predictions:
        views, scales = self.unit_views(batch)
        return Predictions(from_features(views, self.class_weights, scales, self.parameters.share))


@in_full_precision
def from_features(views: Tensor, class_weights: Tensor, logit_scale: Tensor | float, share: float = 0.1) -> Tensor:
    r"""Compute logits ``(..., C)`` of the mean; arguments as of ``consensus``.

    .. math:: \ell_c = \bar s \, \bar f \cdot w_c

    As in the authors' code, the mean is not normalised again; that changes no prediction, only how sure it looks.
    Where every view has its own scale, the mean is multiplied by theirs.
    """
    mean = consensus(views, class_weights, logit_scale, share)
    return scale_of_views(views, logit_scale).mean(-2) * mean @ class_weights.T


@in_full_precision
def consensus(views: Tensor, class_weights: Tensor, logit_scale: Tensor | float, share: float = 0.1) -> Tensor:
    r"""Compute the mean embedding of the confident views, ``(..., F)``, not normalised.

    .. math:: \bar f = \frac{1}{|S|} \sum_{k \in S} f_k, \qquad
        S = \text{the share of views with the lowest } H(p(\cdot \mid f_k))

    Args:
        views: unit rows, ``(..., N, F)``.
        class_weights: unit rows, ``(C, F)``.
        logit_scale: one for all, or one per view, ``(..., N, 1)``.
        share: of the views that are kept, rounded down, at least one.
    """
    kept = lowest_entropy(scale_of_views(views, logit_scale) * views @ class_weights.T, share)
    return select(views, kept).mean(-2)
