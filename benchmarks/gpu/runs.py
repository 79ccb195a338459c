"""Runs through the real worker: a teacher with drawn weights, photographs made here, the real loading processes."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import open_clip
import torch
from safetensors.torch import save_file

from apm_tta.data.dataset import Dataset
from apm_tta.harness.compute.loading import default_workers
from apm_tta.harness.compute.prepare import Prepared, plan, prepare
from apm_tta.harness.compute.worker import Worker
from apm_tta.harness.progress.events import Answered, Emit, Event
from apm_tta.harness.request.run_request import resolve_request
from apm_tta.methods import METHODS
from benchmarks.gpu.section import Setting
from benchmarks.gpu.sizes import Sizes
from benchmarks.host.measure import make_photographs

CHEAP = ("ensemble", "sar", "tent", "zeroshot")
"""Methods that pass an image through the encoder once or twice."""


@dataclass(frozen=True)
class Moment:
    """The end of a batch.

    Attributes:
        images: answered since the start.
        wall: seconds by the clock.
        host: CPU seconds of the thread that feeds the device.
    """

    images: int
    wall: float
    host: float


def methods(sizes: Sizes) -> list[str]:
    """Name the methods that are measured: of those chosen, all that need neither labelled images nor BatchNorm.

    A transductive one answers once, at the end: it has no rate.
    """
    chosen = sizes.methods or METHODS.names()
    names = [name for name in chosen if METHODS.get(name).protocol != "transductive"]
    return [name for name in names if name not in ("eata", "knn", "norm")]


def drawn_teacher(setting: Setting) -> str:
    """Return the name of a teacher of the architecture, with weights drawn here; written once."""
    architecture = setting.sizes.architecture
    if architecture is None:
        return "embedded"
    path = setting.folder / f"{architecture}.safetensors"
    if not path.exists():
        torch.manual_seed(0)
        model = open_clip.CLIP(**open_clip.get_model_config(architecture))
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
    return f"{architecture}:{path}"


def prepared_runs(setting: Setting) -> Prepared:
    """Build the teacher and every method, once for all measurements of them."""
    sizes, names = setting.sizes, methods(setting.sizes)
    root = setting.folder / "photographs"
    if not root.exists():
        make_photographs(root, max(sizes.cheap, sizes.classes), sizes.classes, sizes.side)
        if sizes.architecture is None:  # whose teacher knows few words
            for index, word in enumerate(("bag", "coat")):
                (root / f"class-{index}").rename(root / word)
    options = {
        "teacher": drawn_teacher(setting),
        "methods": names,
        "settings": {name: values for name, values in sizes.settings.items() if name in names},
    }
    request = resolve_request("folder", options, data_root=root, devices=(str(setting.device),), quiet=True)
    return prepare(request, setting.device)


def one_run(
    prepared: Prepared, setting: Setting, name: str, precision: str, batch_size: int, images: int, emit: Emit
) -> None:
    """Let a worker answer so many images by one method, as a run does."""
    suite = prepared.request.suite.model_copy(update={"precision": precision, "batch_size": batch_size})
    dataset = Dataset(prepared.request.card, prepared.request.data_root, images)
    own = replace(prepared, request=replace(prepared.request, suite=suite), dataset=dataset)
    worker = Worker(own, emit, "", default_workers(setting.device))
    try:
        for unit in plan(own)[1]:
            cells = tuple(cell for cell in unit.cells if cell.method == name)
            if cells:
                worker.compute(replace(unit, cells=cells))
    finally:
        worker.close()


class Watch:
    """Hears a run, and keeps the end of each of its batches."""

    def __init__(self) -> None:
        self.moments: list[Moment] = []

    def __call__(self, event: Event) -> None:
        """Note the end of a batch."""
        if isinstance(event, Answered):
            images = event.images + (self.moments[-1].images if self.moments else 0)
            self.moments.append(Moment(images, time.perf_counter(), time.thread_time()))

    @property
    def steady(self) -> tuple[Moment, Moment]:
        """The end of the first batch, which has measurements and checks of its own, and of the last one."""
        return self.moments[0], self.moments[-1]
