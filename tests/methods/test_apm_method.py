"""The APM method's own choices, on real images."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from apm_tta.data.cards import load_card
from apm_tta.data.dataset import open_dataset
from apm_tta.data.task import Task
from apm_tta.methods import METHODS, Batch, build_parameters
from apm_tta.teachers import Teacher


def answers(teacher: Teacher, batch: Batch, memory: int | None = None, **settings: object) -> torch.Tensor:
    classes = open_dataset("fashion-mnist").classes
    method = METHODS.get("apm")(teacher, Task(classes), build_parameters("apm", settings), 0, memory)
    with torch.no_grad():
        return method.predict(batch).logits


@pytest.fixture(scope="module")
def real_images(clean_images: Callable[[int], Batch]) -> Batch:
    return clean_images(100)


def test_bfloat16_predicts_as_float32_on_99_of_100_images(embedded_teacher: Teacher, real_images: Batch) -> None:
    exact = answers(embedded_teacher, real_images, iterations=10).argmax(1)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = answers(embedded_teacher, real_images, iterations=10).argmax(1)
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


def test_a_width_that_eight_heads_cannot_share_is_padded_and_cut_again(
    embedded_teacher: Teacher, clean_images: Callable[[int], Batch]
) -> None:
    """A linear head's features are two wider than the network's, 66 here; the padding changes no class weight."""

    class Wider:
        """The embedded teacher with the constants 1 and 0 appended to its features."""

        feature_dim = embedded_teacher.feature_dim + 2

        def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
            features = embedded_teacher.encode_image(pixels)
            return torch.cat([features, features.new_ones(len(features), 1), features.new_zeros(len(features), 1)], 1)

        def class_weights(self, classes: tuple[str, ...], templates: tuple[str, ...]) -> torch.Tensor:
            return torch.nn.functional.pad(embedded_teacher.class_weights(classes, templates), (0, 2))

        def __getattr__(self, name: str) -> object:
            return getattr(embedded_teacher, name)

    task = Task(load_card("fashion-mnist").class_list.names)
    method = METHODS.get("apm")(Wider(), task, build_parameters("apm", {"iterations": 60}), 0)
    assert method.config.feature_dim == 72
    with torch.no_grad():
        predictions = method.predict(clean_images(20))
    assert predictions.logits.shape == (20, 10)
    assert predictions.cosines is not None
    assert (predictions.cosines[:, -1] > 0.9).all()
    assert predictions.target_classes is not None
    assert (predictions.target_classes == predictions.logits.argmax(1)).float().mean() >= 0.9
