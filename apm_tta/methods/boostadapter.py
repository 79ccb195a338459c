"""BoostAdapter (arXiv 2410.15430): TDA's caches, the positive one boosted by confident views of the image at hand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor

from apm_tta.device_copies import device_copy
from apm_tta.methods.base import Cost, Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import entropy, in_full_precision, lowest_entropy, select, view_scales
from apm_tta.methods.data_defaults import by_family
from apm_tta.methods.parameter_types import Fraction, Share, Views, Weight
from apm_tta.methods.parameters import Templates
from apm_tta.methods.stream_cache import Entering, StreamCache
from apm_tta.methods.tda import Evidence, gather_evidence
from apm_tta.methods.view_method import ViewMethod
from apm_tta.methods.views import ViewSpec

_V2 = ("imagenet-v2-matched-frequency", "imagenet-v2-threshold-0.7", "imagenet-v2-top-images")


@dataclass(frozen=True)
class BoostAdapterParameters:
    """Parameters of ``boostadapter``. Values are from ``configs/imagenet.yaml`` unless another source is named.

    Attributes:
        views: N, the evaluation crop included; 64 (the authors' ``runner.py``).
        share: share of the views, those of lowest entropy, that boost the cache; 0.1 (``runner.py``).
        answer: ``confident``, the mean of these views is classified and cached, for ImageNet's variants; ``crop``, the
            evaluation crop is, for ImageNet-C and all other sets (``runner.py``).
        delta: views that a class may have in the cache beyond its shots; 3, and 1 for ImageNet-V2 and ImageNet-Sketch.
            The authors have one value per data set, from 0 to 3.
        positive_shots: entries per class in the positive cache; 3.
        positive_alpha: its weight; 2. The authors choose this and beta for each data set, as TDA's do.
        positive_beta: how fast it falls with distance; 5.
        negative_shots: entries per class in the negative cache; 2.
        negative_alpha: its weight; 0.117.
        negative_beta: how fast it falls with distance; 1.
        entropy_above: an image enters the negative cache when its relative entropy is above this; 0.2.
        entropy_below: and below this; 0.5.
        mask_above: the negative cache lowers classes whose probability was above this; 0.03.
        mask_below: and below this; 1.
        templates: of the class weights.
    """

    views: Views = 64
    share: Share = 0.1
    answer: Literal["crop", "confident"] = by_family("crop", {"imagenet": "confident"}, {"imagenet-c": "crop"})
    delta: Annotated[int, Ge(0), Le(1000)] = by_family(3, {}, dict.fromkeys((*_V2, "imagenet-sketch"), 1))
    positive_shots: Annotated[int, Ge(1), Le(1000)] = 3
    positive_alpha: Weight = 2.0
    positive_beta: Weight = 5.0
    negative_shots: Annotated[int, Ge(1), Le(1000)] = 2
    negative_alpha: Weight = 0.117
    negative_beta: Weight = 1.0
    entropy_above: Fraction = 0.2
    entropy_below: Fraction = 0.5
    mask_above: Fraction = 0.03
    mask_below: Fraction = 1.0
    templates: Templates = "dataset"


@register
class BoostAdapter(ViewMethod[BoostAdapterParameters]):
    """TDA whose positive cache has, for the image at hand, its own confident views too."""

    name = "boostadapter"
    protocol = "online"
    summary = "tda with confident views of the image in its positive cache"
    paper = "arXiv 2410.15430"
    keeps = "3 and 2 embeddings per class, and of the latter C numbers each"
    adapts = "a positive and a negative cache"

    def setup(self) -> None:
        self.spec = ViewSpec(self.parameters.views, self.crop_scale)
        self.reset()

    def reset(self) -> None:
        self.adapter = BoostedAdapter(self.class_weights, self.parameters)

    def cost(self) -> Cost:
        return Cost(image_forwards=self.spec.count, other="products with the filled rows of two caches")

    def predict(self, batch: Batch) -> Predictions:
        views, scales = self.unit_views(batch)
        return Predictions(self.adapter.stream(views, scales))


class BoostedAdapter:
    r"""BoostAdapter on embeddings, which processes a stream image by image.

    .. math:: \ell(f) + \alpha_+ \sum_{i \in P \cup V} e^{-\beta_+ (1 - f \cdot k_i)} \operatorname{onehot}(\hat c_i)
        - \alpha_- \sum_{j \in N} e^{-\beta_- (1 - f \cdot k_j)} \, [\, m_- < p_j < m_+ \,]

    P and N are the caches of the stream, V the confident views of the image at hand. A class has at most
    ``positive_shots`` plus ``delta`` entries of P and V together, those of lowest entropy; the views are forgotten
    after the answer. Where the evaluation crop is among the confident views, it counts twice. As in the authors' code,
    the negative cache keeps the latest images of a class (TDA keeps the surest).

    Args:
        class_weights: unit rows, ``(C, F)``.
        parameters: see ``BoostAdapterParameters``; ``answer`` is one of both values.
    """

    def __init__(self, class_weights: Tensor, parameters: BoostAdapterParameters) -> None:
        self.class_weights, self.parameters = class_weights, parameters
        classes = len(class_weights)
        self.positive = StreamCache(classes, parameters.positive_shots, parameters.positive_beta, class_weights)
        self.negative = StreamCache(
            classes, parameters.negative_shots, parameters.negative_beta, class_weights, valued=True
        )
        self._entered = 0

    @in_full_precision
    def stream(self, views: Tensor, logit_scale: Tensor | float, boosted: bool = True) -> Tensor:
        """Compute logits ``(B, C)`` of B images in order.

        Args:
            views: unit rows, ``(B, N, F)``.
            logit_scale: one for all, or ``(B, N, 1)``.
            boosted: whether views enter the positive cache; without them it is TDA with a queue as negative cache.
        """
        chosen, scales = self.parameters, view_scales(views, logit_scale)
        logits = scales * views @ self.class_weights.T
        kept = lowest_entropy(logits, chosen.share)
        confident, confident_logits = select(views, kept), select(logits, kept)
        if chosen.answer == "confident":
            pooled = gather_evidence(views, self.class_weights, scales, chosen.share)
        else:
            crop = logits[:, 0]
            pooled = Evidence(views[:, 0], crop, crop.softmax(-1), entropy(crop))
        # All in one table, so that a GPU is waited for once; float64 holds everything exactly.
        predicted = torch.cat([pooled.logits.argmax(-1, keepdim=True), confident_logits.argmax(-1)], dim=1)
        entropies = torch.cat([pooled.entropies[:, None], entropy(confident_logits)], dim=1)
        classes, uncertain = torch.stack([predicted.double(), entropies.double()]).tolist()
        probabilities = pooled.probabilities
        marked = ((probabilities > chosen.mask_above) & (probabilities < chosen.mask_below)).to(views.dtype)
        answers = []
        for image, (own_classes, own_entropies) in enumerate(zip(classes, uncertain, strict=True)):
            feature = pooled.features[image : image + 1]
            own = Entering(0, int(own_classes[0]), own_entropies[0])
            raised = self.positive.stream(feature, [own])
            if boosted:
                boosting = [(int(each), value) for each, value in zip(own_classes[1:], own_entropies[1:], strict=True)]
                raised = raised + self._boost(feature, confident[image], boosting)
            lowered = self.negative.stream(feature, self._unsure(own), marked[image : image + 1])
            answers.append(chosen.positive_alpha * raised - chosen.negative_alpha * lowered)
        return pooled.logits + torch.cat(answers)

    def _unsure(self, own: Entering) -> list[Entering]:
        """Return what enters the negative cache: the later, the longer it stays."""
        self._entered += 1
        most = math.log2(len(self.class_weights))  # of one class, 0
        unsure = most and self.parameters.entropy_above < own.entropy / most < self.parameters.entropy_below
        return [own._replace(entropy=-float(self._entered))] if unsure else []

    def _boost(self, feature: Tensor, views: Tensor, entering: list[tuple[int, float]]) -> Tensor:
        """Compute by how much views change the sum over the positive cache, ``(1, C)``.

        Args:
            feature: of the image, ``(1, F)``.
            views: unit rows, ``(K, F)``.
            entering: of each, its predicted class and its entropy.
        """
        weights = self._weights(feature, views)
        change = feature.new_zeros(1, len(self.class_weights))
        for predicted in {each for each, _ in entering}:
            cached = [(value, -1) for value in self.positive.entropies.get(predicted, ())]
            own = [(value, view) for view, (each, value) in enumerate(entering) if each == predicted]
            most = self.parameters.positive_shots + self.parameters.delta
            left = sorted([*cached, *own], key=lambda entry: entry[0])[:most]
            staying = device_copy(torch.tensor([view for _, view in left if view >= 0], dtype=torch.long), views.device)
            change[0, predicted] += weights[staying].sum()
            if gone := len(cached) - sum(view < 0 for _, view in left):
                # Of the cached entries, which are in ascending order, the last ones.
                change[0, predicted] -= self._weights(feature, self.positive.keys(predicted)[-gone:]).sum()
        return change

    def _weights(self, feature: Tensor, keys: Tensor) -> Tensor:
        weights: Tensor = (self.parameters.positive_beta * (keys @ feature[0] - 1)).exp()
        return weights
