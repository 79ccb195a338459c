"""An adaptable copy of a whole network: the image encoder, and its linear head where it has one."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from apm_tta.methods.adaptable_head import AdaptableHead, has_head
from apm_tta.methods.base import Method
from apm_tta.methods.encoder import AdaptableEncoder


class AdaptableNetwork:
    """A copy of all that makes logits of pixels, for methods that move weights and biases of every layer.

    Where class weights come from text or prototypes, they are no parameters and stay as they are.

    Args:
        method: whose teacher is copied.
        trainable: whether weights and biases are, those of the head too; nothing is otherwise.
        channels_last: see ``AdaptableEncoder``; BatchNorm has the batch's statistics.

    Attributes:
        parameters: the trainable ones, the head's last.
        names: of these; ``head.weight`` and ``head.bias`` are the head's.
        source: the teacher's own, likewise; nobody may write into them.
    """

    def __init__(self, method: Method[Any], *, trainable: bool, channels_last: bool) -> None:
        self._logits = method.logits
        self.encoder = AdaptableEncoder(
            method.teacher.image_encoder,
            None if trainable else (),
            statistics="batch",
            called=("weight", "bias"),
            channels_last=channels_last,
        )
        whole = trainable and has_head(method.teacher, method.class_weights)
        self.head = AdaptableHead(method.teacher, method.class_weights) if whole else None
        head = ([], [], []) if self.head is None else (self.head.parameters, ["weight", "bias"], self.head.source)
        self.parameters = [*self.encoder.parameters, *head[0]]
        self.names = [*self.encoder.names, *(f"head.{name}" for name in head[1])]
        self.source = [*self.encoder.source, *head[2]]

    def __call__(self, pixels: Tensor) -> Tensor:
        """Compute logits ``(B, C)`` of the teacher's input ``(B, 3, S, S)``."""
        features = self.encoder(pixels)
        return self._logits(features) if self.head is None else self.head(features)

    def restore(self) -> None:
        """Restore the teacher's parameters and buffers bit by bit."""
        self.encoder.restore()
        if self.head is not None:
            self.head.restore()
