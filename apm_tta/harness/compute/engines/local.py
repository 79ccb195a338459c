"""Compute in one process per device of this machine; the cores are divided among them."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.connection import wait as wait_for
from multiprocessing.queues import SimpleQueue

import torch

from apm_tta.devices import share_cores
from apm_tta.errors import UserError
from apm_tta.harness.compute.engines.base import ENGINES
from apm_tta.harness.compute.job import Job
from apm_tta.harness.compute.quiet_processes import quiet_context
from apm_tta.harness.compute.sendable_error import sendable
from apm_tta.harness.compute.worker import Worker
from apm_tta.harness.plan import Work
from apm_tta.harness.progress.events import Emit, Event, Finished
from apm_tta.harness.progress.logged_notes import LoggedNotes

_POLL_S = 0.2


@ENGINES.register("local")
def local(work: Sequence[Work], job: Job, emit: Emit) -> None:
    """Compute ``work`` in as many processes as there are devices; a process takes the next unit when it is free.

    Raises:
        UserError: before any process starts, when a method cannot be sent to it; when a process is lost, or finds that
            it would compute other numbers.
    """
    devices, packed = job.request.devices, job.packed()
    context = quiet_context("spawn")  # a forked process could not use CUDA
    places: SimpleQueue[str] = context.SimpleQueue()
    for device in devices:
        places.put(str(device))
    events: SimpleQueue[Event] = context.SimpleQueue()
    # As bytes: what cannot be unpickled in an initialiser's arguments ends the process without a word.
    initial = (packed, places, events, len(devices), quiet_context().get_start_method())
    pool = ProcessPoolExecutor(len(devices), context, initializer=_begin, initargs=initial)
    try:
        waiting = {pool.submit(_compute, unit) for unit in work}
        while waiting:
            waiting = _hear(waiting, events, emit)
    except BrokenProcessPool as error:
        raise UserError("a worker process was lost: it was killed, or ran out of memory", passing=True) from error
    finally:
        for child in multiprocessing.active_children():
            child.terminate()
        pool.shutdown(cancel_futures=True)


def _hear(waiting: set[Future[Finished]], events: SimpleQueue[Event], emit: Emit) -> set[Future[Finished]]:
    """Emit what has happened since, and return what is still to be waited for."""
    done, waiting = wait(waiting, timeout=_POLL_S, return_when=FIRST_COMPLETED)
    while not events.empty():
        emit(events.get())
    for future in done:
        emit(future.result())
    return waiting


class _Process:
    """What a worker process holds between two units of work."""

    build: Callable[[], Worker]
    worker: Worker | None = None


def _begin(packed: bytes, places: SimpleQueue[str], events: SimpleQueue[Event], processes: int, loading: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the first one decides
    # Of a process that was itself started anew, loading processes would be too: seconds of imports, for every shard.
    multiprocessing.set_start_method(loading, force=True)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    share_cores(processes)
    logging.getLogger("apm_tta").addHandler(LoggedNotes(events.put))
    _Process.build = partial(_build, packed, torch.device(places.get()), events.put, processes)


def _build(packed: bytes, device: torch.device, emit: Emit, processes: int) -> Worker:
    return Job.unpacked(packed).worker(device, emit, processes)


def _compute(unit: Work) -> Finished:
    try:
        # Not in _begin: what an initialiser raises never reaches the caller.
        _Process.worker = _Process.worker or _Process.build()
        return _Process.worker.compute(unit)
    except Exception as error:
        raise sendable(error) from error


def _end_with_parent() -> None:
    """End with the process that was asked for the run: one that is killed leaves no process behind."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)
