"""The tables of all of ImageNet-C, 75 conditions of 50,000 images: at most 60 s and 2 GB on two cores."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from apm_tta.data.sample import Condition
from apm_tta.harness.compute.account import Account
from apm_tta.harness.compute.measure import process_peak
from apm_tta.harness.plan import SHARD_SIZE, Cell, Shard, plan_shards
from apm_tta.harness.storage.manifest import Manifest
from apm_tta.harness.storage.manifest_file import write_manifest
from apm_tta.harness.storage.records import SCHEMA_VERSION, encode_records, write_content
from apm_tta.report import write_report
from apm_tta.report.corruption_error import ALEXNET

IMAGES, CLASSES, ITERATIONS = 50_000, 1000, 20
ALLOWED_S, ALLOWED_MB = 60, 2000


def simulated_shard(shard: Shard, cell: Cell, fingerprint: str, random: np.random.Generator) -> bytes:
    """Return a shard as its method writes it: only an APM has a target, iterations and a loss."""
    start, stop, count = shard.start, shard.stop, shard.stop - shard.start
    label = np.arange(start, stop) // 50
    wrong = random.random(count) < 0.4
    prediction = (label + wrong) % CLASSES
    confidence = random.random(count)

    def lists(values: np.ndarray[Any, Any]) -> pa.Array:
        offsets = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
        return pa.ListArray.from_arrays(offsets, pa.array(values.ravel(), pa.int32()))

    distilled = {
        "target_prediction": prediction,
        "iteration_predictions": lists((prediction[:, None] + np.arange(ITERATIONS, -1, -1)) % CLASSES),
        "first_loss": confidence,
        "last_loss": confidence / 10,
        "last_cosine": confidence,
        "iterations": [ITERATIONS] * count,
    }
    columns: dict[str, Any] = {
        "id": [f"{index // 50:04d}/ILSVRC2012_val_{index:08d}.JPEG" for index in range(start, stop)],
        "label": label,
        "error": [None] * count,
        "prediction": prediction,
        "top5": lists((prediction[:, None] + np.arange(5)) % CLASSES),
        "confidence": confidence,
        **{name: random.random(count) for name in ("logit_margin", "nll", "brier", "energy")},
        "teacher_prediction": prediction,
        **(distilled if cell.method == "apm" else {"iterations": [0] * count, "iteration_predictions": [[]] * count}),
        "latency_ms": [None if start else 8.0 + place % 3 for place in range(10)] + [None] * (count - 10),
        "batch_ms": [8.0] * count,
        "peak_memory_mb": [1000.0] * count,
        "gflop": [None] * count,
    }
    return encode_records(cell, columns, Account(shard, fingerprint, torch.device("cpu"), {}).header(cell))


def simulate(run: Path, methods: Sequence[str] = ("apm",)) -> None:
    """Write a run folder of all of ImageNet-C."""
    conditions = [Condition(name, severity) for name in ALEXNET for severity in (1, 2, 3, 4, 5)]
    numbers = {
        "suite": "imagenet-c",
        "dataset": {
            "name": "imagenet-c",
            "classes": CLASSES,
            "class_names": [f"class {label}" for label in range(CLASSES)],
            "images": IMAGES,
            "images_hashed": IMAGES,
            "images_sha256": "e" * 64,
            "fingerprint": "f" * 64,
            "images_per_condition": IMAGES,
            "subset": f"all {IMAGES} images",
            "corruptions": "stored",
            "corruption_parameters": "imagenet",
            "corruption_seed": 0,
            "jpeg_quality": None,
        },
        "conditions": [str(condition) for condition in conditions],
        "teacher": {"name": "ViT-B-16:openai", "classifier": "text", "weights_sha256": "0" * 64},
        "methods": {
            name: {"protocol": "episodic", "votes": False, "templates": "simple", "sentences": ["a photo of a {}."]}
            for name in methods
        },
        "streams": "episodic",
        "crop_scale": [0.08, 1.0],
        "seeds": [0],
        "precision": "float32",
        "shard_size": SHARD_SIZE,
        "versions": {"apm-tta": "0", "record_schema": str(SCHEMA_VERSION)},
        "revisions": {"engine": 1, "methods": dict.fromkeys(methods, 1), "corruptions": {}, "uncommitted": "none"},
    }
    asked = {"title": "Simulated", "command": [], "limit": 0, "devices": ["auto"], "data_root": None}
    manifest = Manifest.model_validate(
        {"numbers": numbers, **asked, "dataset_title": "ImageNet-C", "left_out": {}, "costs": {}}
    )
    run.mkdir()
    write_manifest(run, manifest)
    fingerprint = manifest.numbers.fingerprint
    cells = [Cell("imagenet-c", condition, "ViT-B-16:openai", name, 0) for condition in conditions for name in methods]
    random = np.random.default_rng(0)
    for shard in plan_shards(cells, dict.fromkeys(conditions, IMAGES), SHARD_SIZE):
        for cell in shard.cells:
            write_content(run / shard.file_of(cell), simulated_shard(shard, cell, fingerprint, random))


def report(run: Path) -> None:
    """Run what is timed, in its own process; print the seconds and the process's peak memory in megabytes."""
    started = time.perf_counter()
    write_report(run)
    peak = process_peak() or 0  # not getrusage, which starts from the parent's
    print(f"{time.perf_counter() - started:.1f} {peak:.0f}")


@pytest.mark.benchmark(group="report")
def test_tables_of_all_of_imagenet_c(benchmark: pytest.FixtureRequest, tmp_path: Path) -> None:
    run = tmp_path / "run"
    simulate(run)

    def once() -> list[float]:
        script = (
            f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import {Path(__file__).stem} as own; "
        )
        words = [sys.executable, "-c", script + f"own.report(own.Path({str(run)!r}))"]
        return [
            float(word) for word in subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
        ]

    seconds, megabytes = benchmark.pedantic(once, rounds=1)
    print(f"\n{seconds} s, {megabytes:.0f} MB of memory")
    assert seconds < ALLOWED_S
    assert megabytes < ALLOWED_MB
