"""A dream that is drawn towards a text: the agreement of the field's token with the text is added to the memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from apm_tta.dream.basis import Basis
from apm_tta.dream.memory import Energy
from apm_tta.dream.one_thread import one_thread
from apm_tta.errors import UserError
from apm_tta.field.checkpoint import Field
from apm_tta.teachers import Teacher


@dataclass(frozen=True)
class Towards:
    """A text that draws.

    Attributes:
        text: as it was asked for.
        embedding: of the text, a unit vector ``(F,)``, on the CPU.
        scale: energy for a whole unit of cosine; the teacher's, by which cosines become logits.
        tokens: returns the field's tokens as unit vectors ``(N, F)`` of columns ``(N, D)``.
    """

    text: str
    embedding: Tensor
    scale: float
    tokens: Callable[[Tensor], Tensor]

    def added_to(self, energy: Energy, basis: Basis) -> Energy:
        """Return the energy of points under the memory and the text together."""
        return lambda points: energy(points) - self.scale * self.agreement(basis.columns(points))

    def agreement(self, columns: Tensor) -> Tensor:
        """Return the cosines of the field's tokens with the text, ``(N,)``, of columns ``(N, D)``."""
        return self.tokens(columns) @ self.embedding


def towards_text(text: str, field: Field, teacher: Teacher | None) -> Towards:
    """Return the text as it draws a field's dreams.

    Raises:
        UserError: when no teacher encodes it, or the field has no token. Exit code 2.
    """
    if teacher is None or teacher.classifier != "text":
        named = f"teacher {teacher.name} has no text tower" if teacher is not None else "there is no teacher"
        raise UserError(f"--towards needs a teacher that encodes text, and {named}", exit_code=2)
    if field.settings is None or field.settings.schedule.fine == 1:
        raise UserError(
            "--towards needs a field whose token was trained: one of run-bench train-field --fine", exit_code=2
        )
    with one_thread():
        embedding = teacher.class_weights([text], ["{}"])[0].float().cpu()
    apm, width = field.apm, teacher.feature_dim
    everywhere = torch.arange(apm.config.grid**2, device=apm.feature_head.weight.device)

    def tokens(columns: Tensor) -> Tensor:
        features = apm.query(columns.to(everywhere.device), everywhere)
        return normalize(apm.readout(features)[:, :width], dim=-1).cpu()

    return Towards(text, embedding, float(teacher.logit_scale), tokens)
