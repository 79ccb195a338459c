from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

import apm_tta
from apm_tta.data.cards import load_card
from apm_tta.data.task import Family, Task
from apm_tta.methods import METHODS, Batch, build_parameters
from apm_tta.methods.tda import Adapter, TDAParameters, gather_evidence
from apm_tta.teachers import Teacher

TASK = Task(load_card("fashion-mnist").class_list.names, crop_scale=(0.5, 1.0))


def unit_rows(seed: int, *shape: int) -> torch.Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.mark.vectors("method_vectors/views_seed*.npz")
def test_logits_are_those_of_the_authors_code_in_the_order_of_the_stream(vectors: dict[str, np.ndarray]) -> None:
    views, weights = torch.tensor(vectors["views"]), torch.tensor(vectors["class_weights"])
    scale, expected = float(vectors["logit_scale"]), torch.tensor(vectors["tda_logits"])
    torch.testing.assert_close(Adapter(weights).stream(views, scale), expected, rtol=0, atol=1e-4)
    adapter = Adapter(weights)
    parts = [adapter.stream(part, scale) for part in views.split(7)]
    torch.testing.assert_close(torch.cat(parts), expected, rtol=0, atol=1e-4)


def from_the_paper(features: torch.Tensor, weights: torch.Tensor, scale: float) -> list[list[float]]:
    """Compute TDA for one view per image, with lists."""
    positive: dict[int, list[tuple[float, torch.Tensor]]] = {}
    negative: dict[int, list[tuple[float, torch.Tensor, list[bool]]]] = {}
    answers = []
    for feature in features:
        logits = (scale * weights @ feature).tolist()
        probabilities = torch.tensor(logits).softmax(0).tolist()
        uncertainty = -sum(p * math.log(p) for p in probabilities if p > 0)
        predicted = logits.index(max(logits))
        positive[predicted] = sorted([*positive.get(predicted, []), (uncertainty, feature)], key=lambda e: e[0])[:3]
        if 0.2 < uncertainty / math.log2(len(weights)) < 0.5:
            entry = (uncertainty, feature, [0.03 < p < 1 for p in probabilities])
            negative[predicted] = sorted([*negative.get(predicted, []), entry], key=lambda e: e[0])[:2]
        for index, sure in positive.items():
            logits[index] += sum(2 * math.exp(-5 * (1 - float(feature @ key))) for _, key in sure)
        for unsure in negative.values():
            for _, key, marked in unsure:
                for index, mark in enumerate(marked):
                    logits[index] -= mark * 0.117 * math.exp(-(1 - float(feature @ key)))
        answers.append(logits)
    return answers


def test_single_views_follow_the_paper() -> None:
    weights, features = unit_rows(1, 5, 8), unit_rows(2, 80, 8)
    adapter = Adapter(weights)
    ours = adapter.stream(features[:, None], 8.0)
    torch.testing.assert_close(ours, torch.tensor(from_the_paper(features, weights, 8.0)), rtol=0, atol=1e-4)
    assert [len(each) for each in adapter.positive.entropies.values()] == [3] * 5, "too few images to fill the cache"
    assert sum(map(len, adapter.negative.entropies.values())) > 5
    alone = Adapter(weights)
    torch.testing.assert_close(torch.cat([alone.stream(one[None, None], 8.0) for one in features]), ours)


def test_an_image_counts_as_its_own_neighbour() -> None:
    weights = torch.eye(4)
    view = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])
    assert Adapter(weights).stream(view, 100.0).tolist() == [[102.0, 0.0, 0.0, 0.0]]


@pytest.mark.parametrize(("relative", "enters"), [(0.19, False), (0.21, True), (0.49, True), (0.51, False)])
def test_an_image_is_negative_between_the_thresholds_of_its_entropy_over_log2_of_the_classes(
    relative: float, enters: bool
) -> None:
    view, low, high = torch.tensor([1.0, 0.0, 0.0, 0.0]), 0.0, 50.0
    for _ in range(60):  # the entropy falls with the scale; log2 of four classes is 2
        scale = (low + high) / 2
        unsure = float(torch.special.entr((scale * view).softmax(0)).sum()) > 2 * relative
        low, high = (scale, high) if unsure else (low, scale)
    adapter = Adapter(torch.eye(4))
    answer = adapter.stream(view[None, None], low)[0] - low * view
    assert bool(adapter.negative.entropies) == enters
    lowered = [0.117 * (enters and 0.03 < p < 1) for p in (low * view).softmax(0).tolist()]
    assert answer.tolist() == pytest.approx([2 - lowered[0], *(-each for each in lowered[1:])], abs=1e-4)


def test_classes_are_lowered_strictly_between_the_thresholds_of_their_probability() -> None:
    features = torch.tensor([[[0.6, 0.8, 0.0, 0.0]]])
    adapter = Adapter(torch.eye(4), TDAParameters(entropy_above=0.0, entropy_below=1.0))
    adapter.stream(features, 3.0)
    probabilities = (3 * features[0, 0]).softmax(0)
    assert adapter.negative.values(1)[0].tolist() == [1.0 if p > 0.03 else 0.0 for p in probabilities]
    between = Adapter(torch.eye(4), TDAParameters(entropy_below=1.0, mask_above=0.1, mask_below=0.5))
    between.stream(features, 3.0)
    assert between.negative.values(1)[0].tolist() == [float(0.1 < p < 0.5) for p in probabilities]
    assert between.negative.values(1)[0].sum() == 1


def test_several_views_are_represented_by_the_mean_of_the_most_confident() -> None:
    weights, views = unit_rows(1, 5, 8), unit_rows(2, 1, 30, 8)
    pooled = gather_evidence(views, weights, 20.0)
    logits = 20 * views[0] @ weights.T
    surest = torch.special.entr(logits.softmax(1)).sum(1).argsort()[:3]
    torch.testing.assert_close(pooled.features[0], views[0, surest].mean(0))
    torch.testing.assert_close(pooled.logits[0], logits[surest].mean(0))
    torch.testing.assert_close(pooled.probabilities[0], logits[surest].softmax(1).mean(0))
    torch.testing.assert_close(pooled.entropies[0], torch.special.entr(pooled.probabilities[0]).sum())


@pytest.mark.parametrize(
    ("family", "settings", "expected"),
    [
        ("imagenet", {}, (64, True)),
        ("fine-grained", {}, (1, False)),
        ("other", {}, (1, False)),
        ("imagenet", {"views": 8, "augmix": False}, (8, False)),
        ("cifar", {"views": 8}, (8, False)),
    ],
)
def test_views_are_those_of_the_paper_for_the_family(
    family: Family, settings: dict[str, object], expected: tuple[int, bool], embedded_teacher: Teacher, stated: Any
) -> None:
    task = Task(TASK.classes, family=family)
    method = METHODS.get("tda")(embedded_teacher, task, build_parameters("tda", settings), 0)
    assert (stated(method)["views"], stated(method)["augmix"]) == expected
    assert (method.spec.count, method.spec.augmix) == expected
    assert method.cost().image_forwards == expected[0]


def test_every_parameter_reaches_the_algorithm(embedded_teacher: Teacher, embedded_batch: Batch) -> None:
    def logits(**settings: object) -> torch.Tensor:
        # A stream of images that are seen twice, and thresholds that some of them pass.
        parameters = build_parameters("tda", {"views": 8, "entropy_above": 0.01, "positive_shots": 1, **settings})
        method = METHODS.get("tda")(embedded_teacher, TASK, parameters, 0)
        method.predict(embedded_batch)
        return method.predict(embedded_batch).logits

    with torch.no_grad():
        default = logits()
        for name, value in (
            ("share", 0.5),
            ("positive_shots", 3),
            ("positive_alpha", 1.0),
            ("positive_beta", 1.0),
            ("negative_shots", 1),
            ("negative_alpha", 1.0),
            ("negative_beta", 9.0),
            ("entropy_above", 0.4),
            ("entropy_below", 0.1),
            ("mask_above", 0.5),
            ("mask_below", 0.1),
        ):
            assert not torch.equal(logits(**{name: value}), default), name


def test_on_real_images_a_batch_equals_one_at_a_time_and_a_reset_forgets(
    embedded_teacher: Teacher, embedded_batch: Batch
) -> None:
    method = METHODS.get("tda")(embedded_teacher, TASK, build_parameters("tda", {"views": 8}), 0)
    images = list(zip(embedded_batch.ids, embedded_batch.images, strict=True))
    with torch.no_grad():
        together = method.predict(embedded_batch).logits
        again = method.predict(embedded_batch).logits
        method.reset()
        alone = torch.cat([method.predict(Batch((name,), (image,))).logits for name, image in images])
    assert together.isfinite().all()
    assert not torch.allclose(again, together, rtol=0, atol=1e-2)
    torch.testing.assert_close(alone, together, rtol=0, atol=2e-3)


def test_one_class_is_answered_without_evidence_against_others() -> None:
    """The entropy is measured against its largest value, which is 0 for one class."""
    images = [Image.new("RGB", (28, 28), (shade, 9, 9)) for shade in (9, 90)]
    assert apm_tta.load_method("tda", "embedded", ["bag"])(images).class_names == ("bag", "bag")
