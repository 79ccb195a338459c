"""RoTTA (arXiv 2303.13899): robust statistics, and a memory of images balanced over predicted classes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from apm_tta.methods.base import Cost, Method, Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.batch_augmentation import BatchAugmentation
from apm_tta.methods.class_memory import ClassMemory
from apm_tta.methods.encoder import STATISTICS_ALONE, AdaptableEncoder, normalisation_layers, require_normalisation
from apm_tta.methods.moving_average import move_towards
from apm_tta.methods.parameter_types import BatchSize, Entries, Fraction, Rate, Weight
from apm_tta.methods.parameters import Templates
from apm_tta.methods.robust_statistics import learning_statistics, with_robust_statistics
from apm_tta.randomness import torch_generator

# Added to a probability before its logarithm (the authors' code).
_FLOOR = 1e-6


@dataclass(frozen=True)
class RoTTAParameters:
    """Parameters of ``rotta``. Values are from the authors' code, as in mariodoebler/test-time-adaptation.

    Attributes:
        memory_size: images in the memory; 64.
        update_every: images of the stream between two steps; 64.
        statistics_momentum: alpha: share of the memory's statistics in those of BatchNorm, at every step; 0.05.
        momentum: nu: share of the student in the averaged model, at every step; 0.001.
        age_weight: of an image's age, by which it leaves the memory; 1.
        uncertainty_weight: of its entropy, likewise; 1.
        learning_rate: of Adam; 1e-3.
        batch_size: images that are answered together; 64.
        channels_last: whether the copies of a convolutional network have their channels together in memory: often
            quicker, and logits differ by about 1e-3; False.
        templates: of the class weights.
    """

    memory_size: Entries = 64
    update_every: Entries = 64
    statistics_momentum: Fraction = 0.05
    momentum: Fraction = 0.001
    age_weight: Weight = 1.0
    uncertainty_weight: Weight = 1.0
    learning_rate: Rate = 1e-3
    batch_size: BatchSize = 64
    channels_last: bool = False
    templates: Templates = "dataset"


@register
class RoTTA(Method[RoTTAParameters]):
    r"""A student adapted to a memory that predicted classes share equally, and the average of its past, which answers.

    .. math:: \theta \leftarrow \theta - \eta \nabla_\theta \operatorname*{mean}_{i \in M}
        \frac{e^{-a_i}}{1 + e^{-a_i}} \, H \bigl( p_{\bar\theta}(x_i), p_\theta(x'_i) \bigr), \qquad
        \bar\theta \leftarrow (1 - \nu) \bar\theta + \nu \theta, \qquad
        \mu \leftarrow (1 - \alpha) \mu + \alpha \mu_M

    a is an image's age in the memory M as a share of its capacity, x' the image changed at random, and the averages
    :math:`\mu` and :math:`\sigma^2` of BatchNorm are those of training at first. In a full class, or for a class that
    has less than its share in a full memory, an image replaces the one of the highest sum of age and entropy, if its
    own is lower. All images of a batch are answered before they enter, one by one, with steps between them. Of layers
    other than BatchNorm, scales and shifts move too, and there are no statistics.
    """

    name = "rotta"
    protocol = "online"
    summary = "robust statistics and normalisation layers adapted to a memory balanced over classes"
    fast = True
    paper = "arXiv 2303.13899"
    state = (
        "two copies of scales, shifts and averages of normalisation layers, the moments of one of them, and 64 images"
    )
    adapts = "scales, shifts and averages of normalisation layers in the image encoder"

    def setup(self) -> None:
        chosen = self.parameters
        self.stream_batch = chosen.batch_size
        encoder = with_robust_statistics(self.teacher.image_encoder, chosen.statistics_momentum)
        layers = normalisation_layers(encoder)
        self.student, self.averaged = (
            AdaptableEncoder(encoder, layers, channels_last=chosen.channels_last) for _ in range(2)
        )
        self.augment = BatchAugmentation(self.teacher.preprocessing, "edge", blur_and_noise=True)
        self.reset()

    @classmethod
    def companions(cls, parameters: Any) -> tuple[str, ...]:  # noqa: ARG003  whatever they are
        return (STATISTICS_ALONE,)

    def check_teacher(self) -> None:
        require_normalisation(self.name, self.teacher)

    def cost(self) -> Cost:
        chosen = self.parameters
        share = math.ceil(chosen.memory_size / chosen.update_every)
        return Cost(
            image_forwards=1 + 2 * share,
            image_backwards=share,
            other=f"a step over a memory of {chosen.memory_size} images per {chosen.update_every}",
        )

    def reset(self) -> None:
        self.student.restore()
        self.averaged.restore()
        self.optimizer = torch.optim.Adam(self.student.parameters, lr=self.parameters.learning_rate)
        chosen = self.parameters
        weights = chosen.age_weight, chosen.uncertainty_weight
        self.kept = ClassMemory(chosen.memory_size, len(self.classes), *weights)
        self.entered = self.steps = 0

    def predict(self, batch: Batch) -> Predictions:
        pixels = self.pixels(batch)
        with torch.no_grad():
            logits = self.logits(self.averaged(pixels))
            probabilities = logits.softmax(-1)
            entropies = -(probabilities * (probabilities + _FLOOR).log()).sum(-1)
            # Both in one table, so that a GPU is waited for once; float64 holds either exactly.
            table = torch.stack([probabilities.argmax(-1).double(), entropies.double()], dim=-1).tolist()
        for image, (predicted, own) in zip(pixels, table, strict=True):
            self.kept.enter(image, int(predicted), own)
            self.entered += 1
            if self.entered % self.parameters.update_every == 0:
                self._learn()
        return Predictions(logits)

    def _learn(self) -> None:
        """Take a step on the images of the memory."""
        images, ages = self.kept.content()
        with learning_statistics(self.student.network, self.averaged.network):
            with torch.no_grad():
                taught = self.logits(self.averaged(images))
            with torch.enable_grad():
                logits = self.logits(self.student(self._changed(images)))
                weights = torch.sigmoid(-ages)
                loss = -((taught.softmax(-1) * logits.log_softmax(-1)).sum(-1) * weights).mean()
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
        move_towards(self.averaged.parameters, self.student.parameters, 1 - self.parameters.momentum)
        self.steps += 1

    def _changed(self, images: Tensor) -> Tensor:
        """Return a random change of the images of the memory."""
        return self.augment(images, torch_generator(self.seed, f"{self.name} {self.steps}", "augmentation"))
