"""Make ``docs/scale.md``: time and disk space for all of ImageNet-C with each method on 1, 8 and 64 GPUs.

``python docs/scale.py measure --data-root PART_OF_IMAGENET`` measures unit costs on this machine and writes them to
``docs/scale.csv``; ``python -m benchmarks.host --csv docs/host.csv`` measures what the host does per image with each
method, and ``python -m benchmarks.storage --csv docs/storage.csv`` what a run of that size leaves on disk.
``python docs/scale.py`` makes the page from them, with the first bottleneck of each method and number of GPUs.
A test compares the committed page with its output.

FLOPs do not depend on the weights' values, so they are counted on a ViT-B/16 with random weights.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image
from safetensors.torch import save_file
from tabulate import tabulate

from apm_tta.data.dataset import Dataset, open_dataset
from apm_tta.data.sample import CLEAN
from apm_tta.data.task import Task
from apm_tta.harness.compute.account import Account
from apm_tta.harness.compute.measure import count_flops
from apm_tta.harness.estimate import duration
from apm_tta.harness.plan import SHARD_SIZE, Cell, plan_shards
from apm_tta.harness.request.run_request import KEEP_EVERY_S
from apm_tta.harness.storage.record_header import RecordHeader
from apm_tta.harness.storage.records import Recorded, decode_records, encode_records, encode_table, write_content
from apm_tta.methods import METHODS, Batch, build_parameters
from apm_tta.teachers import Teacher, load_teacher

COSTS, PAGE = Path(__file__).with_name("scale.csv"), Path(__file__).with_name("scale.md")
HOST = Path(__file__).with_name("host.csv")
STORAGE = Path(__file__).with_name("storage.csv")
CONDITIONS, CELL, CLASSES = 75, 50_000, 1000
IMAGES = CONDITIONS * CELL
METHODS_STORED = 20
"""Whose records the part about storage counts."""
GPUS = (1, 8, 64)
# Sustained rates of GPUs, and the cores and the disk beside each: assumed, since none was available.
RATES = {"a modest GPU in float32": 40.0, "an H100 in bfloat16": 400.0}
CORES, DISK_MB_S = 16, 1000.0
# As zeroshot, except for class weights, computed once; nearest neighbours need labelled images, and cost the same.
LIKE_ZEROSHOT = ("ensemble", "knn")


def measure(data_root: Path) -> list[tuple[str, str, float]]:
    """Return ``(what, unit, value)``: every method's GFLOP per image, and milliseconds and bytes of all around them."""
    dataset = open_dataset("imagenet-part", data_root, limit=40)
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "random.safetensors"
        torch.manual_seed(0)
        save_file(open_clip.create_model("ViT-B-16").state_dict(), weights)
        teacher = load_teacher(f"ViT-B-16:{weights}")
        teacher.encode_image(
            torch.zeros(1, 3, 224, 224)
        )  # the first call builds the model, which is not a cost per image
        costs = [*_loading(dataset, teacher), *_records(Path(folder))]
        for name in METHODS.names():
            if name not in LIKE_ZEROSHOT:
                costs.append((name, "GFLOP", _gflop(name, teacher, dataset)))
                print(costs[-1], flush=True)
    return costs


def _gflop(name: str, teacher: Teacher, dataset: Dataset) -> float:
    method = METHODS.get(name)(
        teacher, Task(dataset.classes, dataset.template, dataset.card.family), build_parameters(name, {}), seed=0
    )
    count = min(method.stream_batch or 1, 8)
    entries = dataset.entries(CLEAN)[:count]
    batch = Batch(tuple(entry.id for entry in entries), tuple(dataset.read(entry, CLEAN).image for entry in entries))
    with torch.no_grad(), count_flops() as counter:
        method.predict(batch)
    return counter.get_total_flops() / count / 1e9


def _loading(dataset: Dataset, teacher: Teacher) -> list[tuple[str, str, float]]:
    """Measure reading and decoding an image of ImageNet-C's 224 x 224 pixels to the teacher's input, on one core."""
    torch.set_num_threads(1)
    stored = []
    for entry in dataset.entries(CLEAN):
        content = io.BytesIO()
        dataset.read(entry, CLEAN).image.resize((224, 224)).save(content, "JPEG", quality=85)
        stored.append(content.getvalue())
    seconds = _seconds(lambda: [teacher.preprocess(Image.open(io.BytesIO(one)).convert("RGB")) for one in stored])
    torch.set_num_threads(os.cpu_count() or 1)
    size = sum(map(len, stored)) / len(stored)
    return [("loading", "ms per core", 1000 * seconds / len(stored)), ("stored image", "bytes", size)]


def _records(folder: Path) -> list[tuple[str, str, float]]:
    """Measure a shard of an APM's answers: encoded by a worker, written by the single writer process."""
    cell = Cell("imagenet-c", CLEAN, "ViT-B-16:openai", "apm", 0)
    columns = _columns(SHARD_SIZE)
    (shard,) = plan_shards([cell], {CLEAN: SHARD_SIZE})
    header = Account(shard, "0" * 64, torch.device("cpu"), {}).header(cell)
    content = encode_records(cell, columns, header)
    seconds = _seconds(lambda: write_content(folder / "shard.parquet", content))
    return [
        ("record", "bytes", len(content) / SHARD_SIZE),
        ("record in a compact file", "bytes", len(_compact(cell, header)) / CELL),
        ("writing a shard", "ms", 1000 * seconds),
    ]


def _compact(cell: Cell, header: RecordHeader) -> bytes:
    """Encode a whole cell of such answers, as the end of a run joins its shards."""
    table = decode_records(Path(), encode_records(cell, _columns(CELL), header)).table
    return encode_table(Recorded(table, header, (header,) * (CELL // SHARD_SIZE - 1)))


def _columns(count: int) -> dict[str, Any]:
    """Draw answers of an APM to so many images, two thirds of them right, as few of its numbers are equal."""
    draw = np.random.default_rng(0)
    label = np.arange(count) * CLASSES // count
    prediction = np.where(draw.random(count) < 2 / 3, label, draw.integers(0, CLASSES, count))
    drawn = (
        "confidence",
        "logit_margin",
        "nll",
        "brier",
        "energy",
        "entropy",
        "first_loss",
        "last_loss",
        "last_cosine",
    )
    return {
        "id": [f"n{number:08d}/ILSVRC2012_val_{index:08d}.JPEG" for index, number in enumerate(label)],
        "label": label,
        "prediction": prediction,
        "top5": ((prediction[:, None] + draw.integers(0, CLASSES, (count, 5))) % CLASSES).tolist(),
        "teacher_prediction": prediction,
        "target_prediction": prediction,
        "iteration_predictions": np.repeat(prediction[:, None], 21, 1).tolist(),
        "iterations": [20] * count,
        "batch_ms": 8 + np.repeat(draw.random(-(-count // 64)), 64)[:count],
        "peak_memory_mb": [1000.0] * count,
        **{name: draw.random(count) for name in drawn},
    }


def _seconds(work: Callable[[], object]) -> float:
    """Return the fastest time of five runs."""
    times = []
    for _ in range(5):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def page(costs: list[tuple[str, str, float]], feeding: dict[str, float]) -> str:
    """Return the page as Markdown.

    Args:
        costs: unit costs, as ``read_costs`` returns them.
        feeding: milliseconds of the feeding process per image, by method.
    """
    values = {what: value for what, _, value in costs}
    stored, record = values["stored image"], values["record"]
    gflop = {what: value for what, unit, value in costs if unit == "GFLOP"}
    paragraphs = [
        "# All of ImageNet-C",
        "Made by `python docs/scale.py` from `docs/scale.csv`, which `python docs/scale.py measure` writes, and from "
        "`docs/host.csv`, which `python -m benchmarks.host --csv docs/host.csv` writes.",
        f"75 conditions of 50,000 images: {IMAGES:,} answers per method. **Measured**, by counting or on one CPU core: "
        f"FLOPs per image of each method with ViT-B/16 and 1000 classes; {values['loading']:.1f} ms to decode "
        f"and prepare an image as stored ({stored / 1000:.0f} kB); what the process that feeds a GPU does per image "
        "(Python and dispatch, the device's own work left out); "
        f"{record:.0f} bytes per record; "
        f"{values['writing a shard']:.1f} ms to write a shard of {SHARD_SIZE:,} records with digest and syncs.",
        f"**Assumed**, since no GPU was available: {CORES} cores per GPU, of which one feeds it and the others load, "
        f"one disk of {DISK_MB_S:,.0f} MB/s for all, and the rates below. `run-bench imagenet-c --dry-run` measures "
        "yours, `python -m benchmarks.gpu` your GPU.",
        *(part for name, rate in RATES.items() for part in _on(name, rate, values, gflop, feeding)),
        f"Records: {IMAGES * record / 1e6:,.0f} MB per method in {IMAGES // SHARD_SIZE:,} files; the images themselves "
        f"{IMAGES * stored / 1e9:,.0f} GB. {' and '.join(LIKE_ZEROSHOT)} cost as much as zeroshot once their class "
        "weights or neighbours are computed. Methods of one run share loading, features and views: a run of several "
        "takes less than their sum.",
        f"A killed process loses at most {KEEP_EVERY_S / 60:.0f} minutes ([long-runs.md](long-runs.md)). An online "
        "method's stream is one unit: with a reset at every corruption there are 75 streams, so that more than 75 GPUs "
        "gain nothing, and a stream that never resets cannot be distributed at all.",
        *_storage(record, values["record in a compact file"]),
        *_measured_storage(),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _storage(record: float, compact: float) -> list[str]:
    """Write the part about records on disk: in shards, and once every cell is one file.

    Args:
        record: bytes of a row in a shard.
        compact: bytes of a row in a compact file.
    """
    folders, answers = 1 + METHODS_STORED * (1 + CONDITIONS), METHODS_STORED * IMAGES
    rows = [
        [name, f"{files:,}", f"{2 * files + folders:,}", f"{answers * size / 1e9:.2f}"]
        for name, files, size in (
            ("in shards", METHODS_STORED * IMAGES // SHARD_SIZE, record),
            ("compact", METHODS_STORED * CONDITIONS, compact),
        )
    ]
    return [
        "## Storage",
        f"The records of {METHODS_STORED} methods, {answers:,} answers. Each file has its digest in a second one; "
        "inodes count both, and the folders. At the end of a run, and of a merge, the shards of every complete cell "
        "become one file; cells with images that could not be read stay in shards. Computed, as if every method had "
        "the APM's iterations:",
        tabulate(rows, ["records", "files", "inodes", "GB"], tablefmt="github", colalign=("left", *("right",) * 3)),
    ]


def _measured_storage() -> list[str]:
    """Write what ``python -m benchmarks.storage`` measured."""
    with STORAGE.open(encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    counts = ("files", "inodes")
    rows = [
        [row["records"], *(f"{int(row[name]):,}" for name in counts), row["GB"], row["report s"], row["report MB"]]
        for row in found
    ]
    headers = ["records", "files and digests", "inodes", "GB", "report s", "its memory MB"]
    return [
        "Measured on two cores by `python -m benchmarks.storage --csv docs/storage.csv`, which makes such records "
        "(only the APM's have iterations) and writes their report, in a process of its own:",
        tabulate(rows, headers, tablefmt="github", colalign=("left", *("right",) * 5), disable_numparse=True),
    ]


def _on(
    name: str, teraflops: float, values: dict[str, float], gflop: dict[str, float], feeding: dict[str, float]
) -> list[str]:
    """Write the part about one kind of GPU: times, and what each method waits for first."""
    rows, waiting = [], dict[tuple[str, int], list[str]]()
    for method, value in gflop.items():
        rate = teraflops * 1000 / value
        row = [method, f"{value:,.0f}", f"{rate:,.1f}", f"{feeding[method]:.2f}"]
        for gpus in GPUS:
            limits = {"the GPUs": rate * gpus, **other_limits(values, feeding[method], gpus)}
            first = min(limits, key=lambda what: limits[what])
            waiting.setdefault((first, gpus), []).append(method)
            row.append(duration(IMAGES / limits[first]))
        rows.append(row)
    counts = [f"{gpus} GPU{'s' * (gpus > 1)}" for gpus in GPUS]
    headers = ["method", "GFLOP per image", "images/s per GPU", "feeding, ms per image", *counts]
    lines = [
        f"* {count}: {', '.join(methods)} {'waits' if len(methods) == 1 else 'wait'} for {first}."
        for gpus, count in zip(GPUS, counts, strict=True)
        for (first, number), methods in waiting.items()
        if number == gpus and first != "the GPUs"
    ]
    return [
        f"## On {name}: {teraflops:.0f} TFLOP/s",
        tabulate(rows, headers, tablefmt="github", colalign=("left", *("right",) * (len(headers) - 1))),
        "The first bottleneck is the GPU, except:" if lines else "The first bottleneck is the GPU, everywhere.",
        *(["\n".join(lines)] if lines else []),
    ]


def other_limits(values: dict[str, float], feeding_ms: float, gpus: int) -> dict[str, float]:
    """Return the images per second that everything except the GPUs allows."""
    return {
        "the process that feeds a GPU": gpus / (feeding_ms / 1000),
        "the cores that load": (CORES - 1) * gpus / (values["loading"] / 1000),
        "the disk with the images": DISK_MB_S * 1e6 / values["stored image"],
        "the single process that writes records": SHARD_SIZE / (values["writing a shard"] / 1000),
    }


def main() -> None:
    """Measure, or make the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("measure").add_argument("--data-root", type=Path, required=True)
    options = parser.parse_args()
    if options.command == "measure":
        with COSTS.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["what", "unit", "value"])
            writer.writerows((what, unit, f"{value:.4g}") for what, unit, value in measure(options.data_root))
    PAGE.write_text(page(read_costs(), read_feeding()), encoding="utf-8")


def read_costs() -> list[tuple[str, str, float]]:
    """Read what ``measure`` wrote."""
    with COSTS.open(encoding="utf-8") as file:
        return [(row["what"], row["unit"], float(row["value"])) for row in csv.DictReader(file)]


def read_feeding() -> dict[str, float]:
    """Read what ``python -m benchmarks.host`` wrote of the feeding process."""
    with HOST.open(encoding="utf-8") as file:
        return {row["method"]: float(row["feeding_ms"]) for row in csv.DictReader(file)}


if __name__ == "__main__":
    main()
