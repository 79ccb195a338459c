from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from apm_tta.data.cards import load_card
from apm_tta.data.task import Task
from apm_tta.methods import METHODS, Batch, build_parameters
from apm_tta.methods.vte import consensus, from_features
from apm_tta.teachers import Teacher

TASK = Task(load_card("fashion-mnist").class_list.names, crop_scale=(0.5, 1.0))


def from_the_paper(views: list[list[float]], weights: list[list[float]], scale: float, kept: int) -> list[float]:
    """Compute VTE for one image, with loops."""

    def dot(one: list[float], other: list[float]) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True))

    def uncertainty(view: list[float]) -> float:
        powers = [math.exp(scale * (dot(view, weight) - 1)) for weight in weights]
        return -sum(power / sum(powers) * math.log(power / sum(powers)) for power in powers)

    surest = sorted(views, key=uncertainty)[:kept]
    mean = [sum(column) / kept for column in zip(*surest, strict=True)]
    return [scale * dot(mean, weight) for weight in weights]


@pytest.mark.vectors("method_vectors/views_seed*.npz")
def test_it_is_the_mean_of_the_most_confident_tenth_of_the_views(vectors: dict[str, np.ndarray]) -> None:
    views, weights = (torch.tensor(vectors[name], dtype=torch.float64) for name in ("views", "class_weights"))
    scale = float(vectors["logit_scale"])
    ours = from_features(views[:12], weights, scale)
    for answer, one in zip(ours, views, strict=False):
        expected = from_the_paper(one.tolist(), weights.tolist(), scale, kept=6)
        torch.testing.assert_close(answer, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-9)
        torch.testing.assert_close(from_features(one, weights, scale), answer, rtol=0, atol=1e-9)


def test_by_hand_the_mean_is_not_renormalised() -> None:
    weights = torch.eye(2)
    views = torch.tensor([[0.6, 0.8], [1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])
    torch.testing.assert_close(consensus(views, weights, 10.0, share=0.5), torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(from_features(views, weights, 10.0, share=0.5), torch.tensor([5.0, 5.0]))
    torch.testing.assert_close(from_features(views[:1], weights, 10.0), torch.tensor([6.0, 8.0]))


def test_the_scale_of_each_view_affects_its_confidence() -> None:
    weights, views = torch.eye(2), torch.tensor([[0.8, 0.6], [0.6, 0.8]])
    assert consensus(views, weights, torch.tensor([[1.0], [9.0]]), share=0.5).tolist() == pytest.approx([0.6, 0.8])
    logits = from_features(views, weights, torch.tensor([[1.0], [9.0]]), share=0.5)
    assert logits.tolist() == pytest.approx([3.0, 4.0])


def test_on_real_images_a_batch_equals_one_at_a_time(embedded_teacher: Teacher, embedded_batch: Batch) -> None:
    method = METHODS.get("vte")(embedded_teacher, TASK, build_parameters("vte", {"views": 16}), 0)
    with torch.no_grad():
        together = method.predict(embedded_batch).logits
        alone = [
            method.predict(Batch((name,), (image,))).logits
            for name, image in zip(embedded_batch.ids[:3], embedded_batch.images, strict=False)
        ]
    assert together.isfinite().all()
    torch.testing.assert_close(torch.cat(alone), together[:3], rtol=0, atol=2e-3)
    assert method.cost().image_forwards == 16
    assert method.resolved_parameters() == {"crop_scale": [0.5, 1.0]}
