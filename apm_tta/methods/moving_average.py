"""Moving averages of parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


@torch.no_grad()
def move_towards(values: Sequence[Tensor], others: Sequence[Tensor], momentum: float) -> None:
    """Replace each of ``values`` by ``momentum`` of itself and the rest of its counterpart, in place."""
    for value, other in zip(values, others, strict=True):
        value.mul_(momentum).add_(other, alpha=1 - momentum)
