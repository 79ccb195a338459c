"""OnZeta (arXiv 2408.13320): labels under which no class goes without, and class proxies learned from the images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from apm_tta.methods.base import Cost, Method, Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import in_full_precision
from apm_tta.methods.data_defaults import by_family
from apm_tta.methods.parameter_types import Entries, Fraction, Share, Weight
from apm_tta.methods.parameters import Templates


@dataclass(frozen=True)
class OnZetaParameters:
    """Parameters of ``onzeta``. Values are the defaults of the authors' ``main_online.py`` unless another is named.

    Attributes:
        length: n, images of the stream over which the weight of the proxies grows; beyond them it stays. This is
            knowledge of the stream, which the authors' code takes from the data set. Here it is the number of test
            images that the data set's card states, else 10,000, or 50,000 for ImageNet's family; state another where
            the stream has fewer (``limit``), or goes on through several conditions.
        beta: weight of the proxies' labels after n images; 0.8.
        alpha: how much of its even share of the images every class is to get; 1, all of it.
        label_rate: c_r, learning rate of the multipliers of the classes; 20.
        proxy_rate: c_w, learning rate of the proxies; 0.5.
        proxy_scale: scale of the proxies' logits as a part of the teacher's; 0.25, from temperatures of 0.04 and 0.01.
        templates: of the class weights.
    """

    length: Entries = by_family(10_000, {"imagenet": 50_000}, {"imagenet-part": 10_000}, "images")  # noqa: RUF009  immutable
    beta: Fraction = 0.8
    alpha: Fraction = 1.0
    label_rate: Weight = 20.0
    proxy_rate: Weight = 0.5
    proxy_scale: Share = 0.25
    templates: Templates = "dataset"


@register
class OnZeta(Method[OnZetaParameters]):
    """The teacher's labels, balanced over the classes of the stream, mixed with those of class proxies fitted to them.

    The authors balance over the classes that their labels contain; here these are all classes of the task, and the
    images come in the stream's order, where the authors average over five random ones. Streams in which one class
    follows another violate what the method expects.
    """

    name = "onzeta"
    protocol = "online"
    summary = "labels balanced over the classes, and class proxies learned from the images"
    fast = True
    paper = "arXiv 2408.13320"
    keeps = "a class proxy of F numbers, and a multiplier, per class"
    knows = "the length of the stream"
    adapts = "a multiplier of each class, and class proxies"

    def setup(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.adapter = Adapter(self.class_weights, self.parameters)

    def cost(self) -> Cost:
        return Cost(other="a step of the class proxies")

    def predict(self, batch: Batch) -> Predictions:
        features = self.features(batch).float()
        answers, _ = self.adapter.stream(normalize(features, dim=-1), self.teacher.scales(features))
        return Predictions(answers)


class Adapter:
    r"""OnZeta on embeddings, which processes a stream image by image.

    .. math:: q_i &\propto p(f_i) \, e^{\rho}, \qquad
        \rho \leftarrow \max\bigl(0, \rho - \tfrac{c_r}{\sqrt i} (q_i - \tfrac{\alpha}{C})\bigr) \\
        v_i &= \operatorname{softmax}(s' W f_i), \qquad
        w_c \leftarrow \frac{w_c - \frac{c_w}{\sqrt i} s' (v_{ic} - q_{ic}) f_i}{\lVert \cdot \rVert} \\
        y_i &= \beta_i v_i + (1 - \beta_i) q_i, \qquad \beta_i = \beta \sqrt{i / n}

    p are the teacher's probabilities, W the proxies, at first the class weights, and s' the scale of their logits. An
    image is answered by what the images before it have left (the authors' code). The number of the image i counts from
    1 and grows beyond n; :math:`\beta_i` does not.

    Args:
        class_weights: unit rows, ``(C, F)``.
        parameters: see ``OnZetaParameters``; the length is a plain number.
    """

    def __init__(self, class_weights: Tensor, parameters: OnZetaParameters) -> None:
        self.parameters = parameters
        self.class_weights = class_weights
        self.proxies = class_weights.clone()
        self.multipliers = class_weights.new_zeros(len(class_weights))
        self.seen = 0

    @in_full_precision
    def stream(self, features: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the logarithms of the mixed and of the balanced labels of B images in order, ``(B, C)`` each.

        Args:
            features: unit rows, ``(B, F)``.
            scales: from cosines to logits, ``(B, 1)``.
        """
        logits = scales * features @ self.class_weights.T
        proxy_scales = self.parameters.proxy_scale * scales
        answers = [self._answer(*one) for one in zip(features, logits, proxy_scales, strict=True)]
        mixed, balanced = zip(*answers, strict=True)
        return torch.stack(mixed), torch.stack(balanced)

    def _answer(self, feature: Tensor, logits: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        chosen, classes = self.parameters, len(self.class_weights)
        self.seen += 1
        step = 1 / math.sqrt(self.seen)
        # Logarithms throughout: a multiplier's exponential may be infinite where a probability is zero.
        balanced = (logits + self.multipliers).log_softmax(-1)
        by_proxies = (scale * (self.proxies @ feature)).log_softmax(-1)
        label = balanced.exp()
        self.multipliers = (self.multipliers - chosen.label_rate * step * (label - chosen.alpha / classes)).clamp_min(0)
        gradient = torch.outer(by_proxies.exp() - label, scale * feature)
        self.proxies = normalize(self.proxies - chosen.proxy_rate * step * gradient, dim=-1)
        weight = chosen.beta * math.sqrt(min(self.seen / chosen.length, 1))
        return _mix(by_proxies, balanced, weight), balanced


def _mix(one: Tensor, other: Tensor, weight: float) -> Tensor:
    """Return the logarithms of ``weight`` parts of the first probabilities and the rest of the others."""
    if weight in (0, 1):
        return one if weight else other
    return torch.logaddexp(one + math.log(weight), other + math.log1p(-weight))
