"""The common base of CLIPArTT and WATT: a batch's images are drawn to a sentence each, as near as both are anyway."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize
from typing_extensions import TypeVar

from apm_tta.methods.base import Predictions
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import in_full_precision
from apm_tta.methods.stream_encoder import StreamEncoderMethod, StreamParameters

_SHARPNESS = 100.0
"""Of the targets, the inverse of their temperature (the authors' code)."""


class PairParameters(StreamParameters, Protocol):
    """Parameters of a method over pairs of an image and a sentence.

    Attributes:
        learning_rate: of Adam.
    """

    @property
    def learning_rate(self) -> float: ...


V = TypeVar("V", bound=PairParameters, default=Any)


class PairMethod(StreamEncoderMethod[V]):
    """A method that adapts normalisation layers to a batch by the loss of its pairs, and forgets it with the batch."""

    keeps = "nothing between batches"
    remembers = False
    needs_text = True

    def new_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.encoder.parameters, lr=self.parameters.learning_rate)

    def predict(self, batch: Batch) -> Predictions:
        pixels = self.pixels(batch)
        self.reset()
        self.adapt(pixels)
        with torch.no_grad():
            return Predictions(self.logits(self.encoder(pixels)))

    @abstractmethod
    def adapt(self, pixels: Tensor) -> None:
        """Adapt the encoder, which is the source's, to images ``(B, 3, S, S)``."""

    def step(self, pixels: Tensor, sentences: Callable[[Tensor], Tensor]) -> None:
        """Make one step.

        Args:
            pixels: ``(B, 3, S, S)``.
            sentences: takes unit features ``(B, F)`` and returns the embeddings of their sentences, likewise.
        """
        with torch.enable_grad():
            features = normalize(self.encoder(pixels), dim=-1)
            loss = pair_loss(features, sentences(features.detach()), self.teacher.scales(features))
            self.optimizer.zero_grad()
            loss.backward()
        self.optimizer.step()


@in_full_precision
def pair_loss(images: Tensor, texts: Tensor, scales: Tensor) -> Tensor:
    r"""Compute the loss of B images with a sentence each.

    .. math:: -\frac{1}{B} \sum_{ij} q_{ji} \log p_{ij}, \qquad p_i = \operatorname{softmax}_j (s \, f_i \cdot t_j),
        \qquad q_j = \operatorname{softmax}_i \Bigl( 100 \, \frac{f_j \cdot f_i + t_j \cdot t_i}{2} \Bigr)

    As in the authors' code, the targets are differentiated too, and a target is normalised over the images of a
    sentence where the prediction is over the sentences of an image.

    Args:
        images: unit rows, ``(B, F)``.
        texts: unit rows, ``(B, F)``.
        scales: from cosines to logits, ``(B, 1)``.
    """
    predicted = (scales * images @ texts.mT).log_softmax(-1)
    targets = (_SHARPNESS / 2 * (images @ images.mT + texts @ texts.mT)).softmax(-1)
    return -(targets.mT * predicted).sum(-1).mean()
