"""What a method costs: time (after warm-up, with the device synchronised), memory and FLOPs.

Timings never decide a number: answers computed only to be measured are compared with the recorded ones and discarded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from apm_tta.harness.compute.spot_check import IMAGES, images_at_once, part_of, takes_single_images
from apm_tta.methods import Batch, Method
from apm_tta.methods.answering import Answers, answer, reset, run_once

LATENCY_IMAGES = 10
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


@dataclass(frozen=True)
class SoloCost:
    """What a method costs when it shares nothing with other methods.

    Attributes:
        latencies: milliseconds per single image, for everything after decoding.
        gflop: 10^9 floating-point operations per image, where a multiplication and addition count as two.
        alone: the answers that it gave meanwhile.
    """

    latencies: list[float]
    gflop: float
    alone: list[Answers]


@dataclass
class Peak:
    """The peak memory in 10^6 bytes; None until it is known, and where the system does not report it."""

    megabytes: float | None = None


def measure_alone(method: Method, batch: Batch, gflop: float | None = None) -> SoloCost:
    """Measure the cost of single images of ``batch`` with nothing shared: ``LATENCY_IMAGES`` of them, at most.

    Where the method has been measured in this process, as under another condition, ``IMAGES`` are enough: so many are
    asked for alone anyway.

    A method that requires several images at once has no latency of one image; its FLOPs are those of such a batch,
    divided by the number of images. An online method is reset before and afterwards, so it must not be measured within
    a stream.

    Args:
        method: the method.
        batch: the images.
        gflop: of an image, where they have been counted in this process; None counts them. They are the same for every
            image; of an online method they are those of the first batch of its stream.
    """
    count, alone, first = images_at_once(method, batch), list[Answers](), gflop is None
    if gflop is None or not takes_single_images(method):
        # The first call may also build what later calls reuse, which must not count as FLOPs of an image.
        reset(method)
        alone = [answer(method, part_of(batch, slice(0, count)), "alone")]
    if gflop is None:
        gflop = gflop_of(method, part_of(batch, slice(0, count)))
    latencies = []
    if takes_single_images(method):
        reset(method)
        wanted = min(LATENCY_IMAGES, len(batch) if first else min(IMAGES, len(batch)))
        singles = [part_of(batch, slice(index, index + 1)) for index in range(wanted)]
        alone = [answer(method, single, "alone") for single in singles]
        latencies = [each.meter.own + (each.meter.shared or 0.0) for each in alone]
    reset(method)
    return SoloCost(latencies, gflop, alone)


def gflop_of(method: Method[Any], batch: Batch) -> float:
    """Count 10^9 floating-point operations per image of ``batch``, which an online method sees first of all."""
    reset(method)  # what a cache of the stream costs depends on how full it is
    with count_flops() as counter:
        run_once(method, batch, "operations")
    return counter.get_total_flops() / len(batch) / 1e9


@contextmanager
def count_flops() -> Iterator[FlopCounterMode]:
    """Count the FLOPs of every matrix product and convolution in the block, including those of gradients.

    PyTorch's counter does not know PyTorch's fused forms of attention, so these are not used within the block.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Measure the peak memory of the block: of the device's allocations, or on a CPU of the whole process."""
    peak = Peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        peak.megabytes = torch.cuda.max_memory_allocated(device) / 1e6
        return
    with suppress(OSError):
        _CLEAR.write_text(_RESET_PEAK)
    yield peak
    peak.megabytes = process_peak()


def process_peak() -> float | None:
    """Return this process's peak memory since its last reset, in 10^6 bytes; None where the system is not Linux."""
    try:
        lines = _STATUS.read_text().splitlines()
        kibibytes = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return None
    return kibibytes * 1024 / 1e6
