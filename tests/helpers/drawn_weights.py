"""Weights drawn by the names and shapes of tensors, so that two architectures of one state get the same."""

from __future__ import annotations

import hashlib
import zlib

import torch
from torch import Tensor, nn

_BLOCK = 2**20


def drawn_state(network: nn.Module) -> dict[str, Tensor]:
    """Draw what keeps the size of values from layer to layer; large tensors repeat one block of values."""
    values = torch.randn(_BLOCK, generator=torch.Generator().manual_seed(0))
    state = {}
    for name, own in network.state_dict().items():
        start, count = zlib.crc32(name.encode()) % 997, own.numel()
        drawn = values.roll(-start).repeat(count // _BLOCK + 1)[:count].reshape(own.shape)
        if name.endswith("running_var"):
            drawn = 0.5 + drawn.abs()
        elif name.rpartition(".")[2] in ("mu", "sigma"):
            drawn = own
        elif own.ndim < 2:
            drawn = (1 if name.endswith("weight") else 0) + 0.2 * drawn
        else:
            drawn = drawn * (1.5 / (count / len(own))) ** 0.5
        state[name] = drawn.to(own.dtype)
    return state


def state_digest(network: nn.Module) -> str:
    """Return the SHA-256 of the names and shapes of a network's tensors, whatever their order."""
    lines = sorted(f"{name} {tuple(own.shape)}" for name, own in network.state_dict().items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def drawn_images() -> Tensor:
    """Draw two images ``(2, 3, 32, 32)`` with values in 0 .. 1."""
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
