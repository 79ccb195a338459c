"""What the device itself can do: the rate of its products, and of copies in its memory."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

_REPEATS = 10


def product_rate(device: torch.device, side: int, dtype: torch.dtype) -> float:
    """Return the floating-point operations per second of a product of two square matrices."""
    left, right = (torch.randn(side, side).to(device, dtype) for _ in range(2))
    out = torch.empty_like(left)
    return 2 * side**3 / seconds_of(device, lambda: torch.mm(left, right, out=out))


def copy_rate(device: torch.device, size: int) -> float:
    """Return the bytes per second that are read and written when memory is copied."""
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / seconds_of(device, lambda: target.copy_(source))


def seconds_of(device: torch.device, work: Callable[[], object], repeats: int = _REPEATS) -> float:
    """Return the seconds of one call, the device waited for before and after all of them."""
    work()
    _wait(device)
    started = time.perf_counter()
    for _ in range(repeats):
        work()
    _wait(device)
    return (time.perf_counter() - started) / repeats


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
