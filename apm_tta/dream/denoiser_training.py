"""Train the network that is a memory: noise of any strength is added to points and has to be undone."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from apm_tta.dream.basis import Basis
from apm_tta.dream.denoiser import STRONGEST, WEAKEST, Denoiser

_ROUNDS, _STEPS, _PATIENCE = 40, 200, 6
_BATCH, _RATE, _AVERAGED = 128, 1e-3, 0.995
_REPEATS = 8

Rounds = Callable[[Iterable[int]], Iterable[int]]
"""Wraps the rounds of a training, as a progress bar does."""


def train_denoiser(
    basis: Basis, points: Tensor, held_out: Tensor, seed: int, rounds: Rounds = iter
) -> tuple[Denoiser, list[float]]:
    """Train for at most 40 rounds of 200 steps; the weights that undo the noise of held-out points best are kept.

    The weights are averages over the last few hundred steps, as usual for such networks.

    Args:
        basis: of the points.
        points: to remember, ``(N, d)``.
        held_out: points that end the training when it has only come to know the others better, ``(M, d)``.
        seed: of weights, batches and noise.
        rounds: shows how far it is.

    Returns:
        The network, frozen, and the loss on held-out points after every round.
    """
    generator = torch.Generator().manual_seed(seed)
    network = Denoiser(basis)
    network.initialise(generator)
    average = copy.deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.Adam(network.parameters(), _RATE, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _ROUNDS * _STEPS)
    noise = torch.Generator().manual_seed(seed + 1)
    judged = held_out.repeat(_REPEATS, 1)
    judged_by = (*_drawn(judged, noise),)
    best, losses = copy.deepcopy(average), [float(_loss(average, judged, *judged_by, training=False))]
    for _ in rounds(range(_ROUNDS)):
        for _ in range(_STEPS):
            batch = points[torch.randint(len(points), (_BATCH,), generator=generator)]
            optimizer.zero_grad()
            _loss(network, batch, *_drawn(batch, generator), training=True).backward()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                for kept, new in zip(average.parameters(), network.parameters(), strict=True):
                    kept.lerp_(new, 1 - _AVERAGED)
        losses.append(float(_loss(average, judged, *judged_by, training=False)))
        if losses[-1] == min(losses):
            best = copy.deepcopy(average)
        elif min(losses) < min(losses[-_PATIENCE:]):
            break
    return best, losses


def _drawn(points: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw strengths of noise, ``(B, 1)``, whose logarithms are uniform, and the noise, ``(B, d)``."""
    low, high = math.log(WEAKEST), math.log(STRONGEST)
    sigma = (low + (high - low) * torch.rand(len(points), 1, generator=generator)).exp()
    return sigma, torch.randn(points.shape, generator=generator)


def _loss(network: Denoiser, points: Tensor, sigma: Tensor, noise: Tensor, training: bool) -> Tensor:
    """Return the mean squared error of what is denoised, 1 where it is as large as that of a Gaussian's best guess."""
    denoised = network.denoise(points + sigma * noise, sigma, training)
    # In a Gaussian of variance 1, noise of sigma leaves an error of sigma^2 / (1 + sigma^2).
    return ((denoised - points).square() * (1 + sigma.square()) / sigma.square()).mean()
