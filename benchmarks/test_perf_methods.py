"""The cost per image of each method: teacher passes by its formula and as counted, FLOPs, time.

The formula is ``Method.cost()``; image passes are counted by a hook on the image encoder and its copies, FLOPs
by ``torch.utils.flop_counter``, which counts backward passes as well. Run with ``-s`` to see the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from apm_tta.data.dataset import Dataset, open_dataset
from apm_tta.data.sample import Condition
from apm_tta.data.task import Task
from apm_tta.harness.compute.measure import count_flops
from apm_tta.methods import METHODS, Batch, Method, build_parameters
from apm_tta.teachers import Teacher, load_teacher

NAMES = [name for name in METHODS.names() if name not in ("eata", "knn", "norm")]
"""All but those that need labelled images or a network with BatchNorm, and cost as much as zeroshot or eta."""
SETTINGS: dict[str, dict[str, Any]] = {
    "cotta": {"confidence": 1.0},
    "rotta": {"memory_size": 1, "update_every": 1},
}
"""So that the one image that is answered costs what an image of a stream does: it is changed at random, or learned."""
CONDITION = Condition("gaussian_noise", 3)


@dataclass
class Passes:
    """Images that went through the image encoder, and the gradients that came back through it."""

    forwards: int = 0
    backwards: int = 0

    def count(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.forwards += len(inputs[0])
        if output.requires_grad:
            output.register_hook(lambda gradient: self._back(len(gradient)))

    def __deepcopy__(self, memo: dict[int, Any]) -> Passes:
        """Return this counter: a copy of the encoder is copied with its hooks, and still counts here."""
        return self

    def _back(self, images: int) -> None:
        self.backwards += images


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return open_dataset("fashion-mnist", limit=10)


@pytest.fixture(scope="module")
def image(dataset: Dataset) -> Batch:
    entry = dataset.entries(CONDITION)[3]
    return Batch((entry.id,), (dataset.read(entry, CONDITION).image,))


@pytest.fixture
def passes() -> Passes:
    return Passes()


@pytest.fixture
def teacher(passes: Passes) -> Iterator[Teacher]:
    """Yield the embedded teacher, counting its passes and those of copies that methods make of its encoder."""
    teacher = load_teacher("embedded")
    handle = teacher.image_encoder.register_forward_hook(passes.count)
    yield teacher
    handle.remove()


def build(name: str, teacher: Teacher, dataset: Dataset) -> Method:
    task = Task(dataset.classes, dataset.template, dataset.card.family, (0.5, 1.0))
    return METHODS.get(name)(teacher, task, build_parameters(name, SETTINGS.get(name, {})), seed=0)


def predict(method: Method, image: Batch) -> None:
    method.reset()
    with torch.no_grad():
        method.predict(Batch(image.ids, image.images))


@pytest.mark.benchmark(group="methods")
@pytest.mark.parametrize("name", NAMES)
def test_method(benchmark: Any, name: str, teacher: Teacher, passes: Passes, dataset: Dataset, image: Batch) -> None:
    method = build(name, teacher, dataset)
    formula = method.cost()
    passes.forwards = passes.backwards = 0
    with count_flops() as counter:
        predict(method, image)
    assert (passes.forwards, passes.backwards) == (formula.image_forwards, formula.image_backwards)
    gflop = counter.get_total_flops() / 1e9
    benchmark.extra_info.update(forwards=passes.forwards, backwards=passes.backwards, gflop=gflop)
    benchmark.pedantic(lambda: predict(method, image), rounds=5, warmup_rounds=2)
    print(
        f"\n{name:9} forwards {passes.forwards:3} backwards {passes.backwards:3} text forwards {formula.text_forwards} "
        f"backwards {formula.text_backwards} | {gflop:8.3f} GFLOP | {1000 * benchmark.stats.stats.median:8.1f} ms"
        f"{' | ' + formula.other if formula.other else ''}"
    )
