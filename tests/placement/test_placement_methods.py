"""Every method on a device that no tensor of the CPU may meet: the same answers, and few waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache

import pyarrow as pa
import pytest
import torch
from pretended_cuda import CUDA, pretended_cuda
from worker_runs import BATCH, answered

from apm_tta.harness.compute.prepare import Prepared
from apm_tta.methods import METHODS

Runs = Callable[..., Prepared]
Answered = Callable[[str, int], tuple[pa.Table, Counter[str]]]

WAITS = {
    "apm": 71,
    "ensemble": 17,
    "knn": 17,
    "memo": 29,
    "mta": 24,
    "sar": 26,
    "tda": 21,
    "tent": 21,
    "tps": 24,
    "tpt": 26,
    "vte": 24,
    "zero": 24,
    "zeroshot": 17,
}
"""How often the process waits for the device, per batch that a method answers as its run's only one."""


@pytest.fixture(scope="module")
def on_device(prepared: Runs) -> Answered:
    """Return a function from a method and a number of batches to what was recorded, and the waits by reason."""

    @cache
    def answer(name: str, batches: int) -> tuple[pa.Table, Counter[str]]:
        run = prepared(CUDA, batches * BATCH)
        with pretended_cuda() as waits:
            return answered(run, name), Counter(waits.reasons)

    return answer


def test_every_registered_method_has_a_stated_number_of_waits() -> None:
    assert METHODS.names() == sorted(WAITS)


@pytest.mark.parametrize("name", WAITS)
def test_a_worker_records_the_same_on_the_device_to_the_last_bit(
    name: str, prepared: Runs, on_device: Answered
) -> None:
    on_cpu = answered(prepared(torch.device("cpu"), 2 * BATCH), name)
    assert on_device(name, 2)[0].equals(on_cpu)


@pytest.mark.parametrize("name", WAITS)
def test_a_batch_waits_as_often_as_stated(name: str, on_device: Answered) -> None:
    """Of a third batch: the first is looked at more closely, and the last one ends the run."""
    (_, of_two), (_, of_three) = on_device(name, 2), on_device(name, 3)
    one_more = Counter({reason: of_three[reason] - of_two[reason] for reason in of_three})
    assert one_more.total() <= WAITS[name], one_more
