"""Methods that process embeddings one by one: what their equations say at their edges."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from apm_tta.data.cards import load_card
from apm_tta.data.task import Task
from apm_tta.methods import build_parameters, dpe, ecalp, onzeta
from apm_tta.methods.confident import entropy
from apm_tta.methods.data_defaults import resolve_defaults
from apm_tta.resources import DATASETS, yaml_names

ADAPTERS = {
    "dpe": lambda weights: dpe.Adapter(weights, dpe.DPEParameters(confident_answer=False, certain=1.0)),
    "ecalp": lambda weights: ecalp.Adapter(weights),
    "onzeta": lambda weights: onzeta.Adapter(weights, onzeta.OnZetaParameters(length=50)),
}


def unit(seed: int, *shape: int) -> Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def answers(name: str, adapter: Any, features: Tensor) -> Tensor:
    """Return what an adapter makes of unit rows, under a teacher's scale of 20."""
    scales = torch.full((len(features), 1), 20.0)
    given = {"dpe": (features[:, None], scales[:, None]), "onzeta": (features, scales)}.get(name, (features,))
    made = adapter.stream(*given)
    answered: Tensor = made[0] if isinstance(made, tuple) else made
    return answered


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("classes", [1, 2, 5])
@pytest.mark.parametrize("images", [1, 2, 30])
def test_few_images_and_few_classes_are_answered(name: str, classes: int, images: int) -> None:
    """Where embeddings lie in all directions, so that some have no neighbour at all."""
    made = answers(name, ADAPTERS[name](unit(1, classes, 8)), unit(2, images, 8))
    assert made.shape == (images, classes)
    assert made.isfinite().all()


@pytest.mark.parametrize("name", ADAPTERS)
def test_no_embedding_and_no_class_weight_is_written_into(name: str) -> None:
    weights, features = unit(1, 5, 8), unit(2, 30, 8)
    answers(name, ADAPTERS[name](weights), features)
    assert torch.equal(weights, unit(1, 5, 8))
    assert torch.equal(features, unit(2, 30, 8))


def test_onzeta_grows_its_weight_of_proxies_over_as_many_images_as_a_test_set_has() -> None:
    for name in yaml_names(DATASETS):
        card = load_card(name)
        task = Task(("one", "two"), card.template, card.family, dataset=name)
        length = resolve_defaults(build_parameters("onzeta", {}), task).length
        of_no_stated_size = 50_000 if card.family == "imagenet" and name != "imagenet-part" else 10_000
        assert length == (card.images or of_no_stated_size), name


def test_onzeta_gives_a_class_that_was_left_out_its_share() -> None:
    """All images are a little nearer to the first class; in the end about every second one is of the other."""
    weights = torch.eye(2, 4)
    features = normalize(torch.tensor([[1.0, 0.98, 0, 0]]) + 0.05 * unit(3, 400, 4), dim=-1)
    adapter = onzeta.Adapter(weights, onzeta.OnZetaParameters(length=400, beta=0.0))
    mixed, balanced = adapter.stream(features, torch.full((400, 1), 100.0))
    assert torch.equal(mixed, balanced)
    assert (features @ weights.T).argmax(1).float().mean() < 0.4
    assert 0.45 < balanced[200:].argmax(1).float().mean() < 0.55


def test_onzetas_multipliers_do_not_overflow_where_a_class_is_impossible() -> None:
    weights = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    adapter = onzeta.Adapter(weights, onzeta.OnZetaParameters(length=10, label_rate=1e6))
    mixed, _ = adapter.stream(weights[[0] * 10], torch.full((10, 1), 100.0))
    assert mixed.isfinite().all()


def test_onzetas_proxies_move_only_where_they_disagree_with_the_labels() -> None:
    """At first they are the class weights: under the teacher's own scale they agree with its labels."""
    weights, features = unit(4, 3, 8), unit(5, 1, 8)
    for scale, agree in ((1.0, True), (0.25, False)):
        adapter = onzeta.Adapter(weights, onzeta.OnZetaParameters(length=1, beta=1.0, proxy_scale=scale))
        mixed, balanced = adapter.stream(features, torch.full((1, 1), 20.0))
        torch.testing.assert_close(mixed, (20 * scale * features @ weights.T).log_softmax(-1))
        assert torch.allclose(balanced, mixed) == agree
        assert torch.allclose(adapter.proxies, weights) == agree


def test_ecalps_first_image_is_answered_by_its_nearest_classes() -> None:
    weights = normalize(unit(6, 6, 8) + 0.5, dim=-1)
    features = normalize(weights[:1] + 0.3 * unit(7, 1, 8), dim=-1)
    scores = ecalp.Adapter(weights, ecalp.ECALPParameters(text_neighbours=2)).stream(features)
    nearest = (features @ weights.T).topk(2).indices[0]
    assert scores[0].argmax() == nearest[0]
    assert {*scores[0].nonzero()[:, 0].tolist()} == {*nearest.tolist()}


def test_ecalp_spreads_a_label_to_an_image_that_no_class_is_near() -> None:
    """It has an edge to one class alone, and that of its neighbour's class comes through the neighbour."""
    weights = normalize(torch.tensor([[1.0, 0.1, 0.0, 0.05], [0.1, 1.0, 0.0, 0.2]]), dim=-1)
    known, new = (normalize(torch.tensor([row]), dim=-1) for row in ([1.0, 0.0, 0.3, 0.0], [0.2, 0.21, 1.0, 0.0]))
    chosen = ecalp.ECALPParameters(text_neighbours=1)
    assert (new @ weights.T).argmax() == 1
    alone = ecalp.Adapter(weights, chosen).stream(new)
    together = ecalp.Adapter(weights, chosen).stream(torch.cat([known, new]))
    assert alone[0, 0] == 0
    assert together[1, 0] > 0


def one_view(adapter: dpe.Adapter, features: Tensor) -> Tensor:
    return adapter.stream(features[:, None], torch.full((len(features), 1, 1), 20.0))


def test_dpes_first_image_is_its_class_only_image_prototype() -> None:
    weights, features = unit(8, 4, 8), unit(9, 1, 8)
    chosen = dpe.DPEParameters(confident_answer=False, learning_rate=1e-9, alpha=3.0, align=0.0)
    expected = 20 * features @ weights.T
    expected[0, expected.argmax()] += 3
    torch.testing.assert_close(one_view(dpe.Adapter(weights, chosen), features), expected)


@pytest.mark.parametrize("certain", [0.0, 1.0])
def test_dpes_text_prototypes_move_only_with_images_that_are_certain(certain: float) -> None:
    """Without image prototypes, the answers after the first are those of a fresh start if nothing has moved."""
    weights, features = unit(10, 4, 8), unit(11, 5, 8)
    chosen = dpe.DPEParameters(confident_answer=False, learning_rate=0.01, alpha=0.0, align=0.0, certain=certain)
    apart = torch.cat([one_view(dpe.Adapter(weights, chosen), feature[None]) for feature in features])
    together = one_view(dpe.Adapter(weights, chosen), features)
    assert torch.equal(together[:1], apart[:1])
    assert torch.allclose(together, apart, rtol=0, atol=1e-4) == (certain == 0)


def test_a_step_of_dpe_makes_an_image_surer() -> None:
    weights, features = unit(12, 4, 8), unit(13, 6, 8)
    uncertainty = []
    for rate in (1e-9, 0.01):
        chosen = dpe.DPEParameters(confident_answer=False, learning_rate=rate, align=0.0)
        first = torch.cat([one_view(dpe.Adapter(weights, chosen), feature[None]) for feature in features])
        uncertainty.append(entropy(first))
    assert (uncertainty[1] < uncertainty[0]).all()
