"""Assignments by Gaussians are those of exact arithmetic, also where a class has one image and no variance."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from apm_tta.methods.neighbour_assignment import log_likelihoods, squared_distances
from apm_tta.methods.transclip import TransCLIPParameters, assigned


def drawn(images: int, classes: int, width: int = 64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw unit features of as many classes as there are images or fewer, a teacher's logits, and class weights."""
    generator = torch.Generator().manual_seed(0)
    weights = normalize(torch.randn(classes, width, generator=generator), dim=-1)
    noise = torch.randn(images, width, generator=generator)
    features = normalize(weights[torch.arange(images) % classes] + 0.3 * noise, dim=-1)
    return features, 100 * features @ weights.mT, weights


@pytest.mark.parametrize(("images", "classes"), [(5, 10), (12, 10), (60, 10)])
def test_assignments_do_not_depend_on_how_a_processor_rounds(images: int, classes: int) -> None:
    """Other processors round the last bits otherwise: answers stay what they are when the inputs differ by as much."""
    features, logits, weights = drawn(images, classes)
    found = assigned(features, logits, weights, TransCLIPParameters())
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        noise = 1 + 1e-7 * torch.randn(features.shape, generator=generator)
        other = assigned(features * noise, logits, weights, TransCLIPParameters())
        assert torch.allclose(other, found, rtol=0, atol=1e-3)
    exact = assigned(features.double(), logits.double(), weights.double(), TransCLIPParameters())
    assert torch.allclose(exact.float(), found, rtol=0, atol=1e-3)


def test_sums_and_likelihoods_are_those_of_their_definitions() -> None:
    """Of more rows than are computed at once, with variances near zero."""
    features, logits, weights = drawn(1500, 4, 8)
    assignments = (logits / 10).softmax(-1)
    offsets = features[:, None].double() - weights.double()
    expected = (assignments[..., None].double() * offsets.square()).sum(0)
    assert torch.allclose(squared_distances(features, weights, assignments), expected, rtol=1e-9, atol=1e-9)
    variances = torch.full_like(weights, 1e-9).double()
    scores = -0.5 * (offsets.square() / variances + variances.log()).sum(-1)
    assert torch.allclose(log_likelihoods(features, weights, variances).double(), scores, rtol=1e-6)
