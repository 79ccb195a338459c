"""What every memory offers to a walk: an energy of points, direct samples, and what a point is shown as."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import torch
from torch import Tensor

from apm_tta.dream.basis import Basis

Kind = Literal["density", "network"]

Energy = Callable[[Tensor], Tensor]
"""Takes points ``(B, d)``; returns minus the log of their density up to a constant, ``(B,)``; differentiable."""


class Memory(Protocol):
    """A distribution of columns, as points ``(B, d)`` of a basis, on the CPU.

    Attributes:
        basis: of the points.
    """

    @property
    def basis(self) -> Basis: ...

    def energy(self, points: Tensor) -> Tensor:
        """Return minus the log of the density up to a constant, ``(B,)``, of points ``(B, d)``; differentiable."""
        ...

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw points, ``(count, d)``."""
        ...

    def shown(self, points: Tensor) -> Tensor:
        """Return the points as they are decoded, ``(B, d)``: without the noise that belongs to the memory itself."""
        ...


def with_gradient(energy: Energy, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return energies ``(B,)`` and their gradients ``(B, d)`` of points ``(B, d)``, both detached."""
    with torch.enable_grad():
        free = points.detach().requires_grad_()
        energies = energy(free)
        (gradients,) = torch.autograd.grad(energies.sum(), free)
    return energies.detach(), gradients
