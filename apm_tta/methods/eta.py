"""ETA, the filtered and weighted entropy minimisation of EATA (arXiv 2204.02610)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity
from typing_extensions import TypeVar

from apm_tta.methods.base import Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import entropy
from apm_tta.methods.data_defaults import by_family
from apm_tta.methods.parameter_types import BatchSize, Fraction, Rate, Share
from apm_tta.methods.parameters import Templates
from apm_tta.methods.stream_encoder import StreamEncoderMethod

_MOVING_AVERAGE = 0.9


@dataclass(frozen=True)
class ETAParameters:
    """Parameters of ``eta``.

    Attributes:
        margin: E_0 as a share of ln C: images of higher entropy are excluded; 0.4 (section 4 of the paper; the code has
            0.4 ln 1000).
        redundancy: epsilon: images whose probabilities have a cosine of at least this with the moving average of those
            that passed are excluded; 0.05, and 0.4 for the CIFAR sets (section 4).
        learning_rate: of SGD with momentum 0.9; 2.5e-4 (section 4, ImageNet).
        batch_size: images per step; 64 (section 4).
        channels_last: whether the adapted copy of a convolutional network has its channels together in memory: often
            quicker, and logits differ by about 1e-3; False.
        templates: of the class weights.
    """

    margin: Share = 0.4
    redundancy: Fraction = by_family(0.05, {"cifar": 0.4})  # noqa: RUF009  immutable
    learning_rate: Rate = 2.5e-4
    batch_size: BatchSize = 64
    channels_last: bool = False
    templates: Templates = "dataset"


E = TypeVar("E", bound=ETAParameters, default=ETAParameters)


@register
class ETA(StreamEncoderMethod[E]):
    r"""Entropy minimisation over images that are confident and unlike those before, the surer the heavier.

    .. math:: \theta \leftarrow \theta - \eta \nabla_\theta \operatorname*{mean}_{i \in S} e^{E_0 - E_i} E_i, \qquad
        S = \bigl\{ i : E_i < E_0, \, |\cos(p_i, \bar p)| < \epsilon \bigr\}

    E_i is the entropy of the probabilities p_i of image i, its weight is not differentiated, and :math:`\bar p` is the
    moving average, nine parts old and one part new, of the mean probabilities of what has passed both filters; the
    first batch is filtered by entropy alone. As in the authors' code, the prediction is that of the forward pass that
    yields the loss, and a batch of which nothing passes causes no step. The authors adapt only BatchNorm; here Layer
    and Group normalisation are adapted likewise, as later code does.
    """

    name = "eta"
    summary = "normalisation layers adapted to confident images that are unlike those before"
    fast = True
    paper = "arXiv 2204.02610"
    keeps = "scales and shifts, their momentum, and C mean probabilities"
    Parameters = ETAParameters

    def setup(self) -> None:
        self.margin = self.parameters.margin * math.log(len(self.classes))
        super().setup()

    def new_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.encoder.parameters, lr=self.parameters.learning_rate, momentum=0.9)

    def reset(self) -> None:
        super().reset()
        self.average: Tensor | None = None

    def predict(self, batch: Batch) -> Predictions:
        with torch.enable_grad():
            logits = self.logits(self.encoder(self.pixels(batch)))
            entropies = entropy(logits)
            probabilities = logits.detach().softmax(-1)
            certain = entropies.detach() < self.margin
            kept = certain & self._unlike(probabilities)
            # Read together, so that a GPU is waited for once.
            passed = torch.stack([certain.sum(), kept.sum()]).tolist()
            if passed[1]:
                weights = (self.margin - entropies.detach()).exp() * kept
                self.optimizer.zero_grad()
                self._loss((weights * entropies).sum() / passed[1]).backward()
                self.optimizer.step()
                self._remember((probabilities * kept[:, None]).sum(0) / passed[1])
        return Predictions(logits.detach())

    def _loss(self, filtered: Tensor) -> Tensor:
        """Return what is minimised, given the weighted entropy of the images that passed."""
        return filtered

    def _unlike(self, probabilities: Tensor) -> Tensor:
        """Return which images are unlike the moving average, ``(B,)``."""
        if self.average is None:
            return torch.ones_like(probabilities[:, 0], dtype=torch.bool)
        return cosine_similarity(self.average[None], probabilities, dim=-1).abs() < self.parameters.redundancy

    def _remember(self, mean: Tensor) -> None:
        old = mean if self.average is None else self.average
        self.average = _MOVING_AVERAGE * old + (1 - _MOVING_AVERAGE) * mean
