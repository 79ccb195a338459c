"""Variants of methods, precision, measurements and guards on a device that no tensor of the CPU may meet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pretended_cuda import CUDA, DeviceTensor, pretended_cuda
from torch import Tensor
from worker_runs import answered

from apm_tta.data.sample import Condition
from apm_tta.errors import UserError
from apm_tta.harness.compute.measure import measure_alone, peak_memory
from apm_tta.harness.compute.prepare import Prepared
from apm_tta.harness.compute.spot_check import answer_alone, refuse_other_answers
from apm_tta.methods import Batch, Method, Predictions, build_method, build_parameters
from apm_tta.methods.answering import answer
from apm_tta.methods.batch import Shared

CPU = torch.device("cpu")
Runs = Callable[[torch.device], Prepared]

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *(("apm", {"target": target, "views": 3}) for target in ("vte", "mta")),
    ("apm", {"readout": "mean"}),
    ("apm", {"column": "vit"}),
    ("apm", {"rgb_weight": 0.5, "hidden": (24, 16)}),
    ("apm", {"preset": "released"}),
    *((name, {"views": 1}) for name in ("mta", "zero")),
    ("tent", {"mode": "episodic", "setting": "cifar"}),
    ("sar", {"adapt_top": True, "margin": 1.0}),
    ("ensemble", {"templates": "simple"}),
]


def batch_of(run: Prepared, device: torch.device) -> Batch:
    condition = Condition("contrast", 5)
    entries = run.dataset.entries(condition)[:3]
    images = tuple(run.dataset.read(entry, condition).image for entry in entries)
    return Batch(tuple(entry.id for entry in entries), images, Shared(device))


def built(run: Prepared, name: str, settings: dict[str, Any], family: str = "") -> Method[Any]:
    task = next(iter(run.methods.values())).task
    own = {"iterations": 2} if name == "apm" else {}
    parameters = build_parameters(name, {**own, **settings})
    return build_method(name, run.teacher, replace(task, family=family or task.family), parameters, 0)


def on_both(runs: Runs, act: Callable[[Prepared, torch.device], Any]) -> list[Any]:
    """Return what comes of it on the CPU, and on the device."""
    found = []
    for device in (CPU, CUDA):
        run = runs(device)
        with pretended_cuda() if device == CUDA else nullcontext(), torch.no_grad():
            found.append(act(run, device))
    return found


@pytest.fixture
def run(prepared: Runs) -> Iterator[Prepared]:
    """Return the prepared run on the device, within which the test is."""
    found = prepared(CUDA)
    with pretended_cuda(), torch.no_grad():
        yield found


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_a_variant_answers_as_on_the_cpu(name: str, settings: dict[str, Any], prepared: Runs) -> None:
    def act(run: Prepared, device: torch.device) -> Tensor:
        return answer(built(run, name, settings), batch_of(run, device)).predictions.logits

    on_cpu, on_device = on_both(prepared, act)
    assert torch.equal(on_cpu, on_device)


@pytest.mark.parametrize("name", ["tda", "memo"])
def test_views_through_augmix_are_those_of_the_cpu(name: str, prepared: Runs) -> None:
    """Both use it on ImageNet's family."""

    def act(run: Prepared, device: torch.device) -> Tensor:
        return answer(built(run, name, {"views": 3}, "imagenet"), batch_of(run, device)).predictions.logits

    on_cpu, on_device = on_both(prepared, act)
    assert torch.equal(on_cpu, on_device)


@pytest.mark.parametrize("name", ["apm", "tent", "tpt"])
def test_products_in_bfloat16_are_those_of_the_device(name: str, prepared: Runs) -> None:
    def act(run: Prepared, device: torch.device) -> tuple[Tensor, Tensor]:
        method = built(run, name, {"views": 3} if name == "tpt" else {})
        with torch.autocast(device.type, torch.bfloat16):
            rounded = answer(method, batch_of(run, device)).predictions.logits
        method.reset()
        return rounded, answer(method, batch_of(run, device)).predictions.logits

    (on_cpu, precise), (on_device, _) = on_both(prepared, act)
    assert torch.equal(on_cpu, on_device)
    assert not torch.equal(on_cpu, precise), "autocast has an effect"


@pytest.mark.parametrize("name", ["zeroshot", "tda", "vte"])
def test_costs_are_measured_where_the_method_computes(name: str, prepared: Runs) -> None:
    def act(run: Prepared, device: torch.device) -> float:
        cost = measure_alone(run.methods[name], batch_of(run, device))
        assert min(cost.latencies) > 0
        return cost.gflop

    on_cpu, on_device = on_both(prepared, act)
    assert on_cpu == on_device > 0


def test_features_from_a_cache_lie_on_the_device(run: Prepared, tmp_path: Path) -> None:
    filled, read = (answered(run, "zeroshot", cache=tmp_path) for _ in range(2))
    assert list(tmp_path.iterdir()), "there is a cache"
    for column in ("id", "prediction", "confidence", "teacher_prediction"):
        assert read[column].equals(filled[column])


def test_peak_memory_is_the_allocators_figure(run: Prepared) -> None:
    with peak_memory(run.teacher.device) as peak:
        pass
    assert peak.megabytes == torch.cuda.max_memory_allocated() / 1e6


def plant(method: Method[Any], predict: Callable[[Batch], Predictions]) -> Method[Any]:
    """Let this object, and not its class, predict otherwise."""
    vars(method)["predict"] = predict
    return method


def test_answers_that_depend_on_the_batch_are_refused(run: Prepared) -> None:
    method = built(run, "zeroshot", {})
    plant(method, lambda batch: Predictions(method.logits(method.features(batch)) * len(batch)))
    batch = batch_of(run, CUDA)
    with pytest.raises(UserError, match="alone otherwise than among 3"):
        refuse_other_answers(method, batch, answer_alone(method, batch), [answer(method, batch)])


def test_what_a_method_changes_on_the_device_is_named(run: Prepared) -> None:
    """A value that was lent, and the teacher itself, which is put back."""
    method = built(run, "zeroshot", {})

    def lent(batch: Batch) -> Predictions:
        features = method.features(batch)
        features[0] += 1
        return Predictions(method.logits(features))

    with pytest.raises(UserError, match="method zeroshot changed the features"):
        answer(plant(method, lent), batch_of(run, CUDA))

    weight = next(iter(run.teacher.image_encoder.parameters()))
    assert isinstance(weight, DeviceTensor)
    before = weight.clone()

    def teachers(batch: Batch) -> Predictions:
        weight.mul_(2)
        return Predictions(method.logits(method.features(batch)))

    with pytest.raises(UserError, match=r"method zeroshot changed teacher\."):
        answer(plant(method, teachers), batch_of(run, CUDA))
    weight.copy_(before)


def test_answers_that_are_no_numbers_are_refused_on_the_device(run: Prepared) -> None:
    method = built(run, "zeroshot", {})
    plant(method, lambda batch: Predictions(method.logits(method.features(batch)) / 0 * 0))
    with pytest.raises(UserError, match="not finite"):
        answer(method, batch_of(run, CUDA))
