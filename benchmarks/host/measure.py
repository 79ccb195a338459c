"""Measure what the host does per image: CPU time of the process that feeds the device, and of those that load."""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import benchmarks.host.free_teacher  # noqa: F401  registers it
from apm_tta.harness.compute.prepare import plan, prepare
from apm_tta.harness.compute.worker import Worker
from apm_tta.harness.progress.events import Event
from apm_tta.harness.request.run_request import resolve_request

CLASSES = 10
_FILES = 128


@dataclass(frozen=True)
class HostCost:
    """CPU milliseconds per image.

    Attributes:
        feeding: in the process that feeds the device.
        loading: in the loading processes, their start included.
    """

    feeding: float
    loading: float


def make_photographs(root: Path, count: int, classes: int = CLASSES, side: tuple[int, int] = (500, 375)) -> Path:
    """Make a folder of JPEGs with the detail of photographs: noise with a falling spectrum; ``_FILES`` differ."""
    rng = np.random.default_rng(0)
    for index in range(count):
        folder = root / f"class-{index % classes}"
        folder.mkdir(exist_ok=True, parents=True)
        path = folder / f"{index:05d}.jpg"
        if index >= _FILES:
            path.hardlink_to(root / f"class-{index % _FILES % classes}" / f"{index % _FILES:05d}.jpg")
        else:
            Image.fromarray(_photograph(rng, side)).save(path, quality=95)
    return root


def _photograph(rng: np.random.Generator, side: tuple[int, int]) -> np.ndarray:
    width, height = side
    levels = sum(
        np.asarray(
            Image.fromarray(rng.integers(0, 256, (height // step, width // step, 3), dtype=np.uint8)).resize(side),
            dtype=np.float64,
        )
        * step
        for step in (1, 4, 16, 64)
    )
    return (levels / 85).astype(np.uint8)


def measure(
    method: str, photographs: Path, teacher: str, parameters: Mapping[str, Any], workers: int, batch_size: int = 64
) -> HostCost:
    """Return what an image more costs: the difference between all photographs and a quarter of them, per image.

    So neither what a run does once counts, nor the measurements on its first images, nor the start of processes.
    """
    count = sum(1 for _ in photographs.rglob("*.jpg"))
    few, all_of_them = (
        _seconds(method, photographs, teacher, parameters, workers, batch_size, limit) for limit in (count // 4, count)
    )
    more = count - count // 4
    feeding, loading = (1000 * (late - early) / more for early, late in zip(few, all_of_them, strict=True))
    return HostCost(feeding, loading)


def _seconds(
    method: str,
    photographs: Path,
    teacher: str,
    parameters: Mapping[str, Any],
    workers: int,
    batch_size: int,
    limit: int,
) -> tuple[float, float]:
    """Return the CPU seconds of this process, and of its loading processes, for ``limit`` photographs."""
    torch.set_num_threads(1)
    options = {
        "teacher": teacher,
        "methods": [method],
        "batch_size": batch_size,
        "limit": limit,
        "settings": {method: dict(parameters)},
    }
    request = resolve_request("folder", options, data_root=photographs, devices=("cpu",), quiet=True)
    prepared = prepare(request, torch.device("cpu"))
    worker = Worker(prepared, _ignore, "", workers)
    before, children = time.process_time(), _children()
    for work in plan(prepared)[1]:
        worker.compute(work)
    feeding = time.process_time() - before
    worker.close()
    return feeding, _children() - children


def _ignore(event: Event) -> None:
    pass


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
