from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from apm_tta.data.cards import load_card
from apm_tta.data.task import Family, Task
from apm_tta.methods import METHODS, Batch, build_parameters
from apm_tta.methods.tps import from_features
from apm_tta.teachers import Teacher

TASK = Task(load_card("fashion-mnist").class_list.names, crop_scale=(0.5, 1.0))


def one_step_from_the_paper(views: np.ndarray, weights: np.ndarray, scale: float, kept: int) -> np.ndarray:
    """Adapt to one image: the gradient by the chain rule, AdamW's first step by its definition."""
    logits = scale * views @ weights.T
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    surest = np.argsort(-(probabilities * np.log(probabilities)).sum(1), kind="stable")[:kept]
    mean = probabilities[surest].mean(0)
    gradient = np.zeros_like(weights)
    for view, p in zip(views[surest], probabilities[surest], strict=True):
        # H' = -(log mean + 1); the softmax's Jacobian is diag(p) - p p', which cancels the +1.
        to_logits = -p * (np.log(mean) - (p * np.log(mean)).sum()) / kept
        for index, weight in enumerate(weights):
            # At a unit vector, normalisation passes the part orthogonal to it.
            gradient[index] += to_logits[index] * scale * (view - (view @ weight) * weight)
    first_moment, second_moment = 0.1 * gradient, 0.001 * gradient**2
    update = (first_moment / (1 - 0.9)) / (np.sqrt(second_moment / (1 - 0.999)) + 1e-8)
    shifted = weights - 0.005 * update
    shifted /= np.linalg.norm(shifted, axis=1, keepdims=True)
    return np.asarray(scale * shifted @ views[0])


@pytest.mark.vectors("method_vectors/views_seed*.npz")
def test_a_step_is_that_of_the_paper(vectors: dict[str, np.ndarray]) -> None:
    views, weights = (vectors[name].astype(np.float64) for name in ("views", "class_weights"))
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    scale = float(vectors["logit_scale"])
    expected = np.stack([one_step_from_the_paper(one, weights, scale, kept=6) for one in views])
    ours = from_features(torch.tensor(views), torch.tensor(weights), scale).numpy()
    assert np.abs(ours - expected).max() < 1e-6
    assert np.abs(ours - scale * views[:, 0] @ weights.T).max() > 0.1, "nothing moved"
    alone = np.stack([from_features(torch.tensor(one), torch.tensor(weights), scale).numpy() for one in views])
    assert np.abs(alone - expected).max() < 1e-6


@pytest.mark.vectors("method_vectors/views_seed*.npz")
def test_several_steps_are_adamw_and_select_their_views_again(vectors: dict[str, np.ndarray]) -> None:
    """Compare two images at once with autograd on one at a time."""
    views, weights = (torch.tensor(vectors[name], dtype=torch.float64) for name in ("views", "class_weights"))
    weights = weights / weights.norm(dim=1, keepdim=True)
    ours = from_features(views[:2], weights, 100.0, steps=3, learning_rate=0.05, weight_decay=0.5, share=0.2)
    choices = set()
    for one, answer in zip(views[:2], ours, strict=True):
        moved = torch.zeros_like(weights, requires_grad=True)
        optimizer = torch.optim.AdamW([moved], lr=0.05, weight_decay=0.5)
        for _ in range(3):
            shifted = (weights + moved) / (weights + moved).norm(dim=1, keepdim=True)
            probabilities = (100 * one @ shifted.T).softmax(1)
            uncertainty = torch.special.entr(probabilities).sum(1).tolist()
            surest = sorted(range(64), key=uncertainty.__getitem__)[:12]
            choices.add(tuple(sorted(surest)))
            optimizer.zero_grad()
            torch.special.entr(probabilities[surest].mean(0)).sum().backward()
            optimizer.step()
        shifted = (weights + moved) / (weights + moved).norm(dim=1, keepdim=True)
        torch.testing.assert_close(answer, (100 * shifted @ one[0]).detach(), rtol=0, atol=1e-6)
    assert len(choices) > 2, "the same views were selected in every step"


@pytest.mark.parametrize(("family", "augmix"), [("imagenet", False), ("fine-grained", True), ("other", False)])
def test_views_go_through_augmix_for_the_fine_grained_sets(
    family: Family, augmix: bool, embedded_teacher: Teacher, stated: Any
) -> None:
    task = Task(TASK.classes, family=family)
    method = METHODS.get("tps")(embedded_teacher, task, build_parameters("tps", {}), 0)
    assert (stated(method)["augmix"], method.resolved_parameters()) == (augmix, {"crop_scale": [0.08, 1.0]})
    assert method.spec.augmix is augmix
    asked = METHODS.get("tps")(embedded_teacher, task, build_parameters("tps", {"augmix": not augmix}), 0)
    assert stated(asked)["augmix"] is not augmix
    assert asked.spec.augmix is not augmix


def test_on_real_images_a_batch_equals_one_at_a_time_at_any_memory(
    embedded_teacher: Teacher, embedded_batch: Batch
) -> None:
    parameters = build_parameters("tps", {"views": 16})
    method = METHODS.get("tps")(embedded_teacher, TASK, parameters, 0)
    with torch.no_grad():
        together = method.predict(embedded_batch).logits
        alone = [
            method.predict(Batch((name,), (image,))).logits
            for name, image in zip(embedded_batch.ids[:3], embedded_batch.images, strict=False)
        ]
        little = METHODS.get("tps")(embedded_teacher, TASK, parameters, 0, 1).predict(embedded_batch).logits
    assert together.isfinite().all()
    torch.testing.assert_close(torch.cat(alone), together[:3], rtol=0, atol=2e-3)
    torch.testing.assert_close(little, together, rtol=0, atol=2e-3)
    assert not together.requires_grad
    assert method.cost().image_forwards == 16
    assert method.cost().image_backwards == method.cost().text_forwards == 0
