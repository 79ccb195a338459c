"""Constants as tensors, made once per device: a copy to a GPU makes the process wait until the GPU is done."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


@cache
def channel_values(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return one value per channel, ``(C, 1, 1)``, float32, into which nobody may write."""
    return torch.tensor(values, dtype=torch.float32, device=device).view(-1, 1, 1)
