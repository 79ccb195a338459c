"""Agreement equals its definition, evaluated by counting; its islands are the regions'."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from apm_tta.islands.agreement import agreement, format_cosine
from apm_tta.islands.regions import merge_regions


def by_hand(features: torch.Tensor, factor: int) -> tuple[float, float]:
    """Compute mean cosines location by location in plain Python."""
    height, width, _ = features.shape
    vectors = {(i, j): features[i, j].double().tolist() for i in range(height) for j in range(width)}

    def cosine(one: tuple[int, int], other: tuple[int, int]) -> float:
        a, b = vectors[one], vectors[other]
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))

    adjacent = [((i, j), (i + factor, j)) for i in range(height - factor) for j in range(width)]
    adjacent += [((i, j), (i, j + factor)) for i in range(height) for j in range(width - factor)]
    neighbours = sum(cosine(*pair) for pair in adjacent) / len(adjacent)
    places = list(vectors)
    pairs = [(one, other) for index, one in enumerate(places) for other in places[index + 1 :]]
    any_two = sum(cosine(*pair) for pair in pairs) / len(pairs)
    return neighbours, any_two


@given(
    height=st.integers(1, 5),
    width=st.integers(3, 5),
    seed=st.integers(0, 1000),
    factor=st.integers(1, 2),
    common=st.sampled_from([0.0, 1.0, 4.0]),
)
def test_every_number_equals_that_from_counting(height: int, width: int, seed: int, factor: int, common: float) -> None:
    features = torch.randn(height, width, 6, generator=torch.Generator().manual_seed(seed)) + common
    measured = agreement(features, 0.6, factor)
    neighbours, any_two = by_hand(features, factor)
    assert measured.neighbours == pytest.approx(neighbours, abs=1e-6)
    assert measured.any_two == pytest.approx(any_two, abs=1e-6)
    assert measured.excess == measured.neighbours - measured.any_two
    regions = merge_regions(features)
    assert measured.islands == regions.count(0.6)
    assert measured.largest == pytest.approx(
        np.bincount(regions.labels(measured.islands).ravel()).max() / (height * width)
    )


def test_two_halves_are_two_islands() -> None:
    features = torch.zeros(4, 6, 3)
    features[:, :2, 0], features[:, 2:, 1] = 1, 5
    measured = agreement(features)
    assert (measured.islands, measured.largest) == (2, pytest.approx(16 / 24))
    assert measured.neighbours == pytest.approx(34 / 38)  # of 38 sides 4 lie between the halves


@pytest.mark.parametrize(("shape", "share", "message"), [((1, 1, 3), 0.5, "no neighbours"), ((2, 2, 3), 1.5, "0 to 1")])
def test_arguments_without_an_answer_are_refused(shape: tuple[int, ...], share: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        agreement(torch.ones(shape), share)


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "0.500"), (0.9994, "0.999"), (0.99999, "1 - 1e-05"), (1.0, "1 - 0e+00")]
)
def test_a_cosine_close_to_one_is_shown_as_its_distance(value: float, text: str) -> None:
    assert format_cosine(value) == text
