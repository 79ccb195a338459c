"""Runs in this process that measure no method: of few images, counting and timing operations is most of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from apm_tta.harness.compute import batch_answers
from apm_tta.harness.compute.measure import SoloCost
from apm_tta.harness.compute.spot_check import answer_alone
from apm_tta.methods import Batch, Method


@contextmanager
def unmeasured(asked_alone: bool) -> Iterator[None]:
    """Have runs in the block neither time single images nor count operations.

    Args:
        asked_alone: whether methods are still asked for images alone, as every run asks them.
    """

    def measure_nothing(method: Method[Any], batch: Batch, _gflop: float | None) -> SoloCost:
        return SoloCost([], 0.0, answer_alone(method, batch) if asked_alone else [])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_answers, "measure_alone", measure_nothing)
        yield
