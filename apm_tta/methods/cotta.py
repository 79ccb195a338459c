"""CoTTA (arXiv 2203.13591): a student of averaged predictions, whose parameters are at times restored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor

from apm_tta.device_copies import device_copy
from apm_tta.methods.adaptable_network import AdaptableNetwork
from apm_tta.methods.base import Cost, Method, Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.batch_augmentation import BatchAugmentation, symmetric_cross_entropy
from apm_tta.methods.data_defaults import by_family
from apm_tta.methods.encoder import STATISTICS_ALONE, fewest_images
from apm_tta.methods.moving_average import move_towards
from apm_tta.methods.optimizers import Optimizer, new_optimizer
from apm_tta.methods.parameter_types import BatchSize, Fraction, Rate
from apm_tta.methods.parameters import Templates
from apm_tta.randomness import torch_generator


@dataclass(frozen=True)
class CoTTAParameters:
    """Parameters of ``cotta``. Values are from the authors' code for ImageNet-C and CIFAR-10-C.

    Attributes:
        augmentations: changed versions of a batch whose mean prediction is taken where the teacher is unsure; 32.
        confidence: where the mean confidence of the teacher's own prediction for a batch is below this, it is unsure;
            0.1, 0.92 for CIFAR-10, 0.72 for CIFAR-100.
        momentum: of the averaged model; 0.999.
        restored: share of the student's weights and biases that become the teacher's again after a step, drawn by the
            run's seed; 0.001, and 0.01 for the CIFAR sets.
        loss: ``symmetric`` cross entropy of student and averaged model, and ``forward`` for the CIFAR sets.
        optimizer: ``sgd``, with Nesterov momentum 0.9, and ``adam`` for the CIFAR sets.
        learning_rate: 0.01, and 1e-3 for the CIFAR sets.
        batch_size: images per step; 64, and 200 for the CIFAR sets.
        channels_last: whether the copies of a convolutional network have their channels together in memory: often
            quicker, and logits differ by about 1e-3; False.
        templates: of the class weights.
    """

    augmentations: Annotated[int, Ge(1), Le(1000)] = 32
    confidence: Fraction = by_family(0.1, {"cifar": 0.92}, {"cifar100": 0.72, "cifar100-c": 0.72})  # noqa: RUF009
    momentum: Fraction = 0.999
    restored: Fraction = by_family(0.001, {"cifar": 0.01})  # noqa: RUF009  immutable
    loss: Literal["symmetric", "forward"] = by_family("symmetric", {"cifar": "forward"})
    optimizer: Optimizer = by_family("sgd", {"cifar": "adam"})  # noqa: RUF009  immutable
    learning_rate: Rate = by_family(0.01, {"cifar": 1e-3})  # noqa: RUF009  immutable
    batch_size: BatchSize = by_family(64, {"cifar": 200})  # noqa: RUF009  immutable
    channels_last: bool = False
    templates: Templates = "dataset"


@register
class CoTTA(Method[CoTTAParameters]):
    r"""A student, all of whose layers learn what an average of its past predicts, by chance restored in part.

    .. math:: \theta \leftarrow \theta - \eta \nabla_\theta \operatorname*{mean}_i H(\bar q_i, p_\theta(x_i)), \qquad
        \bar\theta \leftarrow m \bar\theta + (1 - m) \theta, \qquad
        \theta \leftarrow b \odot \theta^0 + (1 - b) \odot \theta

    :math:`\bar q_i` is the prediction of :math:`\bar\theta`, averaged as logits over changed versions of the batch
    where the teacher is unsure; it is the answer too, from before the step. b is drawn anew for every step. Of a
    network with a linear head, the head moves too; class weights from text do not. As in the authors' code, only
    parameters that are called weight or bias in their layer move (no tokens or positions of a transformer, nor the
    ``in_proj_weight`` of torch's attention), and all three models use the statistics of the batch.
    """

    name = "cotta"
    protocol = "online"
    summary = "weights and biases of all layers adapted to averaged predictions, and restored by chance"
    paper = "arXiv 2203.13591"
    keeps = "two copies of every weight and bias, the momentum of one of them, and a count of steps"
    adapts = "the whole image encoder, and its linear head"

    def setup(self) -> None:
        chosen = self.parameters
        self.stream_batch = chosen.batch_size
        self.least_batch = fewest_images(self.teacher)
        self.student, self.averaged = (
            AdaptableNetwork(self, trainable=True, channels_last=chosen.channels_last) for _ in range(2)
        )
        self.anchor = AdaptableNetwork(self, trainable=False, channels_last=chosen.channels_last)
        self.augment = BatchAugmentation(self.teacher.preprocessing, "edge", blur_and_noise=True)
        self.reset()

    @classmethod
    def companions(cls, parameters: Any) -> tuple[str, ...]:  # noqa: ARG003  whatever they are
        return (STATISTICS_ALONE,)

    def cost(self) -> Cost:
        return Cost(
            image_forwards=self.parameters.augmentations + 2,
            image_backwards=1,
            other="3 image forwards for a batch of which the teacher is sure",
        )

    def reset(self) -> None:
        self.student.restore()
        self.averaged.restore()
        chosen = self.parameters
        self.optimizer = new_optimizer(chosen.optimizer, self.student.parameters, chosen.learning_rate)
        self.step = 0

    def predict(self, batch: Batch) -> Predictions:
        pixels = self.pixels(batch)
        with torch.no_grad():
            answers = self._average(pixels)
        with torch.enable_grad():
            logits = self.student(pixels)
            if self.parameters.loss == "symmetric":
                loss = symmetric_cross_entropy(logits, answers).mean()
            else:
                loss = -(answers.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        move_towards(self.averaged.parameters, self.student.parameters, self.parameters.momentum)
        if self.parameters.restored:
            self._restore_some()
        self.step += 1
        return Predictions(answers)

    def _average(self, pixels: Tensor) -> Tensor:
        """Return the logits of the averaged model, ``(B, C)``."""
        confidence = self.anchor(pixels).softmax(-1).amax(-1).mean()
        if float(confidence) >= self.parameters.confidence:
            return self.averaged(pixels)
        total = torch.stack([self.averaged(each) for each in self._changed(pixels)])
        return total.mean(0)

    def _changed(self, pixels: Tensor) -> list[Tensor]:
        """Return the changed versions of a batch."""
        generator = self._generator("augmentation")
        return [self.augment(pixels, generator) for _ in range(self.parameters.augmentations)]

    @torch.no_grad()
    def _restore_some(self) -> None:
        """Set a random part of the student's weights and biases to the teacher's."""
        generator, student = self._generator("restored"), self.student
        for name, parameter, source in zip(student.names, student.parameters, student.source, strict=True):
            chosen = self._chosen(name, parameter.shape, generator)
            parameter.copy_(torch.where(device_copy(chosen, parameter.device), source, parameter))

    def _chosen(self, _name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """Draw which numbers of a parameter are restored."""
        return torch.rand(shape, generator=generator) < self.parameters.restored

    def _generator(self, purpose: str) -> torch.Generator:
        return torch_generator(self.seed, f"{self.name} {self.step}", purpose)
