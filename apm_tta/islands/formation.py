"""The islands that form while a fresh APM is fitted to one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import cosine_similarity

from apm_tta.apm import APM
from apm_tta.apm.distill import Fitting
from apm_tta.apm.engine import Goals
from apm_tta.islands.fine import cell_centres
from apm_tta.islands.fine.bilinear import enlarge
from apm_tta.islands.targets import Aim
from apm_tta.methods.apm_input import apm_input


@dataclass(frozen=True)
class Formation:
    """The record of a fit of T iterations.

    Attributes:
        iterations: those at which the features were kept, ascending; 0 is before the first.
        grids: the features at those iterations, ``(k * g, k * g, F)`` each.
        losses: the loss at every iteration, T + 1 values.
        cosines: the cosine to the target at every iteration, T + 1 values: of the token, or the mean over the
            locations.
    """

    iterations: list[int]
    grids: list[Tensor]
    losses: list[float]
    cosines: list[float]


@torch.no_grad()
def form(
    image: Image.Image,
    aim: Aim,
    iterations: Sequence[int],
    seed: int,
    device: torch.device,
    factor: int = 1,
    way: str = "bilinear",
) -> Formation:
    """Fit a fresh APM to one image and keep its features at some iterations.

    Args:
        image: RGB.
        aim: what it is fitted to.
        iterations: those at which features are kept, ascending, from 0 to ``aim.fit.iterations``.
        seed: seed of the fresh parameters.
        device: the device that computes.
        factor: locations per side that are kept for each of the APM's grid.
        way: ``field``: the APM is asked between its locations; ``bilinear``: its features are interpolated.
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
            asked = way == "field" and factor > 1
            fine = _asked_between(fitting, pixels, aim, factor) if asked else enlarge(features[0], factor)
            kept.append(fine[..., : aim.width].clone())
        if iteration < aim.fit.iterations:
            fitting.descend()
    return Formation(list(iterations), kept, losses, cosines)


def _asked_between(fitting: Fitting, pixels: Tensor, aim: Aim, factor: int) -> Tensor:
    """Ask the one APM of a fit at k x k places for every location of its grid; return ``(k * g, k * g, F)``."""
    apm = APM(aim.config).to(pixels)
    weights = {name: parameter[0] for name, parameter in fitting.parameters.items()}
    apm.load_state_dict({**apm.state_dict(), **weights})
    column = apm.column(pixels, aim.goals.columns)
    places = cell_centres(aim.config.grid, factor).to(pixels)
    side = aim.config.grid * factor
    features: Tensor = apm.query(column, places)[0].unflatten(0, (side, side))
    return features


def chosen_iterations(total: int, every: int) -> list[int]:
    """Return 0, every ``every``-th iteration, and the last."""
    return sorted({*range(0, total + 1, every), total})


def _cosine(tokens: Tensor, features: Tensor | None, goals: Goals) -> float:
    if goals.grids is None or features is None:
        return float(cosine_similarity(tokens, goals.tokens, dim=-1))
    return float(cosine_similarity(features.flatten(1, 2), goals.grids, dim=-1).mean())
