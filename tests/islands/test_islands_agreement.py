"""Agreement and islands equal their definitions, evaluated by counting."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from apm_tta.islands.agreement import agreement, format_cosine


def by_hand(features: torch.Tensor, threshold: float) -> tuple[float, float, int, float]:
    """Compute the numbers location by location in plain Python: cosines, then a flood fill."""
    height, width, _ = features.shape
    vectors = {(i, j): features[i, j].double().tolist() for i in range(height) for j in range(width)}

    def cosine(one: tuple[int, int], other: tuple[int, int]) -> float:
        a, b = vectors[one], vectors[other]
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))

    adjacent = [((i, j), (i + 1, j)) for i in range(height - 1) for j in range(width)]
    adjacent += [((i, j), (i, j + 1)) for i in range(height) for j in range(width - 1)]
    neighbours = sum(cosine(*pair) for pair in adjacent) / len(adjacent)
    places = list(vectors)
    pairs = [(one, other) for index, one in enumerate(places) for other in places[index + 1 :]]
    any_two = sum(cosine(*pair) for pair in pairs) / len(pairs)
    joined = [pair for pair in adjacent if cosine(*pair) >= threshold]
    left, sizes = set(places), []
    while left:
        part, todo = set(), [left.pop()]
        while todo:
            at = todo.pop()
            part.add(at)
            todo += [b if a == at else a for a, b in joined if at in (a, b) and (b if a == at else a) not in part]
        left -= part
        sizes.append(len(part))
    return neighbours, any_two, len(sizes), max(sizes) / len(places)


@given(
    height=st.integers(1, 5),
    width=st.integers(2, 5),
    seed=st.integers(0, 1000),
    threshold=st.sampled_from([-0.37, 0.01, 0.52, 0.93]),
    common=st.sampled_from([0.0, 1.0, 4.0]),
)
def test_every_number_equals_that_from_counting(
    height: int, width: int, seed: int, threshold: float, common: float
) -> None:
    features = torch.randn(height, width, 6, generator=torch.Generator().manual_seed(seed)) + common
    measured = agreement(features, threshold)
    neighbours, any_two, islands, largest = by_hand(features, threshold)
    assert measured.neighbours == pytest.approx(neighbours, abs=1e-6)
    assert measured.any_two == pytest.approx(any_two, abs=1e-6)
    assert (measured.islands, measured.largest) == (islands, pytest.approx(largest))
    assert measured.excess == measured.neighbours - measured.any_two


def test_two_halves_are_two_islands() -> None:
    features = torch.zeros(4, 6, 3)
    features[:, :2, 0], features[:, 2:, 1] = 1, 5
    measured = agreement(features, 0.9)
    assert (measured.islands, measured.largest) == (2, pytest.approx(16 / 24))
    assert measured.neighbours == pytest.approx(34 / 38)  # of 38 sides 4 lie between the halves


@pytest.mark.parametrize(("shape", "threshold", "message"), [((1, 1, 3), 0.9, "no neighbours"), ((2, 2, 3), 1.5, "-1")])
def test_arguments_without_an_answer_are_refused(shape: tuple[int, ...], threshold: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        agreement(torch.ones(shape), threshold)


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "0.500"), (0.9994, "0.999"), (0.99999, "1 - 1e-05"), (1.0, "1 - 0e+00")]
)
def test_a_cosine_close_to_one_is_shown_as_its_distance(value: float, text: str) -> None:
    assert format_cosine(value) == text
