"""SAR (arXiv 2302.12400): sharpness-aware and reliable entropy minimisation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from apm_tta.methods.base import Cost, Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import entropy
from apm_tta.methods.encoder import normalisation_layers
from apm_tta.methods.parameter_types import BatchSize, Rate, Share, Weight
from apm_tta.methods.parameters import Templates
from apm_tta.methods.presets import Preset, Published
from apm_tta.methods.reliable_layers import layers_below_top, published_rate
from apm_tta.methods.stream_encoder import StreamEncoderMethod

_MOVING_AVERAGE = 0.9


@dataclass(frozen=True)
class SarParameters:
    """Parameters of ``sar``.

    Attributes:
        margin: E_0 as a share of ln C: images of higher entropy are excluded; 0.4 (section 4 of the paper; the code
            has 0.4 ln 1000).
        rho: length of the step towards the sharpest loss nearby; 0.05 (section 4).
        recovery: e_m: a moving average of the loss below it indicates a collapse; 0.2 (section 4).
        learning_rate: of SGD with momentum 0.9. None selects the authors' code's value: 1e-3 for encoders with only
            Layer normalisation, 2.5e-4 for those with Batch or Group normalisation; less for batches smaller than
            theirs, and twice that for single images (``published_rate``).
        batch_size: images per step; 64 (section 4).
        adapt_top: whether to adapt the top of the encoder too; False (the authors' code and appendix C.2).
        channels_last: whether the adapted copy of a convolutional network has its channels together in memory: often
            quicker, and logits differ by about 1e-3; False.
        preset: ``published`` is all as in the authors' script; ``suite``.
        templates: of the class weights.
    """

    margin: Share = 0.4
    rho: Weight = 0.05
    recovery: Weight = 0.2
    learning_rate: Rate | None = None
    batch_size: BatchSize = 64
    adapt_top: bool = False
    channels_last: bool = False
    preset: Preset = "suite"
    templates: Templates = "dataset"


@register
class Sar(StreamEncoderMethod[SarParameters]):
    r"""Entropy minimisation over sufficiently confident images, towards a flat minimum, with recovery from collapse.

    .. math:: \hat\epsilon = \rho \frac{g}{\lVert g \rVert}, \quad
        g = \nabla_\theta \operatorname*{mean}_{i : E_i(\theta) < E_0} E_i(\theta), \qquad
        \theta \leftarrow \theta - \eta \nabla_\theta
        \operatorname*{mean}_{i : E_i(\theta) < E_0,\, E_i(\theta + \hat\epsilon) < E_0} E_i(\theta + \hat\epsilon)

    E_i is the entropy of the prediction for image i. The mean on the right enters a moving average, nine parts old and
    one part new; when that falls below ``recovery``, the encoder starts again from the teacher. As in the authors'
    code, the prediction is that of the first forward pass; a batch without a confident image still causes a step, by
    momentum; and a recovery resets the parameters, but neither momentum nor moving average (the paper does not
    specify this).
    """

    name = "sar"
    summary = "normalisation layers adapted to confident predictions, sharpness-aware, with recovery"
    fast = True
    paper = "arXiv 2302.12400"
    keeps = "scales and shifts, their momentum, and a moving average of the loss"
    adapts = "scales and shifts of normalisation layers in the image encoder, except at its top"
    revision = 2
    published = Published(
        "mr-eggplant/SAR, main.py, for ImageNet-C; its margin is 0.4 ln 1000 whatever the number of classes, here 0.4 "
        "times the logarithm of that number"
    )

    def setup(self) -> None:
        chosen = self.parameters
        self.margin = chosen.margin * math.log(len(self.classes))
        self.learning_rate = chosen.learning_rate or published_rate(self.teacher.image_encoder, chosen.batch_size)
        super().setup()

    def layers(self) -> list[str]:
        encoder = self.teacher.image_encoder
        return list(normalisation_layers(encoder)) if self.parameters.adapt_top else layers_below_top(encoder)

    def resolved_parameters(self) -> dict[str, Any]:
        return {"learning_rate": self.learning_rate, "adapted_layers": self.layers()}

    def cost(self) -> Cost:
        return Cost(image_forwards=2, image_backwards=2)

    def new_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.encoder.parameters, lr=self.learning_rate, momentum=0.9)

    def reset(self) -> None:
        super().reset()
        self.average: float | None = None

    def predict(self, batch: Batch) -> Predictions:
        pixels, parameters = self.pixels(batch), self.encoder.parameters
        with torch.enable_grad():
            logits = self.logits(self.encoder(pixels))
            entropies = entropy(logits)
            reliable = entropies.detach() < self.margin
            self._backward(entropies[reliable])
        before = [parameter.detach().clone() for parameter in parameters]
        self._climb()
        with torch.enable_grad():
            entropies = entropy(self.logits(self.encoder(pixels)))
            reliable &= entropies.detach() < self.margin
            loss = self._backward(entropies[reliable])
        with torch.no_grad():
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)
        self.optimizer.step()
        # Read together, so that a GPU is waited for once.
        confident, mean = torch.stack([reliable.any().to(loss.dtype), loss]).tolist()
        if confident:
            self._update_average(mean)
        return Predictions(logits.detach())

    def _backward(self, entropies: Tensor) -> Tensor:
        """Compute gradients of the mean of ``entropies`` ``(n,)``, which is zero if n is; return that mean."""
        mean = entropies.sum() / max(len(entropies), 1)
        self.optimizer.zero_grad()
        mean.backward()
        return mean.detach()

    def _climb(self) -> None:
        """Move the parameters to theta plus epsilon."""
        moved = [parameter for parameter in self.encoder.parameters if parameter.grad is not None]
        norm = torch.stack([parameter.grad.norm() for parameter in moved if parameter.grad is not None]).norm()
        with torch.no_grad():
            for parameter in moved:
                parameter.add_(parameter.grad * (self.parameters.rho / (norm + 1e-12)))

    def _update_average(self, loss: float) -> None:
        """Add ``loss`` to the moving average; restore the encoder if that has become too low."""
        old = loss if self.average is None else self.average
        self.average = _MOVING_AVERAGE * old + (1 - _MOVING_AVERAGE) * loss
        if self.average < self.parameters.recovery:
            self.encoder.restore()
