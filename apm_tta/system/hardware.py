"""Name what computes: a processor or a GPU, and the threads on it."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

import torch


def device_name(device: torch.device) -> str:
    """Return the name of a GPU, or of the processor where the device is the CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()


def rounding_of(device: torch.device) -> dict[str, object]:
    """Return what the last bits of a computation depend on besides its inputs, as plain data.

    Libraries choose their kernels by the processor's instructions, and split sums by the number of threads. What was
    computed elsewhere, or with other threads, equals what is computed here only up to rounding: whatever is kept and
    read again states this, so that a number never depends on who computed first.
    """
    threads = torch.get_num_threads() if device.type == "cpu" else None
    return {"device": device.type, "device_name": device_name(device), "threads": threads}


@cache
def _processor() -> str:
    """Return the processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
