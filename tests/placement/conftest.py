"""Images and prepared runs on the CPU and on a pretended CUDA device, where both compute by the same kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cache
from pathlib import Path

import pytest
import torch
from pretended_cuda import CUDA, pretended_cuda
from small_settings import NEED_BATCH_NORM
from worker_runs import BATCH, batch_norm_weights, of_embedded, prepared_on, write_images

from apm_tta.harness.compute import measure
from apm_tta.harness.compute.prepare import Prepared
from apm_tta.methods import shared_values


@pytest.fixture(autouse=True)
def the_same_kernels(one_thread: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the CPU and the device compute in the same order, so that nothing rounds otherwise.

    Without the CPU's fused form of a transformer's layer, which torch takes for plain tensors alone; and encoding as
    many images at once: the device makes the views of several together, and the CPU image by image.
    """
    monkeypatch.setattr(shared_values, "_ENCODED_AT_ONCE", {"cpu": 2, "cuda": 2})
    monkeypatch.setattr(measure, "LATENCY_IMAGES", 1)  # times differ anyway
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(before)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write eight images to answer, and as many labelled ones."""
    return write_images(tmp_path_factory.mktemp("placement"))


@pytest.fixture(scope="session")
def prepared(place: Path) -> Callable[[torch.device], Prepared]:
    """Return a function from a device to a prepared run of every method over three batches, made once."""

    @cache
    def make(device: torch.device) -> Prepared:
        with pretended_cuda() if device == CUDA else nullcontext():
            return prepared_on(device, place, of_embedded(), limit=3 * BATCH)

    return make


@pytest.fixture(scope="session")
def prepared_for(
    prepared: Callable[[torch.device], Prepared], place: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[torch.device, str], Prepared]:
    """Return a function from a device and a method to a prepared run with it, over a teacher that has what it needs."""
    folder = tmp_path_factory.mktemp("network")

    @cache
    def with_batch_norm(device: torch.device) -> Prepared:
        with pretended_cuda() if device == CUDA else nullcontext():
            options = {"teacher": batch_norm_weights(folder), "classifier": "prototypes", "limit": 3 * BATCH}
            return prepared_on(device, place, sorted(NEED_BATCH_NORM), **options)

    return lambda device, name: with_batch_norm(device) if name in NEED_BATCH_NORM else prepared(device)
