"""SAR (arXiv 2302.12400): sharpness-aware and reliable entropy minimisation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from apm_tta.methods.base import Cost, Method, Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import entropy
from apm_tta.methods.encoder import (
    STATISTICS_ALONE,
    AdaptableEncoder,
    fewest_images,
    normalisation_layers,
    require_normalisation,
)
from apm_tta.methods.parameter_types import BatchSize, Rate, Share, Weight
from apm_tta.methods.parameters import Templates
from apm_tta.methods.presets import Preset, Published
from apm_tta.teachers import Teacher

_STAGES = ("blocks", "resblocks", "stages", "layers")
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
class Sar(Method[SarParameters]):
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
    protocol = "online"
    summary = "normalisation layers adapted to confident predictions, sharpness-aware, with recovery"
    paper = "arXiv 2302.12400"
    adapts = "scales and shifts of normalisation layers in the image encoder, except at its top"
    revision = 2
    published = Published(
        "mr-eggplant/SAR, main.py, for ImageNet-C; its margin is 0.4 ln 1000 whatever the number of classes, here 0.4 "
        "times the logarithm of that number"
    )

    def setup(self) -> None:
        chosen, encoder = self.parameters, self.teacher.image_encoder
        self.stream_batch = chosen.batch_size
        self.margin = chosen.margin * math.log(len(self.classes))
        self.layers = self._layers(self.teacher)
        self.learning_rate = chosen.learning_rate or published_rate(encoder, chosen.batch_size)
        self.encoder = AdaptableEncoder(encoder, self.layers, statistics="batch", channels_last=chosen.channels_last)
        self.least_batch = fewest_images(self.teacher)
        self.reset()

    @classmethod
    def companions(cls, parameters: Any) -> tuple[str, ...]:  # noqa: ARG003  whatever they are
        return (STATISTICS_ALONE,)

    def check_teacher(self) -> None:
        require_normalisation(self.name, self.teacher)

    def resolved_parameters(self) -> dict[str, Any]:
        return {"learning_rate": self.learning_rate, "adapted_layers": self.layers}

    def cost(self) -> Cost:
        return Cost(image_forwards=2, image_backwards=2)

    def reset(self) -> None:
        self.encoder.restore()
        self.optimizer = torch.optim.SGD(self.encoder.parameters, lr=self.learning_rate, momentum=0.9)
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

    def _layers(self, teacher: Teacher) -> list[str]:
        layers = list(normalisation_layers(teacher.image_encoder))
        if self.parameters.adapt_top:
            return layers
        return [name for name in layers if name not in top_layers(teacher.image_encoder)] or layers


def top_layers(encoder: nn.Module) -> set[str]:
    """Name the normalisation layers in the last quarter of the stages, and those after it.

    The authors exclude ``layer4`` of a ResNet, ``blocks.9`` to ``blocks.11`` and the final ``norm`` of ViT-Base: the
    last of four stages, the last three of twelve blocks. The same share is excluded for encoders of other depths, and
    for open_clip's, which use other names for the same modules (``resblocks``, ``ln_post``).
    """
    first = _first_top_stage(encoder)
    names = [name for name, _ in encoder.named_modules()]
    top = names[names.index(first) :] if first else []
    return {name for name in normalisation_layers(encoder) if name in top}


def _first_top_stage(encoder: nn.Module) -> str | None:
    for name, module in encoder.named_modules():
        if hasattr(module, "layer4"):
            return f"{name}.layer4".lstrip(".")
        if name.rpartition(".")[2] in _STAGES and isinstance(module, nn.ModuleList | nn.Sequential) and len(module) > 1:
            stages = [stage for stage, _ in module.named_children()]
            return f"{name}.{stages[-max(1, len(stages) // 4)]}"
    return None


def published_rate(encoder: nn.Module, batch_size: int) -> float:
    """Return the learning rate of the authors' ``main.py`` for this kind of normalisation and this batch size.

    With only Layer normalisation it is proportional to the batch size; with others it is so below 32 images, at twice
    the rate. For single images, ``--exp_type bs1``, the script doubles either.
    """
    for_single_images = 2 if batch_size == 1 else 1
    if all(isinstance(layer, nn.LayerNorm) for layer in normalisation_layers(encoder).values()):
        return 0.001 / 64 * batch_size * for_single_images
    return 0.00025 / 64 * batch_size * 2 * for_single_images if batch_size < 32 else 0.00025
