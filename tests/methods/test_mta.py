from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from apm_tta.data.cards import load_card
from apm_tta.data.task import Task
from apm_tta.methods import METHODS, Batch, build_parameters
from apm_tta.methods.mta import _iterate, _Steps, consensus, from_features
from apm_tta.teachers import Teacher

TASK = Task(load_card("fashion-mnist").class_list.names, crop_scale=(0.5, 1.0))


def unit_rows(seed: int, *shape: int) -> torch.Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


@pytest.mark.vectors("method_vectors/views_seed*.npz")
def test_logits_are_those_of_the_authors_code(vectors: dict[str, np.ndarray]) -> None:
    views, weights = torch.tensor(vectors["views"]), torch.tensor(vectors["class_weights"])
    scale, expected = float(vectors["logit_scale"]), torch.tensor(vectors["mta_logits"])
    torch.testing.assert_close(from_features(views, weights, scale), expected, rtol=0, atol=1e-4)
    alone = torch.stack([from_features(one, weights, scale) for one in views])
    torch.testing.assert_close(alone, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("views", "rounds", "inner"), [(2, 1, 1), (5, 1, 2), (7, 2, 1), (12, 5, 5)])
def test_it_follows_the_equations(views: int, rounds: int, inner: int) -> None:
    """Compare with loops written from the paper."""
    features, weights = unit_rows(1, views, 6), unit_rows(2, 4, 6)
    probabilities = (5 * features @ weights.T).softmax(1)
    nearest = max(1, int(0.3 * (views - 1)))
    bandwidths = []
    for one in features:
        squared = sorted(float(((one - other) ** 2).sum()) for other in features)
        bandwidths.append(sum(squared[1 : nearest + 1]) / nearest / 2)

    def kernel(mode: torch.Tensor) -> torch.Tensor:
        distances = [float(((one - mode) ** 2).sum()) for one in features]
        return torch.tensor([np.exp(-d / (2 * h)) for d, h in zip(distances, bandwidths, strict=True)])

    mode, scores = features[0], torch.full((views,), 1 / views, dtype=torch.float64)
    for _ in range(rounds):
        density = kernel(mode)
        for _ in range(inner):
            affinity = [
                sum(float(probabilities[p] @ probabilities[q]) * float(scores[q]) for q in range(views))
                for p in range(views)
            ]
            scores = ((density + 4 * torch.tensor(affinity)) / 0.2).softmax(0)
        for _ in range(inner):
            at_mode = kernel(mode)
            moved = sum(scores[p] * at_mode[p] * features[p] for p in range(views))
            assert isinstance(moved, torch.Tensor)
            mode = moved / moved.norm()
    ours = consensus(features, weights, 5.0, rounds=rounds, inner_steps=inner)
    torch.testing.assert_close(ours, mode, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        from_features(features, weights, 5.0, rounds=rounds, inner_steps=inner), 5 * weights @ mode, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("count", [1, 2, 3, 64])
def test_views_that_are_all_the_same_are_their_own_mode(count: int) -> None:
    """For crops of a blank image every bandwidth is zero."""
    features, weights = unit_rows(3, 1, 6).float(), unit_rows(4, 4, 6).float()
    logits = from_features(features.expand(count, 6), weights, 100.0)
    torch.testing.assert_close(logits, 100 * weights @ features[0], rtol=0, atol=1e-3)


def test_with_two_clusters_of_equal_views_the_mode_is_in_that_of_view_0() -> None:
    one, other = unit_rows(5, 2, 6).float()
    features, weights = torch.stack([one] * 20 + [other] * 20), unit_rows(4, 4, 6).float()
    torch.testing.assert_close(consensus(features, weights, 100.0), one, rtol=0, atol=1e-5)


@given(st.permutations(range(1, 16)), st.integers(0, 5))
def test_the_order_of_random_views_does_not_matter(order: list[int], seed: int) -> None:
    features, weights = unit_rows(seed, 16, 6), unit_rows(4, 4, 6)
    expected = consensus(features, weights, 20.0)
    torch.testing.assert_close(consensus(features[[0, *order]], weights, 20.0), expected, rtol=0, atol=1e-8)
    assert expected.norm() == pytest.approx(1)


@given(st.integers(0, 20))
def test_each_image_of_a_batch_stops_at_its_own_step(seed: int) -> None:
    """The tolerance lets some stop early and some not."""
    features, weights = unit_rows(seed, 4, 12, 6), unit_rows(4, 4, 6)
    together = consensus(features, weights, 20.0, tolerance=1e-2)
    alone = [consensus(one, weights, 20.0, tolerance=1e-2) for one in features]
    torch.testing.assert_close(together, torch.stack(alone), rtol=0, atol=1e-10)


def test_a_gpu_takes_the_steps_that_a_cpu_takes() -> None:
    """There torch takes them, and all of them, since to ask what still moves would be to wait."""
    views = unit_rows(3, 6, 20, 8)
    products = views @ views.mT
    affinity = (9 * views @ unit_rows(4, 5, 8).T).softmax(-1)
    of_views = [affinity @ affinity.mT, products, (2 - 2 * products).mean(-1)]
    steps = _Steps(0.2, 4.0, 5, 5, 1e-2)
    on_cpu = _iterate(np, [each.numpy() for each in of_views], steps, early=True)
    torch.testing.assert_close(_iterate(torch, of_views, steps, early=False), torch.from_numpy(on_cpu))


def test_a_tolerance_ends_the_steps_of_a_round() -> None:
    features, weights = unit_rows(1, 12, 6), unit_rows(2, 4, 6)
    stopped = consensus(features, weights, 20.0, tolerance=10.0)
    torch.testing.assert_close(stopped, consensus(features, weights, 20.0, inner_steps=1), rtol=0, atol=1e-12)
    assert not torch.allclose(stopped, consensus(features, weights, 20.0), rtol=0, atol=1e-6)


def test_every_parameter_reaches_the_algorithm(embedded_teacher: Teacher, embedded_batch: Batch) -> None:
    def logits(**settings: object) -> torch.Tensor:
        parameters = build_parameters("mta", {"views": 8, **settings})
        return METHODS.get("mta")(embedded_teacher, TASK, parameters, 0).predict(embedded_batch).logits

    with torch.no_grad():
        default = logits()
        for name, value in (
            ("lambda_y", 2.0),
            ("lambda_q", 0.0),
            ("rounds", 1),
            ("inner_steps", 1),
            ("tolerance", 1.0),
            ("nearest", 1.0),
        ):
            assert not torch.equal(logits(**{name: value}), default), name


def test_on_real_images_a_batch_equals_one_at_a_time(embedded_teacher: Teacher, embedded_batch: Batch) -> None:
    method = METHODS.get("mta")(embedded_teacher, TASK, build_parameters("mta", {"views": 16}), 0)
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
