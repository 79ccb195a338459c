from __future__ import annotations

import math
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from apm_tta.methods import confident
from apm_tta.methods.confident import (
    _entropy_of_values,
    by_images,
    confident_views,
    entropy,
    in_full_precision,
    lowest_entropy,
    marginal_entropy,
    number_kept,
    select,
    view_scales,
)

LOGITS = arrays(np.float64, (9, 4), elements=st.floats(-20, 20, width=32))


def entropy_by_hand(probabilities: list[float]) -> float:
    return -sum(p * math.log(p) for p in probabilities if p > 0)


def softmax_by_hand(logits: list[float]) -> list[float]:
    powers = [math.exp(value - max(logits)) for value in logits]
    return [power / sum(powers) for power in powers]


@given(LOGITS)
def test_entropies_are_those_of_the_softmax_and_of_its_mean(logits: np.ndarray) -> None:
    probabilities = [softmax_by_hand(row) for row in logits.tolist()]
    mean = [sum(column) / len(column) for column in zip(*probabilities, strict=True)]
    expected = torch.tensor([entropy_by_hand(row) for row in probabilities], dtype=torch.float64)
    torch.testing.assert_close(entropy(torch.tensor(logits)), expected, rtol=1e-9, atol=1e-12)
    assert marginal_entropy(torch.tensor(logits)).item() == pytest.approx(entropy_by_hand(mean), rel=1e-9, abs=1e-12)


def test_entropies_of_certainty_are_zero_and_not_undefined() -> None:
    certain = torch.tensor([[0.0, 1000.0], [0.0, 2000.0]])
    assert entropy(certain).tolist() == [0.0, 0.0]
    assert marginal_entropy(certain).item() == 0.0


def test_entropies_of_halves_are_computed_in_float32() -> None:
    logits = torch.tensor([[0.0, 9.0, -2.0]])
    assert entropy(logits.half()).dtype == torch.float32
    torch.testing.assert_close(entropy(logits.half()), entropy(logits))
    torch.testing.assert_close(marginal_entropy(logits.bfloat16()), marginal_entropy(logits))


@pytest.mark.parametrize(
    ("views", "share", "kept"), [(64, 0.1, 6), (64, 0.3, 19), (64, 1, 64), (8, 0.1, 1), (1, 0.1, 1), (10, 0.3, 3)]
)
def test_a_share_of_views_is_rounded_down_and_never_empty(views: int, share: float, kept: int) -> None:
    assert number_kept(views, share) == kept
    assert lowest_entropy(torch.randn(views, 3, generator=torch.Generator().manual_seed(0)), share).shape == (kept,)


@given(LOGITS)
def test_the_most_confident_views_come_first_and_equal_ones_keep_their_order(logits: np.ndarray) -> None:
    """Entropies that differ by rounding alone may be in either order."""
    values = torch.tensor(logits)
    exact, order = entropy(values.double()).tolist(), lowest_entropy(values, 1).tolist()
    assert sorted(order) == list(range(len(order)))
    assert all(exact[one] <= exact[other] + 1e-6 for one, other in pairwise(order))
    for one, other in combinations(range(len(order)), 2):
        if torch.equal(values[one], values[other]):
            assert order.index(one) < order.index(other)
    assert lowest_entropy(values, 0.5).tolist() == order[: len(order) // 2]


@given(st.integers(0, 30), st.sampled_from([0.1, 1.0, 10.0, 100.0]))
def test_views_are_ordered_by_entropies_as_exact_as_those_of_a_loss(seed: int, scale: float) -> None:
    """Neither may be further from float64 than float32's rounding of the largest term."""
    logits = scale * torch.randn(20, 50, generator=torch.Generator().manual_seed(seed))
    exact = entropy(logits.double())
    for ours in (entropy(logits), _entropy_of_values(logits)):
        assert (ours - exact).abs().max() <= 1e-6


def test_parts_of_a_batch_are_put_together_as_they_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many images are computed at once that fit a cache; here, two."""
    monkeypatch.setattr(confident, "_LOGITS_AT_ONCE", 2 * 6 * 4)
    generator = torch.Generator().manual_seed(0)
    views, weights = torch.randn(3, 5, 6, 8, generator=generator), torch.randn(4, 8, generator=generator)
    scales, seen = torch.rand(3, 5, 6, 1, generator=generator), []

    def of(some: torch.Tensor, factors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(len(some))
        return (factors * some @ weights.T, factors[:, 0, 0])

    logits, first = by_images(of, views, scales, 4)
    assert seen == [2] * 7 + [1]
    torch.testing.assert_close(logits, scales * views @ weights.T)
    assert torch.equal(first, scales[:, :, 0, 0])
    kept = confident_views(views, weights, scales, 0.5)
    assert torch.equal(kept, lowest_entropy(scales * views @ weights.T, 0.5))


def test_every_image_of_a_batch_has_its_own_views() -> None:
    logits = torch.randn(5, 7, 3, generator=torch.Generator().manual_seed(0))
    together = lowest_entropy(logits, 0.5)
    assert together.tolist() == [lowest_entropy(one, 0.5).tolist() for one in logits]
    chosen = select(logits, together)
    assert torch.equal(chosen, torch.stack([one[index] for one, index in zip(logits, together, strict=True)]))


def test_a_scale_is_common_to_all_views_or_one_per_view() -> None:
    views = torch.zeros(2, 3, 4)
    assert view_scales(views, 100.0).tolist() == [[[100.0]] * 3] * 2
    each = torch.arange(6.0).view(2, 3, 1)
    assert torch.equal(view_scales(views, each), each)


def test_products_are_those_of_float32_under_autocast() -> None:
    product = in_full_precision(lambda one, other: one @ other)
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(4, 64, generator=generator), torch.randn(64, 4, generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(product(one, other), product(one, other))
        assert product(one, other).dtype == torch.float32
        assert product(one.bfloat16(), other.bfloat16()).dtype == torch.float32
        inside = product(one, other)
    assert torch.equal(inside, one @ other)
    assert product(one.double(), other.double()).dtype == torch.float64
