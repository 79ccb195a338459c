"""A CUDA device that is pretended: its tensors compute on the CPU, and meet no tensor of another device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pretended_cuda.calls import calls_seen
from pretended_cuda.pinned import PINNED
from pretended_cuda.sites import SITES
from pretended_cuda.tensor import CUDA, DeviceTensor, Elsewhere, as_seen, on_device
from pretended_cuda.torch_cuda import STUBS, stubbed
from pretended_cuda.waits import WAITS, Waits

__all__ = ["CUDA", "SITES", "STUBS", "DeviceTensor", "Elsewhere", "Waits", "as_seen", "on_device", "pretended_cuda"]


@contextmanager
def pretended_cuda() -> Iterator[Waits]:
    """Pretend in the block that there is one CUDA device; return what counts how often the process waits for it."""
    WAITS.clear()
    try:
        with stubbed(), calls_seen():
            yield WAITS
    finally:
        WAITS.finish_copies()
        PINNED.clear()
