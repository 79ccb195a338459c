"""What a method costs: time with the device synchronised and warm-up left out, memory, FLOPs.

Timings never decide numbers: whatever is answered here is thrown away.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from apm_tta.methods import Batch, Method, Predictions
from apm_tta.methods.batch import Meter, Shared, synchronize

LATENCY_IMAGES = 10
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


@dataclass(frozen=True)
class Alone:
    """What a method costs without others beside it.

    Attributes:
        latencies: milliseconds of single images, everything after decoding.
        gflop: of one image, in 10^9 floating-point operations, two for a multiplication and addition.
    """

    latencies: list[float]
    gflop: float


@dataclass
class Peak:
    """Most memory that was held, in 10^6 bytes; None until it is known, and where the system does not say."""

    megabytes: float | None = None


def timed(method: Method, batch: Batch) -> tuple[Predictions, Meter]:
    """The method's answer for ``batch`` and what it cost, alone and beside the others."""
    with batch.shared.metered() as meter:
        predictions = method.predict(batch)
    return predictions, meter


def measure_alone(method: Method, batch: Batch) -> Alone:
    """Costs of single images of ``batch``, at most ``LATENCY_IMAGES`` of them; nothing is shared.

    A method that wants several images at once has no latency of one; its FLOPs are those of such a batch, divided.
    An online method has forgotten everything afterwards: it is asked where its stream has not begun.
    """
    device = method.teacher.device
    at_once = method.stream_batch or 1
    count = min(at_once, len(batch))
    # The first answer may also build what later ones find: its FLOPs are not an image's.
    method.predict(_part(batch, slice(0, count), device))
    with counted_flops() as counter:
        method.predict(_part(batch, slice(0, count), device))
    latencies = []
    if at_once == 1:
        alone = [_part(batch, slice(index, index + 1), device) for index in range(min(LATENCY_IMAGES, len(batch)))]
        meters = [timed(method, single)[1] for single in alone]
        latencies = [meter.own + (meter.shared or 0.0) for meter in meters]
    if method.protocol == "online":
        method.reset()
    return Alone(latencies, counter.get_total_flops() / count / 1e9)


@contextmanager
def counted_flops() -> Iterator[FlopCounterMode]:
    """Counts every matrix product and convolution of the block, those of gradients included.

    PyTorch has fused forms of attention of which its own counter knows nothing: within the block they are not taken.
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
    """Watches the block: the device's allocations, or on a CPU what the whole process holds."""
    peak = Peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        synchronize(device)
        peak.megabytes = torch.cuda.max_memory_allocated(device) / 1e6
        return
    with suppress(OSError):
        _CLEAR.write_text(_RESET_PEAK)
    yield peak
    peak.megabytes = process_peak()


def process_peak() -> float | None:
    """Most megabytes that this process held since it was last asked to forget; None where the system is not Linux."""
    try:
        lines = _STATUS.read_text().splitlines()
        kibibytes = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return None
    return kibibytes * 1024 / 1e6


def _part(batch: Batch, part: slice, device: torch.device) -> Batch:
    return Batch(batch.ids[part], batch.images[part], Shared(device))
