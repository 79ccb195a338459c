"""Arrays from another process lie in memory that both share, and nobody sees them change."""

from __future__ import annotations

import gc
import os
from multiprocessing.context import BaseContext
from pathlib import Path

import numpy as np
import pytest
import torch

from apm_tta.harness.compute.ahead import Ahead, results_ahead
from apm_tta.harness.compute.quiet_processes import quiet_context

SIZE = 1 << 18


@pytest.fixture
def fork() -> BaseContext:
    return quiet_context("fork")


def nothing() -> None:
    """Do nothing."""


def filled(number: int) -> dict[str, object]:
    """Make arrays of several types and sizes, an empty one and one too small for a block among them."""
    return {
        "bytes": np.full((number + 1, SIZE), number, np.uint8),
        "floats": torch.full((3, number + 5), float(number)),
        "none": np.empty((0, 3), np.uint8),
        "text": "x" * number,
    }


def small(number: int) -> np.ndarray:
    return np.full(3, number)


def same(one: dict[str, object], other: dict[str, object]) -> bool:
    return (
        np.array_equal(one["bytes"], other["bytes"])  # type: ignore[arg-type]
        and torch.equal(one["floats"], other["floats"])  # type: ignore[arg-type]
        and one["none"].shape == (0, 3)  # type: ignore[attr-defined]
        and one["text"] == other["text"]
    )


def mapped() -> int:
    """Count the blocks that this process has in its memory."""
    return Path("/proc/self/maps").read_text().count("memfd:apm-tta")


@pytest.mark.parametrize("processes", [1, 3])
def test_results_that_are_kept_stay_what_they_were(fork: BaseContext, processes: int) -> None:
    """Whatever the process computes later, it uses no block again that anything still refers to."""
    kept = list(results_ahead(filled, range(12), processes, fork, nothing))
    assert all(same(result, filled(number)) for number, result in enumerate(kept))


def test_a_part_of_an_array_keeps_its_block(fork: BaseContext) -> None:
    rows = [result["bytes"][-1] for result in results_ahead(filled, range(12), 1, fork, nothing)]
    gc.collect()
    assert [int(row[0]) for row in rows] == list(range(12))
    assert all((row == row[0]).all() for row in rows)


def test_blocks_are_used_again_once_nothing_refers_to_them(fork: BaseContext) -> None:
    before, most = mapped(), 0
    ahead: Ahead[int, dict[str, object]] = Ahead(filled, 1, fork, nothing)
    ahead.submit([1] * 40)
    for _ in range(40):
        result = ahead.next()
        most = max(most, mapped() - before)
        del result
    ahead.end()
    assert 1 <= most <= 4  # one in use, two ahead, one on its way back


def test_small_results_need_no_block(fork: BaseContext) -> None:
    before = mapped()
    assert [int(each[0]) for each in results_ahead(small, range(5), 1, fork, nothing)] == [0, 1, 2, 3, 4]
    assert mapped() == before


@pytest.mark.parametrize("failing", ["memfd_create", "posix_fallocate"])
def test_without_such_memory_arrays_come_through_the_pipe(
    fork: BaseContext, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, refuse)
    before = mapped()
    for number, result in enumerate(results_ahead(filled, range(6), 2, fork, nothing)):
        assert same(result, filled(number))
        result["bytes"][:] = 0  # type: ignore[index]
    assert mapped() == before


def test_items_may_be_submitted_while_earlier_ones_are_worked_on(fork: BaseContext) -> None:
    ahead: Ahead[int, np.ndarray] = Ahead(small, 2, fork, nothing)
    ahead.submit(range(3))
    first = [int(ahead.next()[0])]
    ahead.submit([7, 8])
    assert ahead.outstanding == 4
    assert first + [int(ahead.next()[0]) for _ in range(4)] == [0, 1, 2, 7, 8]
    ahead.end()
