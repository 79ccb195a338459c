r"""Walk through a memory by Langevin steps, each accepted or refused after Metropolis (MALA).

.. math:: x' = x - h \nabla E(x) + \sqrt{2 h}\, \xi, \quad
    \log a = E(x) - E(x') + \frac{\lVert x' - x + h \nabla E(x) \rVert^2 - \lVert x - x' + h \nabla E(x') \rVert^2}{4 h}

Without the second half the steps would leave the density that they are to sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from apm_tta.dream.memory import Energy, with_gradient

_ACCEPTED = 0.57  # the share at which such steps lead farthest (Roberts and Rosenthal, 1998)
_PILOT = 60
_GAIN, _DECAY = 2.0, 0.6
_SHORT, _SHORT_EVERY = 16, 4


@dataclass(frozen=True)
class Walk:
    """B walks of T steps.

    Attributes:
        points: states, the start first, ``(T + 1, B, d)``.
        energies: of every state, ``(T + 1, B)``.
        accepted: share of each walk's steps that were accepted, ``(B,)``.
    """

    points: Tensor
    energies: Tensor
    accepted: Tensor


def langevin(energy: Energy, start: Tensor, steps: int, step: float, generator: torch.Generator) -> Walk:
    """Walk ``steps`` steps from every point of ``start``, ``(B, d)``.

    Every fourth step is a sixteenth as long: a chain in a narrow place, where all long ones are refused, moves on.

    Args:
        energy: of the density that the walk leaves as it is.
        start: points, ``(B, d)``.
        steps: number of steps.
        step: h, such as ``tuned_step`` returns.
        generator: of the noise and of what is accepted.
    """
    state = _State.at(energy, start)
    points, energies, accepted = [state.points], [state.energies], torch.zeros(len(start))
    for taken in range(steps):
        state, moved = state.step(energy, step / _SHORT if taken % _SHORT_EVERY == 0 else step, generator)
        accepted += moved
        points.append(state.points)
        energies.append(state.energies)
    return Walk(torch.stack(points), torch.stack(energies), accepted / max(1, steps))


def tuned_step(
    energy: Energy, start: Tensor, generator: torch.Generator, step: float | None = None, steps: int = _PILOT
) -> tuple[float, Tensor]:
    """Find the h of which 57 % of the steps are accepted, on the way from ``start``, ``(B, d)``.

    A walk that is to leave a density as it is starts elsewhere: a step tuned on its own way would favour some states.

    Args:
        energy: of the density.
        start: points, ``(B, d)``.
        generator: of the noise and of what is accepted.
        step: the h to begin with; None for one over d.
        steps: how many to take.

    Returns:
        h, and where the steps have led, ``(B, d)``.
    """
    step, state = step or 1 / start.shape[1], _State.at(energy, start)
    for taken in range(steps):
        state, moved = state.step(energy, step, generator)
        step *= math.exp(_GAIN * (float(moved.mean()) - _ACCEPTED) / (1 + taken) ** _DECAY)
    return step, state.points


@dataclass(frozen=True)
class _State:
    """Points with what is known there: ``(B, d)``, ``(B,)``, ``(B, d)``."""

    points: Tensor
    energies: Tensor
    slopes: Tensor

    @classmethod
    def at(cls, energy: Energy, points: Tensor) -> _State:
        return cls(points, *with_gradient(energy, points))

    def step(self, energy: Energy, step: float, generator: torch.Generator) -> tuple[_State, Tensor]:
        """Take a step of size h; return the state after it, and which points moved, ``(B,)``, as 0 and 1."""
        noise = torch.randn(self.points.shape, generator=generator)
        proposed = _State.at(energy, self.points - step * self.slopes + math.sqrt(2 * step) * noise)
        back = self.points - proposed.points + step * proposed.slopes
        gain = self.energies - proposed.energies + noise.square().sum(1) / 2 - back.square().sum(1) / (4 * step)
        moved = torch.rand(len(gain), generator=generator).log() < gain
        parts = zip(
            (proposed.points, proposed.energies, proposed.slopes),
            (self.points, self.energies, self.slopes),
            strict=True,
        )
        chosen = [torch.where(moved.view(-1, *[1] * (new.ndim - 1)), new, old) for new, old in parts]
        return _State(*chosen), moved.float()
