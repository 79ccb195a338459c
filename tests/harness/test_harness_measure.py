"""The costs in the tables: FLOPs per image, latency of one image alone, and peak memory."""

from __future__ import annotations

import pytest
import torch

from apm_tta.data.dataset import open_dataset
from apm_tta.data.task import Task
from apm_tta.harness.compute import measure
from apm_tta.harness.compute.measure import LATENCY_IMAGES, measure_alone, peak_memory
from apm_tta.methods import METHODS, Batch, Method, build_parameters
from apm_tta.teachers import Teacher


def built(name: str, teacher: Teacher) -> Method:
    dataset = open_dataset("fashion-mnist", limit=10)
    task = Task(dataset.classes, dataset.template, dataset.card.family, (0.5, 1.0))
    return METHODS.get(name)(teacher, task, build_parameters(name, {}), seed=0)


def test_flops_are_those_of_the_encoder_and_the_classifier(embedded_teacher: Teacher, embedded_batch: Batch) -> None:
    """Counted by hand: multiplications and additions of every matrix product in the embedded ViT."""
    width, tokens, layers, features, classes = 128, 65, 4, 64, 10
    patches = 64 * (4 * 4 * 3) * width
    projections = tokens * width * (3 * width + width)
    attention = 2 * tokens * tokens * width
    mlp = 2 * tokens * width * 2 * width
    expected = 2 * (patches + layers * (projections + attention + mlp) + width * features + features * classes)
    with torch.no_grad():
        counted = measure_alone(built("zeroshot", embedded_teacher), embedded_batch).gflop * 1e9
    assert counted == expected


def test_counts_and_timings_do_not_depend_on_earlier_calls(
    embedded_teacher: Teacher, embedded_batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "LATENCY_IMAGES", LATENCY_IMAGES)
    method = built("zeroshot", embedded_teacher)
    with torch.no_grad():
        first, second = (measure_alone(method, embedded_batch) for _ in range(2))
    assert first.gflop == second.gflop
    assert len(first.latencies) == min(LATENCY_IMAGES, len(embedded_batch)) == 10
    assert min(first.latencies) > 0


def test_an_online_method_is_reset_after_being_measured(embedded_teacher: Teacher, embedded_batch: Batch) -> None:
    """Its predictions are those of a method that was never measured."""

    def fresh(part: slice) -> Batch:
        return Batch(embedded_batch.ids[part], embedded_batch.images[part])

    measured, other = built("tda", embedded_teacher), built("tda", embedded_teacher)
    with torch.no_grad():
        measure_alone(measured, fresh(slice(0, 6)))
        pairs = [
            (measured.predict(fresh(part)).logits, other.predict(fresh(part)).logits)
            for part in (slice(0, 6), slice(6, 12))
        ]
    assert all(torch.equal(one, two) for one, two in pairs)


def test_a_method_that_requires_a_batch_has_no_latency_of_one_image(
    embedded_teacher: Teacher, embedded_batch: Batch
) -> None:
    cost = measure_alone(built("tent", embedded_teacher), embedded_batch)
    assert cost.latencies == []
    assert cost.gflop > 0


def test_peak_memory_is_that_of_the_block_and_not_of_what_came_before() -> None:
    """300 MB that are freed again show in the block that held them, and not in a later one."""
    device = torch.device("cpu")
    with peak_memory(device) as large:
        torch.ones(300_000_000, dtype=torch.uint8)
    with peak_memory(device) as small:
        pass
    if large.megabytes is None:
        return
    assert small.megabytes is not None
    assert large.megabytes - small.megabytes > 200
