"""Measure what the host does per image: CPU time of the process that feeds the device, and of those that load.

Nothing that a device would do is counted: the encoder and the text tower answer at once, an APM is a few numbers wide,
and the pixels of views, which are made where the teacher is, are blank.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from apm_tta.harness.compute.prepare import plan, prepare
from apm_tta.harness.compute.worker import Worker
from apm_tta.harness.progress.events import Event
from apm_tta.harness.request.run_request import resolve_request
from apm_tta.methods import shared_values
from apm_tta.views import ViewSpec
from benchmarks.host.free_teacher import free_name

CLASSES, FEATURES, SIZE, BATCH, WORKERS = 10, 8, 8, 64, 2
_FILES = 128
SETTINGS: dict[str, Mapping[str, Any]] = {
    **{name: {} for name in ("zeroshot", "ensemble", "tent", "sar", "zero", "mta", "vte", "tps")},
    "tda": {"views": 64, "augmix": True},
    "apm": {"hidden": [8], "iterations": 1},
    "tpt": {},
    "memo": {},
}
"""Parameters of every method that is measured; those of TDA as on ImageNet's family."""


@dataclass(frozen=True)
class HostCost:
    """CPU milliseconds per image.

    Attributes:
        feeding: in the process that feeds the device.
        loading: in the loading processes.
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
            first = index % _FILES
            path.hardlink_to(root / f"class-{first % classes}" / f"{first:05d}.jpg")
        else:
            Image.fromarray(_photograph(rng, side)).save(path, quality=90)
    return root


def measure(method: str, photographs: Path, images: int, *, workers: int = WORKERS, size: int = SIZE) -> HostCost:
    """Return what an image more costs: the difference between ``images`` photographs and a quarter of them, per image.

    So neither what a run does once counts, nor the measurements on its first images, nor the start of processes.
    """
    few = images // 4 // BATCH * BATCH
    with mock.patch.object(shared_values, "make_views", _blank_views):
        early, late = (_seconds(method, photographs, limit, workers, size) for limit in (few, images))
    feeding, loading = (1000 * (after - before) / (images - few) for before, after in zip(early, late, strict=True))
    return HostCost(feeding, loading)


def _seconds(method: str, photographs: Path, limit: int, workers: int, size: int) -> tuple[float, float]:
    """Return the CPU seconds of this process, and of its loading processes, for ``limit`` photographs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        options = {
            "teacher": free_name(size, FEATURES),
            "methods": [method],
            "batch_size": BATCH,
            "limit": limit,
            "settings": {method: dict(SETTINGS[method])},
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
    finally:
        torch.set_num_threads(threads)


def _blank_views(spec: ViewSpec, view_size: int, images: Sequence[Tensor], draws: Tensor) -> Tensor:
    """Stand for what the device does; all that comes before it is done, and all that comes after."""
    assert len(images) == len(draws)
    kind = torch.float32 if spec.augmix else torch.uint8
    return torch.zeros((1, 1, 3, 1, 1), dtype=kind).expand(*draws.shape[:2], 3, view_size, view_size)


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


def _ignore(event: Event) -> None:
    pass


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
