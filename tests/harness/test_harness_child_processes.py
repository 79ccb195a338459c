"""Processes that work for a run: their results in order, and one line where one of them is lost, however it is lost."""

from __future__ import annotations

import os
import pickle
import signal
import time
from multiprocessing.context import BaseContext
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from apm_tta.data.dataset import open_dataset
from apm_tta.data.sample import CLEAN
from apm_tta.errors import UserError
from apm_tta.harness.compute.ahead import results_ahead
from apm_tta.harness.compute.child_processes import CannotStart, Child, Lost, packed
from apm_tta.harness.compute.loading import load
from apm_tta.harness.compute.quiet_processes import quiet_context
from apm_tta.methods.batch import CommonKey
from apm_tta.methods.preparation import Preparation, Prepare
from apm_tta.system.stop_signals import STOP_SIGNALS, Stopped, stoppable

BIG = 1 << 20
"""Bytes, more than a pipe holds: whoever sends them waits in the middle of a message."""


@pytest.fixture
def fork() -> BaseContext:
    return quiet_context("fork")


def nothing() -> None:
    """Do nothing."""


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]


def big(number: int) -> bytes:
    return bytes([number]) * BIG


def killed_at_three(number: int) -> bytes:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return big(number)


def signalled(number: int) -> int:
    for each in STOP_SIGNALS:
        os.kill(os.getpid(), each)
    return number


def refused_at_two(number: int) -> int:
    if number == 2:
        raise UserError("two is not allowed")
    return number


@pytest.mark.parametrize("processes", [1, 3, 9])
def test_results_come_in_order_and_no_process_stays(fork: BaseContext, processes: int) -> None:
    before = children()
    assert list(results_ahead(big, range(7), processes, fork, nothing)) == [big(number) for number in range(7)]
    assert children() == before


def test_a_process_that_is_killed_is_noticed(fork: BaseContext) -> None:
    with pytest.raises(Lost, match="it was killed by SIGKILL"):
        list(results_ahead(killed_at_three, range(8), 2, fork, nothing))


def test_a_process_that_is_killed_in_the_middle_of_a_message_is_noticed(fork: BaseContext) -> None:
    """It has sent as much as the pipe holds; whoever reads gets that, and would wait for the rest for ever."""
    before = children()
    results = results_ahead(big, range(4), 2, fork, nothing)
    assert next(results) == big(0)
    started = [child for child in children() if child not in before]
    time.sleep(0.3)
    for child in started:
        child.kill()
    with pytest.raises(Lost, match="SIGKILL"):
        list(results)
    assert children() == before


def test_stop_signals_do_not_reach_a_process(fork: BaseContext) -> None:
    """As ``scancel`` and a closed terminal send them to all processes of a job; the first one decides."""
    assert list(results_ahead(signalled, range(4), 2, fork, nothing)) == [0, 1, 2, 3]


def test_what_goes_wrong_with_an_item_is_raised_in_its_place(fork: BaseContext) -> None:
    results = results_ahead(refused_at_two, range(4), 2, fork, nothing)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(UserError, match="two is not allowed"):
        next(results)


def test_results_that_are_not_asked_for_any_more_leave_no_process(fork: BaseContext) -> None:
    before = children()
    results = results_ahead(big, range(8), 2, fork, nothing)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert children() == before


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_tensors_arrive_as_they_were_and_can_be_written(kind: torch.dtype) -> None:
    sent = torch.arange(12).reshape(3, 4).T.to(kind)
    content, arrays = packed({"pixels": sent})
    got = pickle.loads(content, buffers=[bytearray(array) for array in arrays])["pixels"]
    assert (got.dtype, got.shape) == (kind, (4, 3))
    assert torch.equal(got, sent)
    got[0, 0] = 0


def prepared_by(make: Prepare) -> list[Preparation]:
    return [Preparation(CommonKey("sample", ()), make)]


def killed(sample_id: str, image: Image.Image) -> torch.Tensor:
    os.kill(os.getpid(), signal.SIGKILL)
    return torch.zeros(1)


def counted(sample_id: str, image: Image.Image) -> torch.Tensor:
    return torch.tensor([float(np.asarray(image).sum())])


def test_a_loading_process_that_dies_ends_the_run_in_one_line() -> None:
    """As the system kills it where memory runs out."""
    dataset = open_dataset("fashion-mnist", limit=10)
    places = [(CLEAN, entry) for entry in dataset.entries(CLEAN)]
    with pytest.raises(UserError, match="a loading process was lost: it was killed, or ran out of memory; give it"):
        list(load(dataset, places, 5, prepared_by(killed), workers=2))


def test_where_no_process_can_be_started_images_are_loaded_in_turn(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    dataset = open_dataset("fashion-mnist", limit=10)
    places = [(CLEAN, entry) for entry in dataset.entries(CLEAN)]
    expected = [each.prepared[0][0] for each in load(dataset, places, 4, prepared_by(counted))]
    monkeypatch.setattr(os, "fork", refuse)
    monkeypatch.setattr("apm_tta.harness.compute.loading.quiet_context", lambda: quiet_context("fork"))
    found = [each.prepared[0][0] for each in load(dataset, places, 4, prepared_by(counted), workers=2)]
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert [record.getMessage() for record in caplog.records] == [
        "no loading processes can be started (Resource temporarily unavailable): images are loaded in turn"
    ]
    with pytest.raises(CannotStart):
        Child(quiet_context("fork"), print)


def test_processes_need_no_shared_memory(fork: BaseContext) -> None:
    before = set(Path("/dev/shm").iterdir()) if Path("/dev/shm").is_dir() else set()
    during = []
    for result in results_ahead(big, range(3), 2, fork, nothing):
        during.append(result)
        assert set(Path("/dev/shm").iterdir()) <= before or not before
    assert len(during) == 3


def test_a_signal_while_a_process_is_started_leaves_none(monkeypatch: pytest.MonkeyPatch, fork: BaseContext) -> None:
    """It comes when the process is there and nobody knows of it yet: the end of the interpreter would wait for it."""
    before, start = children(), fork.Process.start  # type: ignore[attr-defined]

    def start_and_stop(process: object) -> None:
        start(process)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(fork.Process, "start", start_and_stop)  # type: ignore[attr-defined]
    with stoppable(), pytest.raises(Stopped):
        list(results_ahead(big, range(4), 2, fork, nothing))
    assert children() == before
