"""Every method on a GPU: what the pretended device proves of placement, on a real one."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from worker_runs import BATCH, answered, of_embedded, prepared_on, write_images

from apm_tta.harness.compute.prepare import Prepared

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(),
    reason="no CUDA device: where there is one, python -m benchmarks.gpu runs these",
)
CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[torch.device], Prepared]:
    """Return a function from a device to a prepared run of every method, made once."""
    place: Path = write_images(tmp_path_factory.mktemp("cuda"))
    return cache(lambda device: prepared_on(device, place, of_embedded(), limit=3 * BATCH))


@pytest.mark.parametrize("name", of_embedded())
def test_a_worker_on_cuda_records_what_one_on_the_cpu_does(
    name: str, prepared: Callable[[torch.device], Prepared]
) -> None:
    """The classes; confidence as far as rounding goes."""
    on_cpu, on_device = (answered(prepared(device), name).to_pandas() for device in (CPU, CUDA))
    assert on_device["prediction"].tolist() == on_cpu["prediction"].tolist()
    assert on_device["teacher_prediction"].tolist() == on_cpu["teacher_prediction"].tolist()
    torch.testing.assert_close(
        torch.tensor(on_device["confidence"].tolist()), torch.tensor(on_cpu["confidence"].tolist()), rtol=0, atol=1e-3
    )


@pytest.mark.parametrize("name", ["zeroshot", "mta", "apm"])
def test_a_worker_on_cuda_records_the_same_twice(name: str, prepared: Callable[[torch.device], Prepared]) -> None:
    once, again = (answered(prepared(CUDA), name) for _ in range(2))
    assert once.equals(again)


def test_memory_on_cuda_is_measured(prepared: Callable[[torch.device], Prepared]) -> None:
    torch.cuda.reset_peak_memory_stats(CUDA)
    answered(prepared(CUDA), "zeroshot")
    assert torch.cuda.max_memory_allocated(CUDA) > 0
