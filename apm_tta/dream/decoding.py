"""What a field answers for states that no image led to: colours, features and islands of every column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from apm_tta.field.checkpoint import Field
from apm_tta.islands.fine import cell_centres
from apm_tta.islands.regions import merge_regions

_AT_ONCE = 16_384  # locations


@dataclass(frozen=True)
class Decoded:
    """N columns as pictures.

    Attributes:
        colours: ``(N, h, w, 3)``, RGB in 0 .. 1 where the field is right.
        features: ``(N, h, w, F)``.
    """

    colours: Tensor
    features: Tensor

    def islands(self) -> list[npt.NDArray[np.int64]]:
        """Return the island of every location, ``(h, w)``, by column; see ``apm_tta.islands.regions``."""
        merged = [merge_regions(features) for features in self.features]
        return [regions.labels(regions.count()) for regions in merged]


@torch.no_grad()
def decode(field: Field, columns: Tensor, factor: int = 1) -> Decoded:
    """Ask a field at k x k places in the cell of every location, for columns ``(N, D)``; answers are on the CPU."""
    grid, device = field.apm.config.grid, field.apm.feature_head.weight.device
    whole = torch.arange(grid**2, device=device)
    everywhere = whole if factor == 1 else cell_centres(grid, factor).to(field.apm.feature_head.weight)
    shape, colours, features = (grid * factor, grid * factor), [], []
    for part in columns.to(device).split(max(1, _AT_ONCE // len(everywhere))):
        answers = field.apm.query(part, everywhere)
        colours.append(field.pixels.to_rgb(field.apm.colours(part, answers, everywhere)).cpu())
        features.append(answers[..., : field.width].cpu())
    return Decoded(torch.cat(colours).unflatten(1, shape), torch.cat(features).unflatten(1, shape))
