"""A process for each device of this machine; the cores are divided among them."""

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
from apm_tta.harness.compute.worker import Worker
from apm_tta.harness.plan import Work
from apm_tta.harness.progress.events import Emit, Event, Finished
from apm_tta.harness.progress.logged_notes import LoggedNotes

_POLL_S = 0.2


@ENGINES.register("local")
def local(work: Sequence[Work], job: Job, emit: Emit) -> None:
    """Computes ``work`` in as many processes as there are devices; a process takes the next unit when it is free.

    Raises:
        UserError: when a process is lost, or finds that it would compute other numbers.
    """
    devices = job.request.devices
    context = multiprocessing.get_context("spawn")  # a forked process could not use CUDA
    places: SimpleQueue[str] = context.SimpleQueue()
    for device in devices:
        places.put(str(device))
    events: SimpleQueue[Event] = context.SimpleQueue()
    pool = ProcessPoolExecutor(len(devices), context, initializer=_begin, initargs=(job, places, events, len(devices)))
    try:
        waiting = {pool.submit(_compute, unit) for unit in work}
        while waiting:
            waiting = _hear(waiting, events, emit)
    except BrokenProcessPool as error:
        raise UserError("a worker process was lost: it was killed, or ran out of memory") from error
    finally:
        for child in multiprocessing.active_children():
            child.terminate()
        pool.shutdown(cancel_futures=True)


def _hear(waiting: set[Future[Finished]], events: SimpleQueue[Event], emit: Emit) -> set[Future[Finished]]:
    """Passes on what has happened since; what is still to be waited for."""
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


def _begin(job: Job, places: SimpleQueue[str], events: SimpleQueue[Event], processes: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the first one decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    share_cores(processes)
    logging.getLogger("apm_tta").addHandler(LoggedNotes(events.put))
    _Process.build = partial(job.worker, torch.device(places.get()), events.put, processes)


def _compute(unit: Work) -> Finished:
    # Not in _begin: what an initialiser raises never reaches the caller.
    _Process.worker = _Process.worker or _Process.build()
    return _Process.worker.compute(unit)


def _end_with_parent() -> None:
    """A run that is killed leaves no process behind that goes on for nobody."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)
