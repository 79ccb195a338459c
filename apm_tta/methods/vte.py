"""VTE (arXiv 2405.14977): vision-text-space ensemble, the mean embedding of the confident views."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from apm_tta.methods.base import Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import confident_views, in_full_precision, select, view_scales
from apm_tta.methods.data_defaults import by_family
from apm_tta.methods.parameter_types import Share, Views
from apm_tta.methods.parameters import Templates
from apm_tta.methods.presets import Preset, Published
from apm_tta.methods.view_method import ViewMethod
from apm_tta.methods.views import ViewSpec


@dataclass(frozen=True)
class VTEParameters:
    """Parameters of ``vte``.

    Attributes:
        views: N, the evaluation crop included; 64, as in TPT (arXiv 2209.07511), like the selection of confident ones.
        share: share of the views, those of lowest entropy, that is averaged; 0.1 (the authors' code, ``SELECTION_P``).
        augmix: whether to apply AugMix to views; only for the fine-grained sets, as in the authors' code.
        preset: ``published`` is all as in the authors' script; ``suite``.
        templates: of the class weights. For the text half of the ensemble, one over prompts, set ``openai80``.
    """

    views: Views = 64
    share: Share = 0.1
    augmix: bool = by_family(False, {"fine-grained": True})
    preset: Preset = "suite"
    templates: Templates = "dataset"


@register
class VTE(ViewMethod[VTEParameters]):
    """The mean embedding of the views for which the teacher is most confident, compared with the class weights."""

    name = "vte"
    protocol = "episodic"
    summary = "the mean embedding of confident views"
    paper = "arXiv 2405.14977"
    adapts = "the image embedding"
    revision = 2
    published = Published(
        "mariodoebler/test-time-adaptation, cfgs/imagenet_others/vte.yaml: PROMPT_MODE ensemble; for sets other than "
        "ImageNet's it has lists of its own, here CLIP's 80 sentences are for all",
        {"templates": "openai80"},
    )

    def setup(self) -> None:
        self.spec = ViewSpec(self.parameters.views, self.crop_scale, self.parameters.augmix)

    def predict(self, batch: Batch) -> Predictions:
        views, scales = self.unit_views(batch)
        return Predictions(from_features(views, self.class_weights, scales, self.parameters.share))


@in_full_precision
def from_features(views: Tensor, class_weights: Tensor, logit_scale: Tensor | float, share: float = 0.1) -> Tensor:
    r"""Compute logits ``(..., C)`` of the mean; the arguments are those of ``consensus``.

    .. math:: \ell_c = \bar s \, \bar f \cdot w_c

    As in the authors' code, the mean is not renormalised; that changes no prediction, only its confidence. If every
    view has its own scale, the mean embedding is multiplied by the mean of the scales.
    """
    mean = consensus(views, class_weights, logit_scale, share)
    return view_scales(views, logit_scale).mean(-2) * mean @ class_weights.T


@in_full_precision
def consensus(views: Tensor, class_weights: Tensor, logit_scale: Tensor | float, share: float = 0.1) -> Tensor:
    r"""Compute the mean embedding of the confident views, ``(..., F)``, not normalised.

    .. math:: \bar f = \frac{1}{|S|} \sum_{k \in S} f_k, \qquad
        S = \text{the share of views with the lowest } H(p(\cdot \mid f_k))

    Args:
        views: unit rows, ``(..., N, F)``.
        class_weights: unit rows, ``(C, F)``.
        logit_scale: one for all, or one per view, ``(..., N, 1)``.
        share: share of the views that is kept, rounded down, at least one.
    """
    return select(views, confident_views(views, class_weights, logit_scale, share)).mean(-2)
