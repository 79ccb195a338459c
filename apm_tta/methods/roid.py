"""ROID (arXiv 2306.00650): a weighted soft likelihood ratio, consistency, and weights kept near the teacher's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity
from typing_extensions import TypeVar

from apm_tta.methods.base import Cost, Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.batch_augmentation import BatchAugmentation, symmetric_cross_entropy
from apm_tta.methods.confident import entropy
from apm_tta.methods.data_defaults import by_family
from apm_tta.methods.moving_average import move_towards
from apm_tta.methods.optimizers import Optimizer, new_optimizer
from apm_tta.methods.parameter_types import BatchSize, Fraction, Rate, Scale
from apm_tta.methods.parameters import Templates
from apm_tta.methods.stream_encoder import StreamEncoderMethod
from apm_tta.randomness import torch_generator

_CLIP, _LEAST_RATIO = 0.99, 1e-5


@dataclass(frozen=True)
class ROIDParameters:
    """Parameters of ``roid``. Values are from the authors' ``conf.py`` and ``cfgs/imagenet_c/roid.yaml``.

    Attributes:
        source_momentum: share of the adapted parameters after every step, the teacher's have the rest; 0.99.
        diversity_momentum: share of the old moving average of probabilities; 0.9.
        temperature: of the weights of images; 1/3.
        consistency: whether a changed version of an image is to be predicted likewise; True.
        prior_correction: whether answers are corrected by the mean prediction of their batch; True.
        optimizer: ``sgd``, with Nesterov momentum 0.9, and ``adam`` for the CIFAR sets (``cfgs/cifar10_c``).
        learning_rate: 2.5e-4, and 1e-3 for the CIFAR sets (``cfgs/cifar10_c``).
        batch_size: images per step; 64, and 200 for the CIFAR sets (``cfgs``).
        channels_last: whether the adapted copy of a convolutional network has its channels together in memory: often
            quicker, and logits differ by about 1e-3; False.
        templates: of the class weights.
    """

    source_momentum: Fraction = 0.99
    diversity_momentum: Fraction = 0.9
    temperature: Scale = 1 / 3
    consistency: bool = True
    prior_correction: bool = True
    optimizer: Optimizer = by_family("sgd", {"cifar": "adam"})  # noqa: RUF009  immutable
    learning_rate: Rate = by_family(2.5e-4, {"cifar": 1e-3})  # noqa: RUF009  immutable
    batch_size: BatchSize = by_family(64, {"cifar": 200})  # noqa: RUF009  immutable
    channels_last: bool = False
    templates: Templates = "dataset"


R = TypeVar("R", bound=ROIDParameters, default=ROIDParameters)


@register
class ROID(StreamEncoderMethod[R]):
    r"""Adaptation to certain images that are unlike the recent mean, towards consistency, kept near the teacher.

    .. math:: \mathcal{L} = \frac{1}{B} \sum_{i \in S} w_i \Bigl( -\sum_c p_{ic} \log \frac{p_{ic}}{1 - p_{ic}}
        + \tfrac{1}{2} H(p_i, p'_i) + \tfrac{1}{2} H(p'_i, p_i) \Bigr), \qquad
        w_i = \exp \Bigl( \frac{d_i e_i}{\tau} \Bigr), \qquad S = \{ i : d_i \ge \bar d \}

    d_i is 1 minus the cosine of the probabilities p_i and the moving average of mean probabilities, e_i the negative
    entropy, both stretched to 0 .. 1 over the batch, and p' the prediction for the image changed at random; the weights
    are not differentiated. After each step :math:`\theta \leftarrow m \theta + (1 - m) \theta^0`.

    As in the authors' code, the prediction is that of the first pass; p is clipped at 0.99 in the ratio; the changed
    images pass on their own, so that BatchNorm has their statistics; B is the configured number of images per batch,
    even for a smaller one; and the prior correction multiplies logits (the paper has probabilities) by the smoothed
    mean probabilities of the batch, so that confidences are no probabilities any more (``prior_correction=false``
    leaves it out). Where all images of a batch are equally certain or diverse, as a single one is, the authors divide 0
    by 0; here all their weights are then 1. Where too few images are left for BatchNorm, that batch has no consistency.
    """

    name = "roid"
    summary = "normalisation layers adapted to certain and diverse images, kept near the teacher"
    fast = True
    paper = "arXiv 2306.00650"
    keeps = "scales and shifts, their momentum, C mean probabilities, and a count of steps"
    Parameters = ROIDParameters

    def setup(self) -> None:
        self.augment = BatchAugmentation(self.teacher.preprocessing, "reflect", blur_and_noise=False)
        super().setup()

    def cost(self) -> Cost:
        passes = 2 if self.parameters.consistency else 1
        return Cost(image_forwards=passes, image_backwards=passes)

    def new_optimizer(self) -> torch.optim.Optimizer:
        return new_optimizer(self.parameters.optimizer, self.encoder.parameters, self.parameters.learning_rate)

    def reset(self) -> None:
        super().reset()
        classes = len(self.classes)
        self.average = torch.full((classes,), 1 / classes, device=self.teacher.device)
        self.step = 0

    def predict(self, batch: Batch) -> Predictions:
        pixels = self.pixels(batch)
        with torch.enable_grad():
            logits = self.logits(self.encoder(pixels))
            weights, left = self._weigh(logits.detach())
            loss = (weights * negative_likelihood_ratio(logits)).sum()
            if self.parameters.consistency:
                kept = torch.nonzero(left).squeeze(1)
                if len(kept) >= self.least_batch:
                    changed = self.logits(self.encoder(self._changed(pixels, kept)))
                    loss = loss + (weights[kept] * symmetric_cross_entropy(changed, logits[kept])).sum()
            self.optimizer.zero_grad()
            (loss / self.parameters.batch_size).backward()
            self.optimizer.step()
        self._keep_near()
        self.step += 1
        answers = logits.detach()
        return Predictions(prior_corrected(answers) if self.parameters.prior_correction else answers)

    def _weigh(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return the weights of the images, 0 for those left out, and which are left, ``(B,)`` each."""
        probabilities = logits.softmax(-1)
        diversity = stretched(1 - cosine_similarity(self.average[None], probabilities, dim=-1))
        certainty = stretched(-entropy(logits))
        left = diversity >= diversity.mean()
        momentum = self.parameters.diversity_momentum
        self.average = momentum * self.average + (1 - momentum) * probabilities.mean(0)
        return (diversity * certainty / self.parameters.temperature).exp() * left, left

    def _changed(self, pixels: Tensor, kept: Tensor) -> Tensor:
        """Return a random change of the images whose indices are ``kept``."""
        return self.augment(pixels[kept], torch_generator(self.seed, f"{self.name} {self.step}", "augmentation"))

    def _keep_near(self) -> None:
        """Move the parameters back towards the teacher's."""
        move_towards(self.encoder.parameters, self.encoder.source, self.parameters.source_momentum)


def stretched(values: Tensor) -> Tensor:
    """Map values ``(B,)`` linearly onto 0 .. 1; all to 0 where they are equal."""
    least = values.min()
    return (values - least) / (values.max() - least).clamp_min(torch.finfo(values.dtype).tiny)


def negative_likelihood_ratio(logits: Tensor) -> Tensor:
    """Compute the soft likelihood ratio of logits ``(B, C)``, negated, ``(B,)``."""
    probabilities = logits.softmax(-1).clamp(max=_CLIP)
    return -(probabilities * (probabilities / (1 - probabilities) + _LEAST_RATIO).log()).sum(-1)


def prior_corrected(logits: Tensor) -> Tensor:
    """Multiply the logits of a batch ``(B, C)`` by its smoothed mean probabilities."""
    prior = logits.softmax(-1).mean(0)
    smooth = max(1 / len(logits), 1 / len(prior)) / prior.max()
    return logits * (prior + smooth) / (1 + smooth * len(prior))
