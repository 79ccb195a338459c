"""Records of all of ImageNet-C, written and read back: 3.75 million rows within 120 s and 2 GB on two cores."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from apm_tta.data.corruptions import CORRUPTIONS, SEVERITIES
from apm_tta.data.sample import Condition
from apm_tta.harness.compute.account import Account
from apm_tta.harness.compute.measure import process_peak
from apm_tta.harness.plan import SHARD_SIZE, Cell, plan_shards
from apm_tta.harness.storage.records import encode_records, read_shard, record_files, write_content

IMAGES = 50_000
ALLOWED_S, ALLOWED_MB = 120, 2000


def simulated_columns(images: range) -> dict[str, list[Any]]:
    """Return the records of an APM: twenty iterations, losses, timings, ids of ImageNet's length."""
    labels = [index // 50 for index in images]
    predictions = [(label + (index % 4 == 0)) % 1000 for index, label in zip(images, labels, strict=True)]
    pairs = list(zip(images, predictions, strict=True))
    return {
        "id": [f"n01440764/ILSVRC2012_val_{index:08d}.JPEG" for index in images],
        "label": labels,
        "prediction": predictions,
        "top5": [[prediction, *range(4)] for prediction in predictions],
        "confidence": [(index % 997) / 997 for index in images],
        "teacher_prediction": predictions,
        "target_prediction": predictions,
        "iteration_predictions": [[index % 1000] * 5 + [prediction] * 16 for index, prediction in pairs],
        "first_loss": [0.001 * (index % 991) for index in images],
        "last_loss": [0.0001 * (index % 983) for index in images],
        "last_cosine": [(index % 977) / 977 for index in images],
        "iterations": [20] * len(images),
        "batch_ms": [8.0 + (index % 13) / 7 for index in images],
        "peak_memory_mb": [1000.0] * len(images),
    }


def write_and_read(run: Path) -> None:
    """Run what is timed, in its own process; print the seconds of both and the process's peak memory in megabytes."""
    started = time.perf_counter()
    conditions = [Condition(name, severity) for name in list(CORRUPTIONS.names())[:15] for severity in SEVERITIES]
    cells = [Cell("imagenet-c", condition, "ViT-B-16:openai", "apm", 0) for condition in conditions]
    for shard in plan_shards(cells, dict.fromkeys(conditions, IMAGES), SHARD_SIZE):
        for cell in shard.cells:
            columns = simulated_columns(range(shard.start, shard.stop))
            content = encode_records(cell, columns, Account(shard, "", torch.device("cpu"), {}).header(cell))
            write_content(run / shard.file_of(cell), content)
    written = time.perf_counter()
    files = record_files(run)
    rows_read = sum(len(read_shard(path)) for path in files)
    read = time.perf_counter()
    assert rows_read == len(conditions) * IMAGES
    size = sum(path.stat().st_size for path in files)
    peak = process_peak() or 0  # not getrusage, which starts from the parent's
    print(f"{written - started:.1f} {read - written:.1f} {peak:.0f} {size / 1e6:.0f} {len(files)}")


@pytest.mark.benchmark(group="records")
def test_records_of_all_of_imagenet_c(benchmark: pytest.FixtureRequest, tmp_path: Path) -> None:
    def once() -> list[float]:
        script = (
            f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import {Path(__file__).stem} as own; "
        )
        words = [sys.executable, "-c", script + f"own.write_and_read(own.Path({str(tmp_path)!r}))"]
        return [
            float(word) for word in subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
        ]

    writing, reading, megabytes, disk, files = benchmark.pedantic(once, rounds=1)
    print(f"\nwritten in {writing} s, read in {reading} s, {megabytes} MB of memory, {disk} MB in {files:.0f} files")
    assert writing + reading < ALLOWED_S
    assert megabytes < ALLOWED_MB
