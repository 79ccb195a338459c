r"""A memory that is a network, trained to undo noise in its column: what it pulls a point towards is what it remembers.

The network F gives an energy at every strength of noise, with :math:`s^2 = 1 + \sigma^2`

.. math:: E(x, \sigma) = \frac{1}{2 s^2} \lVert x - F(x / s, \ln \sigma) \rVert^2, \quad
    D(x, \sigma) = x - \sigma^2 \nabla E(x, \sigma)

and is trained so that D undoes the noise: the score :math:`-\nabla E` is (denoised - x) / sigma squared. That the score
is a gradient (Salimans and Ho, 2021) lets steps be accepted or refused, as those through a density are. What a point is
shown as is its D at the weakest noise.
"""

from __future__ import annotations

import itertools
import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from apm_tta.dream.basis import Basis
from apm_tta.dream.langevin import langevin, tuned_step

WEAKEST, STRONGEST = 0.1, 10.0
"""Standard deviations of the noise, where the coordinates have one of 1."""

_WIDTH, _LAYERS = 256, 3
_LEVELS, _AT_LEVEL, _SETTLED = 24, 6, 60


class Denoiser(nn.Module):
    """The network; see ``Memory``."""

    def __init__(self, basis: Basis) -> None:
        super().__init__()
        self.basis = basis
        widths = [basis.width + 3, *[_WIDTH] * _LAYERS, basis.width]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw the weights as torch does; the last layer answers with zeros, which is one Gaussian's memory."""
        with torch.no_grad():
            for parameter in self.parameters():
                bound = parameter.shape[-1] ** -0.5
                parameter.copy_(torch.rand(parameter.shape, generator=generator).mul_(2 * bound).sub_(bound))
            for parameter in self.layers[-1].parameters():
                parameter.zero_()

    def energy_at(self, points: Tensor, sigma: Tensor) -> Tensor:
        """Return energies ``(B,)`` of points ``(B, d)`` under noise of ``sigma``, ``(B, 1)``."""
        scale = (1 + sigma.square()).sqrt()
        angle = sigma.log()
        hidden = torch.cat([points / scale, angle / 4, (angle).sin(), (angle).cos()], 1)
        for layer in self.layers[:-1]:
            hidden = silu(layer(hidden))
        residual = (points - self.layers[-1](hidden)) / scale
        energies: Tensor = residual.square().sum(1) / 2
        return energies

    def denoise(self, points: Tensor, sigma: Tensor, training: bool = False) -> Tensor:
        """Return points ``(B, d)`` without their noise of ``sigma``, ``(B, 1)``."""
        with torch.enable_grad():
            free = points.detach().requires_grad_()
            (slopes,) = torch.autograd.grad(self.energy_at(free, sigma).sum(), free, create_graph=training)
        return points - sigma.square() * slopes

    def energy(self, points: Tensor) -> Tensor:
        """Return the energy under the weakest noise, ``(B,)``."""
        return self.energy_at(points, torch.full((len(points), 1), WEAKEST))

    def shown(self, points: Tensor) -> Tensor:
        """Return the points without the weakest noise."""
        return self.denoise(points, torch.full((len(points), 1), WEAKEST))

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw points, ``(count, d)``: from noise, by accepted steps under noise that grows weaker."""
        points = math.sqrt(1 + STRONGEST**2) * torch.randn(count, self.basis.width, generator=generator)
        step: float | None = None
        factor = (WEAKEST / STRONGEST) ** (1 / (_LEVELS - 1))
        for level in range(_LEVELS):
            at_level = partial(self.energy_at, sigma=torch.full((count, 1), STRONGEST * factor**level))
            # The variance that is left shrinks with that of the noise, and with it the step that fits.
            step, points = tuned_step(at_level, points, generator, step and step * factor**2, _AT_LEVEL)
        step, points = tuned_step(self.energy, points, generator, step)
        return langevin(self.energy, points, _SETTLED, step, generator).points[-1]
