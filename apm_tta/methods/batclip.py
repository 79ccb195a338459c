"""BATCLIP (arXiv 2412.02837): both encoders of CLIP adapted together to the stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot
from torch.utils.checkpoint import checkpoint

from apm_tta.methods.base import Cost, Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import entropy, in_full_precision
from apm_tta.methods.data_defaults import by_family
from apm_tta.methods.encoder import AdaptableEncoder, normalisation_layers
from apm_tta.methods.parameter_types import BatchSize, Rate, Weight
from apm_tta.methods.parameters import Templates
from apm_tta.methods.stream_encoder import StreamEncoderMethod
from apm_tta.methods.tpt import require_text_tower
from apm_tta.teachers.templates import fill_template

_PROMPTS_AT_ONCE = 256
"""Of more, the activations are computed again for the gradient."""


@dataclass(frozen=True)
class BATCLIPParameters:
    """Parameters of ``batclip``. Values are from the authors' ``cfgs/imagenet_c/ours.yaml`` unless another is named.

    Attributes:
        optimizer: ``adamw``; ``adam``, whose decay is a part of the gradient, for the CIFAR-100 sets
            (``cifar100_c/ours.yaml``).
        learning_rate: 5e-4, and 1e-3 for the CIFAR-10 sets (``cifar10_c/ours.yaml``).
        weight_decay: 0.01.
        batch_size: images per step; 64, and 200 for the CIFAR sets (``cifar10_c`` and ``cifar100_c``).
        channels_last: whether the adapted copy of a convolutional network has its channels together in memory: often
            quicker, and logits differ by about 1e-3; False.
        templates: of the class weights, which are adapted. The authors' is ``simple``.
    """

    optimizer: Literal["adamw", "adam"] = by_family("adamw", {}, dict.fromkeys(("cifar100", "cifar100-c"), "adam"))
    learning_rate: Rate = by_family(5e-4, {}, dict.fromkeys(("cifar10", "cifar10-c", "cifar10.1"), 1e-3))  # noqa: RUF009
    weight_decay: Weight = 0.01
    batch_size: BatchSize = by_family(64, {"cifar": 200})  # noqa: RUF009  immutable
    channels_last: bool = False
    templates: Templates = "dataset"


@register
class BATCLIP(StreamEncoderMethod[BATCLIPParameters]):
    r"""Normalisation layers of both encoders adapted to confident answers, and to classes near their words and apart.

    .. math:: \theta \leftarrow \theta - \eta \operatorname{AdamW}(\nabla \mathcal L), \qquad
        \mathcal L = \frac{1}{B} \sum_i H(p_i) - \frac{1}{|P|} \sum_{c \in P} v_c \cdot t_c
        - \sum_{c \ne d \in P} \Bigl( 1 - \frac{v_c \cdot v_d}{\lVert v_c \rVert \lVert v_d \rVert} \Bigr)

    P are the classes that some image of the batch is taken for, :math:`v_c` is the mean feature of these images, and
    :math:`t_c` the class weight, which the text tower computes anew for every batch. As in the authors' code, features
    are not normalised in this mean, the prediction for a batch is that of the forward pass that yields the loss, and
    both sums are subtracted as they are, however many pairs there are. The authors compute in half precision.

    LayerNorm is adapted, and in convolutional networks BatchNorm with the statistics of the batch, as the authors do.
    """

    name = "batclip"
    summary = "normalisation layers of both encoders adapted to classes that are near their words and apart"
    fast = True
    paper = "arXiv 2412.02837"
    keeps = "scales and shifts of both encoders, and their moments"
    adapts = "scales and shifts of normalisation layers in the image encoder and the text tower"
    needs_text = True

    def setup(self) -> None:
        tower = require_text_tower(self.teacher)
        prompts = [fill_template(template, name) for name in self.classes for template in self.templates]
        self.tokens = tower.truncate(tower.tokens(prompts)).contiguous()
        text_encoder = tower.encoder()
        self.text_encoder = AdaptableEncoder(text_encoder, normalisation_layers(text_encoder))
        super().setup()

    def check_teacher(self) -> None:
        super().check_teacher()
        require_text_tower(self.teacher)

    def cost(self) -> Cost:
        texts = "per batch, 1 pass of all class prompts through the text tower and back"
        return Cost(image_forwards=1, image_backwards=1, other=texts)

    def new_optimizer(self) -> torch.optim.Optimizer:
        chosen = self.parameters
        kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[chosen.optimizer]
        adapted = [*self.encoder.parameters, *self.text_encoder.parameters]
        optimizer: torch.optim.Optimizer = kind(adapted, lr=chosen.learning_rate, weight_decay=chosen.weight_decay)
        return optimizer

    def reset(self) -> None:
        super().reset()
        self.text_encoder.restore()

    def predict(self, batch: Batch) -> Predictions:
        with torch.enable_grad():
            features = self.encoder(self.pixels(batch))
            loss, logits = bimodal_loss(features, self.adapted_weights(), self.teacher.scales(features))
            self.optimizer.zero_grad()
            loss.backward()
        self.optimizer.step()
        return Predictions(logits.detach())

    def adapted_weights(self) -> Tensor:
        """Compute the class weights ``(C, F)`` of the adapted text tower."""
        parts = self.tokens.split(_PROMPTS_AT_ONCE)
        if len(parts) == 1:
            embedded = self.text_encoder(self.tokens)
        else:
            again = [
                checkpoint(self.text_encoder, part, use_reentrant=False, preserve_rng_state=False) for part in parts
            ]
            embedded = torch.cat(again)
        by_class = normalize(embedded, dim=-1).unflatten(0, (len(self.classes), -1))
        return normalize(by_class.mean(1), dim=-1)


@in_full_precision
def bimodal_loss(features: Tensor, class_weights: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the loss of a batch, and its logits ``(B, C)``.

    Args:
        features: ``(B, F)``, not normalised.
        class_weights: unit rows, ``(C, F)``.
        scales: from cosines to logits, ``(B, 1)``.
    """
    logits = scales * normalize(features, dim=-1) @ class_weights.T
    members = one_hot(logits.argmax(-1), len(class_weights)).to(features.dtype)
    counts = members.sum(0)
    present = (counts > 0).to(features.dtype)
    means = (members / counts.clamp_min(1)).T @ features
    near = (means * class_weights).sum(-1) @ present / present.sum()
    directions = normalize(means, dim=-1)
    pairs = torch.outer(present, present).fill_diagonal_(0)
    apart = (pairs * (1 - directions @ directions.T)).sum()
    return entropy(logits).mean() - near - apart, logits
