"""Islands are Ward's regions, by a rule that does not depend on how far apart neighbouring locations lie."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from apm_tta.data.unlabelled import all_images
from apm_tta.islands.fine.bilinear import enlarge
from apm_tta.islands.levels import grids_of_levels
from apm_tta.islands.regions import ALIKE, merge_regions
from apm_tta.teachers import Teacher


def by_hand(features: torch.Tensor) -> list[float]:
    """Merge, again and again, the two adjacent regions that add least to the sum of squares; return W after each."""
    height, width, _ = features.shape
    units = {
        (i, j): (features[i, j].double() / features[i, j].double().norm()).numpy()
        for i, j in itertools.product(range(height), range(width))
    }
    regions = [{place} for place in units]

    def squares(region: set[tuple[int, int]]) -> float:
        members = np.stack([units[place] for place in region])
        return float(((members - members.mean(0)) ** 2).sum())

    def adjacent(one: set[tuple[int, int]], other: set[tuple[int, int]]) -> bool:
        return any(abs(i - k) + abs(j - m) == 1 for i, j in one for k, m in other)

    within = [0.0]
    while len(regions) > 1:
        pairs = [(a, b) for a, b in itertools.combinations(regions, 2) if adjacent(a, b)]
        one, other = min(pairs, key=lambda pair: squares(pair[0] | pair[1]) - squares(pair[0]) - squares(pair[1]))
        regions = [region for region in regions if region not in (one, other)] + [one | other]
        within.append(sum(map(squares, regions)) / len(units))
    return within


@given(height=st.integers(1, 4), width=st.integers(2, 4), seed=st.integers(0, 1000))
@settings(max_examples=40)
def test_regions_merge_as_by_hand(height: int, width: int, seed: int) -> None:
    features = torch.randn(height, width, 5, generator=torch.Generator().manual_seed(seed))
    regions = merge_regions(features)
    assert regions.within == pytest.approx(by_hand(features), abs=1e-9)
    for count in range(1, height * width + 1):
        labels = regions.labels(count)
        assert np.array_equal(np.unique(labels), np.arange(count))
        members = [features[torch.tensor(labels == each)] for each in range(count)]
        units = [each.double() / each.double().norm(dim=1, keepdim=True) for each in members]
        spread = sum(float((each - each.mean(0)).square().sum()) for each in units) / (height * width)
        assert spread == pytest.approx(float(regions.within[height * width - count]), abs=1e-9)


def test_two_halves_are_two_islands_and_equal_features_one() -> None:
    features = torch.zeros(4, 6, 3)
    features[:, :2, 0], features[:, 2:, 1] = 1, 5
    regions = merge_regions(features)
    assert [regions.count(share) for share in (0.0, 0.5, 1.0)] == [1, 2, 2]
    assert ((regions.labels(2) == regions.labels(2)[0, 0]) == (np.arange(6) < 2)).all()
    assert merge_regions(torch.ones(3, 3, 2)).count(1.0) == 1


def test_features_that_agree_to_within_the_bound_are_one_island() -> None:
    """A fresh APM's features differ in the fifth digit: their share of nothing is not an island."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(6, 6, 8, generator=generator)
    for size, many in ((0.01, False), (1.0, True)):
        regions = merge_regions(torch.ones(6, 6, 8) + size * noise)
        assert (regions.within[-1] > ALIKE) == many
        assert (regions.count() > 1) == many


def test_an_enlarged_picture_has_as_many_islands(embedded_teacher: Teacher) -> None:
    """Interpolation adds no feature, and so no island; joined by a threshold between neighbours, all would be one."""
    numbers, apart = [], []
    for image in all_images("fashion-mnist")[:24]:
        (own,) = grids_of_levels(image.read(), embedded_teacher, [3])
        larger = enlarge(own.features, 4)
        numbers.append([merge_regions(grid).count() for grid in (own.features, larger)])
        apart.append(float(torch.cosine_similarity(larger[:, 1:], larger[:, :-1], dim=-1).min()))
    small, large = np.mean(numbers, 0)
    assert small > 4
    assert abs(large - small) < 0.1 * small
    assert np.mean(apart) > 0.6, "by a threshold of 0.6 nearly nothing would be apart"


@pytest.mark.parametrize("count", [0, 13])
def test_a_number_of_regions_that_never_is_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"12 locations do not form {count} regions"):
        merge_regions(torch.randn(3, 4, 2, generator=torch.Generator().manual_seed(0))).labels(count)
