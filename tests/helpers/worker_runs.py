"""Runs in this process through the real Worker, on a device of the test's choice."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import timm
import torch
from small_settings import NEED_BATCH_NORM, small_settings

from apm_tta.api.run import resolve
from apm_tta.data.dataset import open_dataset
from apm_tta.data.sample import CLEAN
from apm_tta.harness.compute.prepare import Prepared, open_data, plan, prepare
from apm_tta.harness.compute.worker import Worker
from apm_tta.harness.progress.events import Emit
from apm_tta.methods import METHODS

BATCH = 2
"""Images in a batch, of an online method's too."""

SETTINGS = small_settings(views=3, batch_size=BATCH)

_MEASURED = {"latency_ms", "batch_ms", "peak_memory_mb"}
_CLASSES = ("bag", "coat", "sandal", "trouser")


def write_images(place: Path, tested: int = 2, labelled: int = 2) -> Path:
    """Write images of four classes to ``data`` and ``support`` below ``place``, so many of each class."""
    dataset = open_dataset("fashion-mnist")
    names = [name.lower() for name in dataset.classes]
    for name in _CLASSES:
        own = [entry for entry in dataset.entries(CLEAN) if names[entry.label] == name][: tested + labelled]
        for index, entry in enumerate(own):
            folder = place / ("data" if index < tested else "support") / name
            folder.mkdir(parents=True, exist_ok=True)
            dataset.read(entry, CLEAN).image.save(folder / f"{index}.png")
    return place


def of_embedded() -> list[str]:
    """Return the methods that can work with the embedded teacher and labelled images."""
    return [name for name in METHODS.names() if name not in NEED_BATCH_NORM]


def batch_norm_weights(place: Path) -> str:
    """Write a small network with BatchNorm and drawn weights; return its name as a teacher."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        state = timm.create_model("test_resnet").state_dict()
    torch.save(state, place / "weights.pth")
    return f"timm:test_resnet.r160_in1k:{place / 'weights.pth'}"


def prepared_on(
    device: torch.device,
    place: Path,
    methods: Iterable[str],
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    **options: Any,
) -> Prepared:
    """Prepare a run over the images of ``place`` under a corruption that makes the teacher unsure.

    Args:
        device: on which.
        place: see ``write_images``.
        methods: names.
        settings: by method, beside ``SETTINGS``.
        options: of ``apm_tta.run``.
    """
    names = list(methods)
    chosen = {name: {**SETTINGS.get(name, {}), **(settings or {}).get(name, {})} for name in names}
    given = {
        **{"teacher": "embedded", "methods": names, "data_root": place / "data", "support": place / "support"},
        **{"shots": 2, "clean": False, "corruptions": "contrast", "severities": 5, "batch_size": BATCH},
        **{"settings": {name: values for name, values in chosen.items() if values}, "quiet": True},
        **options,
    }
    request = resolve("folder", given)
    return prepare(request, device, open_data(request))


def answered(prepared: Prepared, name: str, emit: Emit = lambda _event: None, cache: Path | None = None) -> pa.Table:
    """Return what a worker records of one method, without measured times and memory.

    Args:
        prepared: the run.
        name: of the method.
        emit: hears the worker's events.
        cache: folder of features, which the worker fills or reads.
    """
    worker = Worker(prepared, emit, "", feature_cache=cache)
    tables = []
    for unit in plan(prepared)[1]:
        own = tuple(cell for cell in unit.cells if cell.method == name)
        if own:
            files = worker.compute(replace(unit, cells=own)).files
            tables += [pq.read_table(io.BytesIO(content)) for _, content in files]
    table = pa.concat_tables(tables)
    return table.select([column for column in table.column_names if column not in _MEASURED])
