"""TENT (arXiv 2006.10726): fully test-time adaptation by entropy minimisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from apm_tta.methods.base import Cost, Predictions, Protocols, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import entropy
from apm_tta.methods.data_defaults import by_family
from apm_tta.methods.encoder import refuse_single_values
from apm_tta.methods.parameter_types import BatchSize, Rate, Steps
from apm_tta.methods.parameters import Templates
from apm_tta.methods.presets import Preset, Published
from apm_tta.methods.stream_encoder import StreamEncoderMethod

Setting = Literal["cifar", "imagenet"]


class _Published(NamedTuple):
    """The paper's choice in one setting: a function of parameters and ``lr`` that makes the optimiser, and its rate."""

    optimizer: Callable[..., torch.optim.Optimizer]
    learning_rate: float


# Section 4 of the paper.
_PUBLISHED: dict[Setting, _Published] = {
    "cifar": _Published(torch.optim.Adam, 1e-3),
    "imagenet": _Published(partial(torch.optim.SGD, momentum=0.9), 2.5e-4),
}


@dataclass(frozen=True)
class TentParameters:
    """Parameters of ``tent``.

    Attributes:
        mode: ``online``, as published: the adaptation is kept from batch to batch. ``episodic``: every image starts
            from the teacher.
        setting: ``cifar``, Adam; ``imagenet``, SGD with momentum 0.9 (both section 4 of the paper). The default is
            ``cifar`` for the CIFAR sets, ``imagenet`` for all others.
        learning_rate: None selects the setting's: 1e-3 for ``cifar``, 2.5e-4 for ``imagenet`` (section 4).
        steps: per batch; 1, as published.
        batch_size: images per online step; 64 (section 4, ImageNet). For CIFAR the paper has 128, the code 200.
        channels_last: whether the adapted copy of a convolutional network has its channels together in memory: often
            quicker, and logits differ by about 1e-3; False.
        preset: ``published`` is all as in the authors' script; ``suite``.
        templates: of the class weights.
    """

    mode: Literal["online", "episodic"] = "online"
    setting: Setting = by_family("imagenet", {"cifar": "cifar"})  # noqa: RUF009  immutable
    learning_rate: Rate | None = None
    steps: Steps = 1
    batch_size: BatchSize = 64
    channels_last: bool = False
    preset: Preset = "suite"
    templates: Templates = "dataset"


@register
class Tent(StreamEncoderMethod[TentParameters]):
    r"""Adaptation of the scales and shifts of normalisation layers to each batch, towards more confident predictions.

    .. math:: \theta \leftarrow \theta - \eta \nabla_\theta \frac{1}{B} \sum_i H(p_\theta(\cdot \mid x_i)),
        \qquad H(p) = -\sum_c p_c \log p_c

    As in the authors' code, the prediction for a batch is that of the forward pass that yields the loss, so that a
    batch profits from those before it and not from itself. An ``episodic`` prediction would then equal the teacher's,
    so there the image passes through the encoder once more after the step.

    BatchNorm uses the statistics of the batch, as published. The authors adapt only BatchNorm; here Layer and Group
    normalisation are adapted likewise (as their paper suggests and later papers do). Their code's default SGD has
    Nesterov momentum, which neither the paper nor a released ImageNet configuration specifies: here it has none.
    """

    name = "tent"
    protocol: Protocols = "online"
    summary = "normalisation layers adapted to minimise the entropy of predictions"
    fast = True
    paper = "arXiv 2006.10726"
    keeps = "scales and shifts, and their momentum"
    published = Published(
        "DequanWang/tent, cfgs/tent.yaml, for CIFAR: batches of 200; for ImageNet the paper's section 4, of which no "
        "script was released",
        {"batch_size": by_family(64, {"cifar": 200})},
    )

    def setup(self) -> None:
        chosen = self.parameters
        self.choice = _PUBLISHED[chosen.setting]
        self.learning_rate = chosen.learning_rate or self.choice.learning_rate
        super().setup()
        self.episodic = chosen.mode == "episodic"
        self.protocol = chosen.mode
        if self.episodic:
            self.stream_batch = None

    def check_teacher(self) -> None:
        super().check_teacher()
        if self.parameters.mode == "episodic":
            refuse_single_values(self.name, self.teacher)

    def resolved_parameters(self) -> dict[str, Any]:
        return {"learning_rate": self.learning_rate}

    def cost(self) -> Cost:
        steps = self.parameters.steps
        return Cost(image_forwards=steps + self.episodic, image_backwards=steps)

    def new_optimizer(self) -> torch.optim.Optimizer:
        return self.choice.optimizer(self.encoder.parameters, lr=self.learning_rate)

    def predict(self, batch: Batch) -> Predictions:
        pixels = self.pixels(batch)
        if not self.episodic:
            return Predictions(self._adapt(pixels))
        answers = []
        for image in pixels.split(1):
            self.reset()
            self._adapt(image)
            with torch.no_grad():
                answers.append(self.logits(self.encoder(image)))
        self.reset()
        return Predictions(torch.cat(answers))

    def _adapt(self, pixels: Tensor) -> Tensor:
        """Take the steps on ``pixels`` ``(B, 3, S, S)``; return logits ``(B, C)`` from before the last step."""
        for _ in range(self.parameters.steps):
            with torch.enable_grad():
                logits = self.logits(self.encoder(pixels))
                loss = entropy(logits).mean()
                self.optimizer.zero_grad()
                loss.backward()
            self.optimizer.step()
        return logits.detach()
