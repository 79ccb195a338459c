"""The APM method's own choices, on real images."""

from __future__ import annotations

import pytest
import torch

from apm_tta.data.dataset import open_dataset
from apm_tta.data.sample import CLEAN
from apm_tta.methods import METHODS, Batch, build_parameters
from apm_tta.teachers import Teacher


def answers(teacher: Teacher, batch: Batch, memory: int | None = None, **settings: object) -> torch.Tensor:
    classes = open_dataset("fashion-mnist").classes
    method = METHODS.get("apm")(teacher, classes, build_parameters("apm", settings), 0, memory)
    with torch.no_grad():
        return method.predict(batch).logits


@pytest.fixture(scope="module")
def real_images() -> Batch:
    dataset = open_dataset("fashion-mnist", limit=300)
    samples = [dataset.read(entry, CLEAN) for entry in dataset.entries(CLEAN)]
    return Batch(tuple(sample.id for sample in samples), tuple(sample.image for sample in samples))


def test_bfloat16_answers_as_float32_on_99_of_100_images(embedded_teacher: Teacher, real_images: Batch) -> None:
    exact = answers(embedded_teacher, real_images).argmax(1)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = answers(embedded_teacher, real_images).argmax(1)
    assert (rounded == exact).float().mean() >= 0.99


@pytest.mark.parametrize(
    "settings",
    [
        {"readout": "mean"},
        {"column": "vit"},
        {"rgb_weight": 0.5},
        {"hidden": [64, 32]},
        {"normalize_target": False},
        {"preset": "released", "iterations": 5},
    ],
    ids=str,
)
def test_every_choice_reaches_the_fit(
    embedded_teacher: Teacher, embedded_batch: Batch, settings: dict[str, object]
) -> None:
    default, chosen = answers(embedded_teacher, embedded_batch), answers(embedded_teacher, embedded_batch, **settings)
    assert chosen.isfinite().all()
    assert not torch.equal(default, chosen)


def test_the_memory_budget_changes_no_answer(embedded_teacher: Teacher, embedded_batch: Batch) -> None:
    whole = answers(embedded_teacher, embedded_batch)
    one_at_a_time = answers(embedded_teacher, embedded_batch, memory=1)
    torch.testing.assert_close(one_at_a_time, whole, rtol=0, atol=2e-3)
