"""DeYO (arXiv 2403.07366): entropy minimisation over images whose prediction depends on the shape of what they show."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le
from torch import Tensor
from torchvision.transforms.functional import resize

from apm_tta.device_copies import device_copy
from apm_tta.methods.base import Cost, Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import entropy
from apm_tta.methods.parameter_types import BatchSize, Fraction, Rate, Share
from apm_tta.methods.parameters import Templates
from apm_tta.methods.reliable_layers import layers_below_top, published_rate
from apm_tta.methods.stream_encoder import StreamEncoderMethod
from apm_tta.randomness import torch_generator


@dataclass(frozen=True)
class DeYOParameters:
    """Parameters of ``deyo``.

    Attributes:
        margin: images of higher entropy are excluded, as a share of ln C; 0.5 (the authors' ``config.py``).
        weight_margin: entropy of which an image has weight 1 by its entropy, as a share of ln C; 0.4 (``config.py``).
        threshold: images whose probability of the predicted class falls by no more than this when their patches are
            shuffled are excluded; 0.3 (``exp_deyo.sh``, mild setting; 0.2 in its others and in ``config.py``).
        patches: per side of the image, which are shuffled; 4 (``config.py``).
        weighted: whether images are weighted; True.
        learning_rate: of SGD with momentum 0.9. None selects the authors' code's value: 1e-3 for encoders with only
            Layer normalisation, 2.5e-4 for those with Batch or Group normalisation; less for batches smaller than
            theirs, and twice that for single images.
        batch_size: images per step; 64 (section 4 of the paper).
        channels_last: whether the adapted copy of a convolutional network has its channels together in memory: often
            quicker, and logits differ by about 1e-3; False.
        templates: of the class weights.
    """

    margin: Share = 0.5
    weight_margin: Share = 0.4
    threshold: Fraction = 0.3
    patches: Annotated[int, Ge(2), Le(64)] = 4
    weighted: bool = True
    learning_rate: Rate | None = None
    batch_size: BatchSize = 64
    channels_last: bool = False
    templates: Templates = "dataset"


@register
class DeYO(StreamEncoderMethod[DeYOParameters]):
    r"""Entropy minimisation over confident images that are no longer recognised once their patches are shuffled.

    .. math:: \theta \leftarrow \theta - \eta \nabla_\theta \operatorname*{mean}_{i \in S}
        \bigl( e^{E_0 - E_i} + e^{\Delta_i} \bigr) E_i, \qquad
        S = \{ i : E_i < \tau_E, \, \Delta_i > \tau_\Delta \}, \qquad
        \Delta_i = p(\hat y_i \mid x_i) - p(\hat y_i \mid x'_i)

    x' is the image with its patches in another order, drawn by the run's seed and the image's id, :math:`\hat y` the
    class predicted for x; the weights are not differentiated. As in the authors' code, the shuffled images that passed
    the first filter go through the encoder on their own, so that BatchNorm has their statistics; the prediction is that
    of the first pass; and a batch of which nothing passes causes no step. Where too few pass for those statistics,
    neither does it.
    """

    name = "deyo"
    summary = "normalisation layers adapted to confident images that shuffled patches make unrecognisable"
    fast = True
    paper = "arXiv 2403.07366"
    keeps = "scales and shifts below the top, and their momentum"
    adapts = "scales and shifts of normalisation layers in the image encoder, except at its top"

    def setup(self) -> None:
        chosen, most = self.parameters, math.log(len(self.classes))
        self.margin, self.weight_margin = chosen.margin * most, chosen.weight_margin * most
        self.learning_rate = chosen.learning_rate or published_rate(self.teacher.image_encoder, chosen.batch_size)
        super().setup()

    def layers(self) -> list[str]:
        return layers_below_top(self.teacher.image_encoder)

    def resolved_parameters(self) -> dict[str, Any]:
        return {"learning_rate": self.learning_rate, "adapted_layers": self.layers()}

    def cost(self) -> Cost:
        return Cost(image_forwards=2, image_backwards=1)

    def new_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.encoder.parameters, lr=self.learning_rate, momentum=0.9)

    def predict(self, batch: Batch) -> Predictions:
        pixels = self.pixels(batch)
        with torch.enable_grad():
            logits = self.logits(self.encoder(pixels))
            entropies = entropy(logits)
            certain = torch.nonzero(entropies.detach() < self.margin).squeeze(1)
            kept = 0
            if len(certain) >= self.least_batch:
                fall = self._fall(pixels[certain], logits.detach()[certain], self._orders(batch.ids)[certain])
                shaped = fall > self.parameters.threshold
                kept = int(shaped.sum())
            if kept:
                own = entropies[certain]
                weights = (self.weight_margin - own.detach()).exp() + fall.exp() if self.parameters.weighted else 1.0
                self.optimizer.zero_grad()
                ((weights * own * shaped).sum() / kept).backward()
                self.optimizer.step()
        return Predictions(logits.detach())

    @torch.no_grad()
    def _fall(self, pixels: Tensor, logits: Tensor, orders: Tensor) -> Tensor:
        """Compute by how much the probability of the predicted class falls, ``(n,)``."""
        predicted = logits.argmax(-1, keepdim=True)
        shuffled = self.logits(self.encoder(shuffle_patches(pixels, orders, self.parameters.patches)))
        falls: Tensor = (logits.softmax(-1) - shuffled.softmax(-1)).gather(-1, predicted).squeeze(-1)
        return falls

    def _orders(self, ids: tuple[str, ...]) -> Tensor:
        """Draw the order of the patches of every image, ``(B, P * P)``."""
        count = self.parameters.patches**2
        drawn = [torch.randperm(count, generator=torch_generator(self.seed, each, "patches")) for each in ids]
        return device_copy(torch.stack(drawn), self.teacher.device)


def shuffle_patches(images: Tensor, orders: Tensor, patches: int) -> Tensor:
    """Put the patches of images in another order; a side that P does not divide is made smaller before, larger after.

    Args:
        images: ``(B, 3, S, S)``.
        orders: for every image, which patch comes where, row by row, ``(B, P * P)``.
        patches: P, per side.
    """
    side = images.shape[-1]
    whole = max(side // patches, 1) * patches
    grid = resized(images, whole).unflatten(3, (patches, -1)).unflatten(2, (patches, -1))  # (B, 3, P, h, P, w)
    rows = grid.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
    shuffled = rows.take_along_dim(orders[:, :, None, None, None], dim=1)
    back = shuffled.unflatten(1, (patches, patches)).permute(0, 3, 1, 4, 2, 5)
    return resized(back.reshape(len(images), -1, whole, whole), side)


def resized(images: Tensor, side: int) -> Tensor:
    """Return square images ``(B, 3, S, S)`` with another side."""
    return images if images.shape[-1] == side else resize(images, [side, side], antialias=True)
