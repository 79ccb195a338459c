"""``--limit`` selects an even, nested subset that depends only on ids and labels."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apm_tta.data.layouts import Entry
from apm_tta.data.subset import RULE, even_subset, shots_per_class, subset_rule
from apm_tta.errors import UserError


@st.composite
def data_sets(draw: st.DrawFn) -> list[Entry]:
    """Draw up to 60 images of up to 6 classes of any size, in any order."""
    labels = draw(st.lists(st.integers(0, 5), max_size=60))
    return [Entry(f"{label}/{index:03d}.png", label) for index, label in enumerate(labels)]


limits = st.integers(0, 70)


@given(data_sets(), limits)
def test_selects_as_many_as_requested(entries: list[Entry], limit: int) -> None:
    """``limit`` images, or all if there are fewer or ``limit`` is 0; none twice."""
    chosen = even_subset(entries, limit)
    assert len(chosen) == (min(limit, len(entries)) if limit else len(entries))
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= set(entries)


@given(data_sets(), st.integers(1, 70))
def test_is_even_over_classes(entries: list[Entry], limit: int) -> None:
    """Two classes differ by more than one image only if the smaller has no more images."""
    available = Counter(entry.label for entry in entries)
    taken = Counter(entry.label for entry in even_subset(entries, limit))
    largest = max((taken[label] for label in available), default=0)
    for label, count in available.items():
        assert taken[label] == count or taken[label] >= largest - 1


@given(data_sets(), limits, limits)
def test_a_smaller_limit_selects_a_subset_of_a_larger_ones(entries: list[Entry], one: int, other: int) -> None:
    small, large = sorted((one, other), key=lambda limit: limit or len(entries))
    assert set(even_subset(entries, small)) <= set(even_subset(entries, large))


@given(data_sets(), limits, st.randoms(use_true_random=False))
def test_the_order_in_which_files_are_found_does_not_matter(entries: list[Entry], limit: int, random: object) -> None:
    shuffled = list(entries)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert set(even_subset(shuffled, limit)) == set(even_subset(entries, limit))


@given(data_sets(), limits)
def test_keeps_the_original_order(entries: list[Entry], limit: int) -> None:
    positions = [entries.index(entry) for entry in even_subset(entries, limit)]
    assert positions == sorted(positions)


def test_does_not_modify_its_input() -> None:
    """The result is a new list, with limit 0 too."""
    entries = [Entry(f"{index}", index % 2) for index in range(6)]
    for limit in (0, 3):
        even_subset(entries, limit).clear()
    assert len(entries) == 6


def test_within_a_class_the_ids_of_lowest_sha256_are_taken() -> None:
    """Pinned: SHA-256 of a, b, c, d begins ca97, 3e23, 2e7d, 18ac (``printf a | sha256sum``)."""
    entries = [Entry(name, 0) for name in "abcd"]
    assert [entry.id for entry in even_subset(entries, 1)] == ["d"]
    assert [entry.id for entry in even_subset(entries, 2)] == ["c", "d"]
    assert [entry.id for entry in even_subset(entries, 3)] == ["b", "c", "d"]


def test_the_rule_in_words_states_how_many_of_how_many() -> None:
    assert subset_rule(0, 2000, 2000) == "all 2000 images"
    assert subset_rule(9999, 2000, 2000) == "all 2000 images"
    assert subset_rule(50, 50, 2000) == f"50 of 2000 images, {RULE} (--limit 50)"


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="limit is -1"):
        even_subset([Entry("a", 0)], -1)


@given(data_sets(), st.integers(1, 4))
def test_every_class_has_its_shots_or_is_refused(entries: list[Entry], shots: int) -> None:
    """Each class has exactly that many, none twice, in their order; a subset of what more shots would select."""
    available = Counter(entry.label for entry in entries)
    if any(number < shots for number in available.values()):
        with pytest.raises(UserError, match=f"fewer than {shots} shots"):
            shots_per_class(entries, shots)
        return
    chosen = shots_per_class(entries, shots)
    assert Counter(entry.label for entry in chosen) == dict.fromkeys(available, shots)
    assert chosen == sorted(chosen, key=entries.index)
    assert set(shots_per_class(entries, 1)) <= set(chosen)
    assert set(shots_per_class(entries[::-1], shots)) == set(chosen)


def test_shots_are_the_ids_of_lowest_sha256() -> None:
    """Pinned as above: 18ac, 2e7d, 3e23, ca97 are of d, c, b, a."""
    entries = [Entry(name, 0) for name in "abcd"]
    assert [entry.id for entry in shots_per_class(entries, 2)] == ["c", "d"]
    with pytest.raises(ValueError, match="shots is 0"):
        shots_per_class(entries, 0)
