"""Distances between sets of features: zero for the same distribution, and copies are told by their recall."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from docs_scripts import docs_script


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return docs_script("dream_quality")


def drawn(seed: int, count: int = 200, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)) + shift


def test_pictures_of_the_same_distribution_are_at_no_distance_within_the_interval(script: dict[str, Any]) -> None:
    same, other = (script["quality"](drawn(0, shift=shift), drawn(1)) for shift in (0.0, 1.0))
    value, margin = same["kernel distance"]
    assert abs(value) < margin
    for name in ("kernel distance", "Fréchet distance"):
        assert other[name][0] - other[name][1] > sum(same[name])
    for name in ("precision", "recall"):
        assert other[name][0] < same[name][0]


def test_the_kernel_distance_is_unbiased_and_frechet_s_falls_with_the_number(script: dict[str, Any]) -> None:
    frechet, kernel = script["frechet_distance"], script["kernel_distance"]
    assert frechet(drawn(0, 40), drawn(1, 40)) > 5 * frechet(drawn(0, 2000), drawn(1, 2000))
    distances = [kernel(drawn(2 * seed, 40), drawn(2 * seed + 1, 40)) for seed in range(20)]
    assert min(distances) < 0 < max(distances)


def test_copies_of_a_few_images_are_precise_and_recall_little(script: dict[str, Any]) -> None:
    references = drawn(0)
    copies = references[:5].repeat(40, 1) + 1e-3 * drawn(1)
    assert script["precision"](copies, references) == 1
    assert script["recall"](copies, references) < 0.1


def test_unequal_numbers_are_refused(script: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="300 pictures and 200 references"):
        script["frechet_distance"](drawn(0, 300), drawn(1))


def test_the_linear_read_out_is_exact_where_colours_are_linear(script: dict[str, Any]) -> None:
    columns, others = drawn(0), drawn(1)
    weights = torch.randn(8, 12, generator=torch.Generator().manual_seed(2)) / 40
    read = script["linear_read_out"](columns, (columns @ weights + 0.5).unflatten(1, (2, 2, 3)))
    torch.testing.assert_close(read(others), (others @ weights + 0.5).unflatten(1, (2, 2, 3)))


def test_the_nearest_of_a_training_image_is_another_one(script: dict[str, Any]) -> None:
    seen = torch.tensor([[0.0], [1.0], [4.0]])
    assert script["nearest"](seen, seen, own=True)[0] == pytest.approx((1 + 1 + 3) / 3)
    assert script["nearest"](seen, seen, own=False)[0] == 0
