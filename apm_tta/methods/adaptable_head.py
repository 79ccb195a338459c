"""An adaptable copy of a teacher's linear head."""

from __future__ import annotations

import torch
from torch import Tensor

from apm_tta.precision import full_precision
from apm_tta.teachers import Teacher


def has_head(teacher: Teacher, class_weights: Tensor) -> bool:
    """Return whether logits are made by a linear layer behind the image encoder, whose rows are ``class_weights``.

    Not so where they come from text or prototypes, nor where the encoder returns the logits itself.
    """
    # Rows that each pick one number: a head would mix many.
    encoder_returns_logits = bool(((class_weights[:, :-2] != 0).sum(1) == 1).all())
    return teacher.classifier == "head" and not encoder_returns_logits


class AdaptableHead:
    """A copy of a linear head, with parameters that an optimiser may change.

    Args:
        teacher: whose class weights come from its head.
        class_weights: the head's rows as ``LinearHead`` returns them, ``(C, F + 2)``.

    Attributes:
        parameters: the head's weight ``(C, F)`` and bias ``(C,)``.
        source: the teacher's own, likewise; nobody may write into them.
    """

    def __init__(self, teacher: Teacher, class_weights: Tensor) -> None:
        rows = teacher.logit_scale * class_weights
        self.source = [rows[:, :-2], rows[:, -2]]
        self.parameters = [part.clone().requires_grad_() for part in self.source]

    def __call__(self, features: Tensor) -> Tensor:
        """Compute logits ``(B, C)`` of features that end in two constants, ``(B, F + 2)``, in float32."""
        weight, bias = self.parameters
        with full_precision(features.device.type):
            logits: Tensor = features[:, :-2].float() @ weight.T + bias
        return logits

    def restore(self) -> None:
        """Restore the teacher's head bit by bit."""
        with torch.no_grad():
            for parameter, source in zip(self.parameters, self.source, strict=True):
                parameter.copy_(source)
                parameter.grad = None
