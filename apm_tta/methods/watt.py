"""WATT (arXiv 2406.13875): the encoder adapted under several prompts, and its weights averaged over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from apm_tta.methods.base import Cost, register
from apm_tta.methods.data_defaults import by_family
from apm_tta.methods.pair_method import PairMethod
from apm_tta.methods.parameter_types import BatchSize, Rate, Steps
from apm_tta.methods.parameters import Templates


@dataclass(frozen=True)
class WATTParameters:
    """Parameters of ``watt``. Values are the defaults of the authors' ``main.py`` unless another source is named.

    Attributes:
        order: ``sequential``, WATT-S: every template goes on where the one before has ended. ``parallel``, WATT-P:
            every template starts from the last average.
        steps: l, for every template before the weights are averaged; 2.
        repeats: m, how often they are averaged; 5. The authors' scripts have 50 for ``parallel``.
        learning_rate: of Adam; 1e-4, and 1e-3 for the CIFAR sets (the authors' scripts ``bash/watt_s``).
        batch_size: images that are adapted to together; 128.
        channels_last: whether the adapted copy of a convolutional network has its channels together in memory: often
            quicker, and logits differ by about 1e-3; False.
        templates: by which the encoder is adapted, one after another; their average answers. ``watt8``, the authors'
            ``templates.yaml``.
    """

    order: Literal["sequential", "parallel"] = "sequential"
    steps: Steps = 2
    repeats: Steps = 5
    learning_rate: Rate = by_family(1e-4, {"cifar": 1e-3})  # noqa: RUF009  immutable
    batch_size: BatchSize = 128
    channels_last: bool = False
    templates: Templates = "watt8"


@register
class WATT(PairMethod[WATTParameters]):
    r"""Normalisation layers adapted to each batch under one template after another, and their average over these.

    .. math:: \theta &\leftarrow \frac{1}{T} \sum_t \theta_t, \qquad
        \theta_t \leftarrow \theta_t - \eta \operatorname{Adam}(\nabla \mathcal L_t), \qquad
        \mathcal L_t = -\frac{1}{B} \sum_{ij} q_{ji} \log p_{ij}, \\
        p_i &= \operatorname{softmax}_j (s \, f_i \cdot w_{\hat c_j}), \qquad
        q_j = \operatorname{softmax}_i \Bigl( 100 \, \frac{f_j \cdot f_i + w_{\hat c_j} \cdot w_{\hat c_i}}{2} \Bigr)

    w are the class weights of template t, and :math:`\hat c_i` is the class that they give image i of the batch,
    anew at every step. :math:`\theta_t` begins with the last of the template before (``sequential``), or with the
    average (``parallel``). Everything starts from the teacher again for every batch, so that no state remains, and a
    single image, which is its own only target, is answered as by the teacher. It is ``online`` since the order of the
    stream decides which images are together.

    As in the authors' code, the targets q are differentiated too, and Adam's moments run on over templates and
    averages; ``parallel`` forgets them only before each template of the first round. The authors adapt LayerNorm; here
    Batch and Group normalisation are adapted likewise, and BatchNorm uses the statistics of the batch.
    """

    name = "watt"
    summary = "normalisation layers adapted under several prompts, and averaged over them"
    paper = "arXiv 2406.13875"

    def setup(self) -> None:
        super().setup()
        self.by_template = [self.teacher.class_weights(self.classes, [template]) for template in self.templates]

    def cost(self) -> Cost:
        steps = self.parameters.repeats * self.parameters.steps * len(self.templates)
        return Cost(image_forwards=steps + 1, image_backwards=steps)

    def adapt(self, pixels: Tensor) -> None:
        chosen, parameters = self.parameters, self.encoder.parameters
        for repeat in range(chosen.repeats):
            start = [parameter.detach().clone() for parameter in parameters]
            totals = [torch.zeros_like(parameter) for parameter in start]
            for weights in self.by_template:
                if chosen.order == "parallel":
                    _set(parameters, start)
                    self.optimizer = self.optimizer if repeat else self.new_optimizer()
                for _ in range(chosen.steps):
                    self.step(pixels, partial(_nearest, weights))
                totals = [total + parameter.detach() for total, parameter in zip(totals, parameters, strict=True)]
            _set(parameters, [total / len(self.by_template) for total in totals])


def _nearest(weights: Tensor, features: Tensor) -> Tensor:
    """Return for each of the features ``(B, F)`` the nearest class weights ``(B, F)``."""
    return weights[(features @ weights.T).argmax(1)]


def _set(parameters: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)
