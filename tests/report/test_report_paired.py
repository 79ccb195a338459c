"""Answers to images that are shown several times: paired showing by showing, tested image by image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apm_tta.report.cell_answers import Answers, image_numbers, positions
from apm_tta.report.paired import pair, paired_rows
from apm_tta.report.statistics import (
    clustered_interval,
    mcnemar_p,
    paired_interval,
    paired_mean_interval,
    wilson_interval,
)


def cell(ids: list[str], right: list[bool], showing: list[int] | None = None) -> Answers:
    """Return the answers of a cell as far as pairing looks at them."""
    names = pa.array(ids)
    values: dict[str, Any] = dict.fromkeys(Answers.__dataclass_fields__)
    values |= {"damaged": [], "right": np.array(right), "label": np.zeros(len(ids), int)}
    if showing is None:
        return Answers(**{**values, "ids": names})
    return Answers(**{**values, "ids": names.dictionary_encode(), "showing": np.array(showing)})


def names(one: Answers, other: Answers) -> list[tuple[str, str]]:
    """Return what is paired: id and showing of both."""

    def name(each: Answers, row: int) -> str:
        return f"{each.ids[row].as_py()}{'' if each.showing is None else each.showing[row]}"

    return [
        (name(one, a), name(other, b)) for a, b in zip(*map(np.ndarray.tolist, paired_rows(one, other)), strict=True)
    ]


def test_images_shown_once_are_paired_by_id() -> None:
    one, other = cell(["a", "b", "c"], [True, True, False]), cell(["c", "d", "a"], [True, True, False])
    assert names(one, other) == [("a", "a"), ("c", "c")]
    assert (pair(one, other).only_one, pair(one, other).only_other, pair(one, other).right) == (1, 1, 1)
    assert pair(one, other).p() == mcnemar_p(1, 1)
    assert pair(one, other).interval() == paired_interval(1, 1, 2)


def test_the_kth_showing_goes_with_the_kth() -> None:
    """Whatever the order of rows; a showing that the other cell could not read has no partner."""
    one = cell(["a", "b", "a", "b"], [True] * 4, [1, 0, 0, 1])
    other = cell(["b", "a", "a"], [False] * 3, [1, 0, 1])
    assert names(one, other) == [("a1", "a1"), ("a0", "a0"), ("b1", "b1")]
    assert names(other, one) == [("b1", "b1"), ("a0", "a0"), ("a1", "a1")]


def test_an_episodic_answer_goes_with_every_showing() -> None:
    one = cell(["a", "b", "a"], [True, False, True], [0, 0, 1])
    once = cell(["b", "a"], [True, False])
    assert names(one, once) == [("a0", "a"), ("b0", "b"), ("a1", "a")]
    assert names(once, one) == [("b", "b0"), ("a", "a0"), ("a", "a1")]
    assert pair(one, once).gained.tolist() == [1, -1, 1]
    assert pair(once, one).gained.tolist() == [1, -1, -1]


def test_the_first_row_of_an_id_is_found_among_several() -> None:
    """Of plain arrays and of dictionaries alike."""
    among, ids = pa.array(["b", "a", "b", "a"]), pa.array(["a", "c", "b"])
    for left in (ids, ids.dictionary_encode()):
        for right in (among, among.dictionary_encode()):
            assert positions(left, right).tolist() == [1, -1, 0]


def test_repeating_every_answer_adds_no_certainty() -> None:
    """Ten showings of each image that are all alike: intervals and p are those of one showing."""
    generator = np.random.default_rng(3)
    once, other = generator.random(60) < 0.7, generator.random(60) < 0.4
    ids = [f"{number:02d}" for number in range(60)]
    repeated = cell(ids * 10, np.tile(once, 10).tolist(), np.repeat(np.arange(10), 60).tolist())
    single = cell(ids, other.tolist())
    one, ten = pair(cell(ids, once.tolist()), single), pair(repeated, single)
    assert ten.p() == pytest.approx(one.p(), rel=1e-9)
    assert ten.interval() == pytest.approx(one.interval(), abs=0.02)
    low, high = clustered_interval(repeated.right, image_numbers(repeated.ids))
    assert (low, high) == pytest.approx(wilson_interval(int(once.sum()), 60), abs=0.003)
    assert high - low > 2 * np.diff(wilson_interval(int(repeated.right.sum()), 600))[0]


def test_independent_showings_are_as_good_as_images() -> None:
    generator = np.random.default_rng(5)
    right, images = generator.random(4000) < 0.6, np.tile(np.arange(1000), 4)
    assert clustered_interval(right, images) == pytest.approx(wilson_interval(int(right.sum()), 4000), abs=0.002)


@pytest.mark.parametrize("value", [True, False])
def test_where_all_answers_are_alike_the_interval_is_that_of_the_images(value: bool) -> None:
    right = np.full(30, value)
    assert clustered_interval(right, np.arange(30) % 10) == wilson_interval(10 * value, 10)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=30))
def test_an_interval_is_within_what_an_image_can_gain(images: list[tuple[int, int, int]]) -> None:
    """Of images that are shown different numbers of times."""
    shown = np.array([m for m, _, _ in images])
    gained = np.array([min(a, m) - min(b, m) for m, a, b in images])
    low, high = paired_mean_interval(gained, shown)
    gains = gained / shown
    assert gains.min() - 1e-9 <= low <= high <= gains.max() + 1e-9


def test_different_numbers_of_showings_are_drawn_with_their_images() -> None:
    """One image with all gains among many without: the share that it makes up is as random as it is."""
    gained, shown = np.array([20] + [0] * 50), np.array([20] + [1] * 50)
    low, high = paired_mean_interval(gained, shown)
    assert low == 0
    assert high > 0.5
