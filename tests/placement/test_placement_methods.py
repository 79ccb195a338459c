"""Every method on a device that no tensor of the CPU may meet: the same answers, and few waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache

import pyarrow as pa
import pytest
import torch
from pretended_cuda import CUDA, pretended_cuda
from worker_runs import answered

from apm_tta.harness.compute.prepare import Prepared
from apm_tta.harness.progress.events import Answered, Event
from apm_tta.methods import METHODS

Runs = Callable[..., Prepared]
OnDevice = Callable[[str], tuple[pa.Table, Counter[str]]]

WAITS = {
    "apm": 1,
    "batclip": 1,
    "boostadapter": 2,
    "clipartt": 3,
    "cmf": 4,
    "cotta": 6,
    "ctpt": 1,
    "deyo": 4,
    "dmn": 2,
    "dpe": 3,
    "eata": 2,
    "ecalp": 1,
    "ensemble": 1,
    "eta": 2,
    "knn": 1,
    "lame": 1,
    "memo": 1,
    "mta": 1,
    "norm": 1,
    "onzeta": 1,
    "rdumb": 2,
    "roid": 4,
    "rotta": 5,
    "sar": 6,
    "stata": 1,
    "t3a": 2,
    "tda": 2,
    "tent": 1,
    "tps": 1,
    "tpt": 1,
    "transclip": 5,  # for the whole condition, in three batches
    "vte": 1,
    "watt": 1,
    "zero": 1,
    "zeroshot": 1,
}
"""How often the process waits for the device, per batch that a method answers as its run's only one."""

ROUNDED = {"mta"}
"""Methods whose tiny steps are NumPy's on a CPU and torch's elsewhere, in float64: the last bit may differ."""


@pytest.fixture(scope="module")
def on_device(prepared_for: Runs) -> OnDevice:
    """Return a function from a method to what a run over three batches records, and the waits for the last of them."""

    @cache
    def answer(name: str) -> tuple[pa.Table, Counter[str]]:
        run, so_far = prepared_for(CUDA, name), [Counter[str]()]

        def hear(event: Event) -> None:
            if isinstance(event, Answered):
                so_far.append(Counter(waits.reasons))

        with pretended_cuda() as waits:
            table = answered(run, name, hear)
        # One batch after another, or all of them together.
        assert len(so_far) == (2 if METHODS.get(name).protocol == "transductive" else 4)
        return table, so_far[-1] - so_far[-2]

    return answer


def round_to_digits(table: pa.Table) -> pa.Table:
    """Round columns of fractions to four digits; NumPy's operations are not among the FLOPs, which are a millionth."""
    for place, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            rounded = [None if value is None else float(f"{value:.4g}") for value in table[field.name].to_pylist()]
            table = table.set_column(place, field, [pa.array(rounded, field.type)])
    return table


def test_every_registered_method_has_a_stated_number_of_waits() -> None:
    assert METHODS.names() == sorted(WAITS)


@pytest.mark.parametrize("name", WAITS)
def test_a_worker_records_the_same_on_the_device_to_the_last_bit(
    name: str, prepared_for: Runs, on_device: OnDevice
) -> None:
    there, here = on_device(name)[0], answered(prepared_for(torch.device("cpu"), name), name)
    if name in ROUNDED:
        here, there = (round_to_digits(table) for table in (here, there))
    assert there.equals(here)


@pytest.mark.parametrize("name", WAITS)
def test_a_batch_waits_as_often_as_stated(name: str, on_device: OnDevice) -> None:
    _, waits = on_device(name)
    assert waits.total() <= WAITS[name], waits
