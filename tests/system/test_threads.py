"""Work in threads has its results in order, and raises what the first item raised."""

from __future__ import annotations

import threading

import pytest

from apm_tta.system import threads


@pytest.mark.parametrize("cores", [1, 2, 64])
def test_results_are_in_the_order_of_the_items(monkeypatch: pytest.MonkeyPatch, cores: int) -> None:
    """On two cores or more, two items wait for each other: they are there at the same time."""
    monkeypatch.setattr(threads, "usable_cores", lambda: cores)
    both = threading.Barrier(2 if cores > 1 else 1, timeout=60)

    def squared(number: int) -> int:
        both.wait()
        return number * number

    assert threads.in_threads(squared, range(8)) == [number * number for number in range(8)]


def test_the_first_item_that_raises_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "usable_cores", lambda: 2)

    def refuse(number: int) -> int:
        if number > 2:
            raise ValueError(number)
        return number

    with pytest.raises(ValueError, match=r"^3$"):
        threads.in_threads(refuse, range(8))
