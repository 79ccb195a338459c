r"""Walk from one state to another by the shortest curve in the metric whose volume is one over the density.

In d dimensions that metric is :math:`p^{-2/d}` times the flat one, so that a curve has the length

.. math:: \int p(x)^{-1/d} \lVert dx \rVert = \int e^{E(x)/d} \lVert dx \rVert

which is Fermat's distance of the second order. Curves of N pieces minimise :math:`N \sum (e^{E/d} \lVert dx \rVert)^2`,
whose minimum is the shortest curve passed at an even pace; E is taken in the middle of every piece.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from apm_tta.dream.memory import Energy

_PIECES = 32
_ROUNDS, _RATE = 300, 0.03


@dataclass(frozen=True)
class Paths:
    """B curves from one state to another.

    Attributes:
        points: states at even distances along each curve, ``(T + 1, B, d)``.
        energy: mean along each curve, ``(B,)``.
        straight: the same along the straight line between its ends, ``(B,)``.
        length: of each curve over that of the straight line, in the metric, ``(B,)``.
    """

    points: Tensor
    energy: Tensor
    straight: Tensor
    length: Tensor


def shortest_paths(energy: Energy, start: Tensor, end: Tensor, steps: int) -> Paths:
    """Find the curve from each point of ``start`` to that of ``end``, ``(B, d)``, as ``steps`` + 1 states."""
    shares = torch.linspace(0, 1, _PIECES + 1)[:, None, None]
    line = torch.lerp(start[None], end[None], shares)
    # Scaled by the mean energy of the ends: the metric's scale changes no curve, and e^E would leave the numbers.
    level = energy(torch.cat([start, end])).detach().mean()

    def lengths(curve: Tensor) -> Tensor:
        """Return the length of every piece, ``(N, B)``, of curves ``(N + 1, B, d)``."""
        middles = (curve[1:] + curve[:-1]) / 2
        weight = ((energy(middles.flatten(0, 1)) - level) / start.shape[1]).exp().view(middles.shape[:2])
        found: Tensor = weight * (curve[1:] - curve[:-1]).norm(dim=2)
        return found

    inner = line[1:-1].clone().requires_grad_()
    optimizer = torch.optim.Adam([inner], _RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _ROUNDS)
    for _ in range(_ROUNDS):
        optimizer.zero_grad()
        (_PIECES * lengths(torch.cat([line[:1], inner, line[-1:]])).square().sum()).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        curve = torch.cat([line[:1], inner, line[-1:]])
        found, straight = (at_even_distances(each, steps) for each in (curve, line))
        return Paths(
            points=found,
            energy=_mean_energy(energy, found),
            straight=_mean_energy(energy, straight),
            length=lengths(curve).sum(0) / lengths(line).sum(0),
        )


def at_even_distances(curve: Tensor, steps: int) -> Tensor:
    """Return ``steps`` + 1 points at even Euclidean distances along polygons ``(N + 1, B, d)``."""
    pieces = (curve[1:] - curve[:-1]).norm(dim=2)
    travelled = torch.cat([torch.zeros_like(pieces[:1]), pieces.cumsum(0)])  # (N + 1, B)
    wanted = torch.linspace(0, 1, steps + 1)[:, None] * travelled[-1]
    last = len(pieces)
    after = torch.searchsorted(travelled.T.contiguous(), wanted.T.contiguous()).clamp(1, last).T  # (steps + 1, B)
    low = travelled.gather(0, after - 1)
    share = (wanted - low) / pieces.gather(0, after - 1).clamp(min=1e-12)
    index = after[..., None].expand(-1, -1, curve.shape[2])
    return torch.lerp(curve.gather(0, index - 1), curve.gather(0, index), share[..., None])


def _mean_energy(energy: Energy, states: Tensor) -> Tensor:
    return energy(states.flatten(0, 1)).view(states.shape[:2]).mean(0)
