"""The islands that form while a fresh APM is fitted to one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cosine_similarity

from apm_tta.apm.distill import Fitting
from apm_tta.apm.engine import Goals
from apm_tta.islands.targets import Aim
from apm_tta.methods.apm_input import apm_input


@dataclass(frozen=True)
class Formation:
    """The record of a fit of T iterations.

    Attributes:
        iterations: those at which the features were kept, ascending; 0 is before the first.
        grids: the features at those iterations, ``(g, g, F)`` each.
        losses: the loss at every iteration, T + 1 values.
        cosines: the cosine to the target at every iteration, T + 1 values: of the token, or the mean over the
            locations.
    """

    iterations: list[int]
    grids: list[Tensor]
    losses: list[float]
    cosines: list[float]


@torch.no_grad()
def form(image: Image.Image, aim: Aim, iterations: Sequence[int], seed: int, device: torch.device) -> Formation:
    """Fit a fresh APM to one image and keep its features at some iterations.

    Args:
        image: RGB.
        aim: what it is fitted to.
        iterations: those at which features are kept, ascending, from 0 to ``aim.fit.iterations``.
        seed: seed of the fresh parameters.
        device: the device that computes.
    """
    pixels = apm_input(aim.config.image_size)(image)[None].to(device)
    fitting = Fitting(pixels, aim.goals, aim.config, [seed], aim.fit)
    kept, losses, cosines = [], [], []
    for iteration in range(aim.fit.iterations + 1):
        tokens, loss = fitting.evaluate()
        features = fitting.features() if aim.goals.grids is not None or iteration in iterations else None
        cosines.append(_cosine(tokens, features, aim.goals))
        losses.append(float(loss))
        if iteration in iterations:
            assert features is not None
            kept.append(features[0, ..., : aim.width].clone())
        if iteration < aim.fit.iterations:
            fitting.descend()
    return Formation(list(iterations), kept, losses, cosines)


def chosen_iterations(total: int, every: int) -> list[int]:
    """Return 0, every ``every``-th iteration, and the last."""
    return sorted({*range(0, total + 1, every), total})


def _cosine(tokens: Tensor, features: Tensor | None, goals: Goals) -> float:
    if goals.grids is None or features is None:
        return float(cosine_similarity(tokens, goals.tokens, dim=-1))
    return float(cosine_similarity(features.flatten(1, 2), goals.grids, dim=-1).mean())
