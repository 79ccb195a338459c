"""Which data type multiplies matrices faster on a device: bfloat16 is slow where a processor has no products of it."""

from __future__ import annotations

import time
from statistics import median
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]

_WIDTH, _ROWS = 1024, 1024
_ROUNDS = 9
_LONGEST_S = 1.0
_TYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def fastest_precision(device: torch.device) -> tuple[Precision, dict[Precision, float]]:
    """Measure products of 1024 x 1024 matrices, the types in turns, for about a second at most.

    Returns:
        The faster type, and the seconds of one product by type (medians, after one that warms up).
    """
    factors = {name: torch.ones(_ROWS, _WIDTH, dtype=kind, device=device) for name, kind in _TYPES.items()}
    for each in factors.values():
        _timed(each)
    taken: dict[Precision, list[float]] = {name: [] for name in factors}
    started = time.perf_counter()
    for _ in range(_ROUNDS):
        for name, each in factors.items():
            taken[name].append(_timed(each))
        if time.perf_counter() - started > _LONGEST_S:
            break
    seconds = {name: median(times) for name, times in taken.items()}
    return min(seconds, key=lambda name: seconds[name]), seconds


def described(precision: Precision, seconds: dict[Precision, float]) -> str:
    """Say in one line which type was chosen, and why."""
    other: Precision = "bfloat16" if precision == "float32" else "float32"
    ratio = seconds[other] / seconds[precision]
    return f"precision auto: {precision}, whose product takes 1/{ratio:.1f} of the time of {other} on this machine"


def _timed(factor: torch.Tensor) -> float:
    started = time.perf_counter()
    float((factor @ factor.T)[0, 0])  # reading a value waits for a GPU
    return time.perf_counter() - started
