"""Images per second, the host's and the device's share of the time, and memory, method by method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import torch

from apm_tta.apm.memory import free_memory
from apm_tta.harness.compute.measure import peak_memory
from apm_tta.harness.compute.prepare import Prepared
from apm_tta.harness.request.suite import Suite
from benchmarks.gpu.busy import BusyWatch
from benchmarks.gpu.runs import CHEAP, Watch, methods, one_run, prepared_runs
from benchmarks.gpu.section import Found, Section, Setting

_LEFT_FOR_THE_REST = 150.0
"""Seconds that the sections after this one need."""


@dataclass(frozen=True)
class _Measured:
    rate: float
    host: float
    busy: float | None
    megabytes: float | None


def measure(setting: Setting) -> Found:
    """Run every method in every precision, and again with half the batch, whose peak gives the memory of an image."""
    prepared = prepared_runs(setting)
    found = Found(
        (
            *("method", "precision", "batch", "images/s", "host share", "device busy share", "peak memory, MB"),
            "batch that fits",
        )
    )
    for precision in setting.sizes.precisions or precisions():
        for name in methods(setting.sizes):
            if setting.left() < _LEFT_FOR_THE_REST:
                found.remarks.append(f"{name} in {precision} was not measured: the time was over.")
                continue
            found.rows.append(_row(prepared, setting, name, precision))
    found.remarks += [
        "Host share: CPU time of the thread that feeds the device. Busy share: the time in which any kernel runs, per "
        "image by the profiler, times images/s without it. Both, and images/s, from the end of the first batch on.",
        "Batch that fits: by the peaks of this batch and of half of it, in the memory that is free.",
    ]
    return found


def precisions() -> tuple[str, ...]:
    """Return the precisions that a suite can have."""
    return tuple(get_args(Suite.model_fields["precision"].annotation))


def _row(prepared: Prepared, setting: Setting, name: str, precision: str) -> tuple[object, ...]:
    sizes, online = setting.sizes, prepared.methods[name].stream_batch
    batch = online or (sizes.batch_cheap if name in CHEAP else sizes.batch_dear)
    images = sizes.cheap if name in CHEAP else sizes.dear
    images = max(3 * batch, min(images, 16 * batch))
    whole = _measured(prepared, setting, name, precision, batch, images)
    fits: object = "its own"
    if online is None and whole.megabytes is not None:
        half = _measured(prepared, setting, name, precision, max(1, batch // 2), 2 * batch)
        fits = _fitting(setting.device, whole, half, batch)
    busy = "" if whole.busy is None else f"{whole.busy:.0%}"
    memory = "" if whole.megabytes is None else f"{whole.megabytes:,.0f}"
    return name, precision, batch, f"{whole.rate:,.1f}", f"{whole.host:.0%}", busy, memory, fits


def _measured(prepared: Prepared, setting: Setting, name: str, precision: str, batch: int, images: int) -> _Measured:
    watch = Watch()
    with peak_memory(setting.device) as peak:
        one_run(prepared, setting, name, precision, batch, images, watch)
    start, end = watch.steady
    wall = end.wall - start.wall
    rate = (end.images - start.images) / wall
    profiled = BusyWatch(setting.device)
    busy = None
    if setting.device.type == "cuda":
        one_run(prepared, setting, name, precision, batch, 3 * batch, profiled)
        seconds, (first, last) = profiled.device_seconds(), profiled.steady
        busy = None if seconds is None else min(1.0, rate * seconds / (last.images - first.images))
    return _Measured(rate, (end.host - start.host) / wall, busy, peak.megabytes)


def _fitting(device: torch.device, whole: _Measured, half: _Measured, batch: int) -> object:
    """Return the largest batch whose peak is below what is free, as a straight line through two peaks says."""
    assert whole.megabytes is not None
    assert half.megabytes is not None
    per_image = (whole.megabytes - half.megabytes) / (batch - batch // 2)
    if per_image <= 0:
        return f"at least {batch}"
    if device.type == "cuda":
        torch.cuda.empty_cache()  # what torch keeps is free too
    room = free_memory(device) / 1e6
    return f"{int(batch + room / per_image):,}"


SECTION = Section(
    "Methods",
    "images/s, host share, device busy share, peak memory and the batch that fits, of every method with ViT-B/16 "
    "(drawn weights) at 224 pixels and 1000 classes, in every precision",
    measure,
)
