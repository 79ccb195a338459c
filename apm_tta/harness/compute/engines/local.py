"""Compute in one process per device of this machine; the cores are divided among them."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Sequence
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from threading import Lock
from typing import Any

import torch

from apm_tta.devices import share_cores
from apm_tta.errors import UserError
from apm_tta.harness.compute.child_processes import CannotStart, Child, Lost, ended
from apm_tta.harness.compute.engines.base import ENGINES
from apm_tta.harness.compute.job import Job
from apm_tta.harness.compute.quiet_processes import quiet_context
from apm_tta.harness.compute.sendable_error import sendable
from apm_tta.harness.compute.worker import Worker
from apm_tta.harness.plan import Work, spread
from apm_tta.harness.progress.events import Emit, Finished
from apm_tta.harness.progress.logged_notes import LoggedNotes


@ENGINES.register("local")
def local(work: Sequence[Work], job: Job, emit: Emit) -> None:
    """Compute ``work`` in as many processes as there are devices; a process takes the next unit when it is free.

    Raises:
        UserError: before any process starts, when a method cannot be sent to it; when a process is lost, or finds that
            it would compute other numbers.
    """
    devices, packed = job.request.devices, job.packed()
    work = spread(work, len(devices))
    context = quiet_context("spawn")  # a forked process could not use CUDA
    loading = quiet_context().get_start_method()
    children: list[Child] = []
    try:
        with ended(children):
            for device in devices[: len(work)]:
                # As bytes: what cannot be unpickled in the arguments ends the process without a word.
                children.append(Child(context, _serve, packed, str(device), len(devices), loading))
            _share_out(work, job, children, emit)
    except Lost as lost:
        raise UserError("a worker process was lost: it was killed, or ran out of memory", passing=True) from lost
    except CannotStart as error:
        raise UserError(f"no worker process can be started ({error})", passing=True) from None


def _share_out(work: Sequence[Work], job: Job, children: Sequence[Child], emit: Emit) -> None:
    """Give every process a unit, and another one whenever it has finished; emit what happens meanwhile."""
    waiting = list(reversed(work))
    busy = {child.pipe: child for child in children}

    def give(child: Child) -> None:
        unit = waiting.pop()
        child.send((unit, job.checkpoint(unit)))

    for child in children:
        give(child)
    while busy:
        for pipe in wait_for(list(busy)):
            child = busy[pipe]  # type: ignore[index]
            event = child.receive()
            if isinstance(event, Exception):
                raise event
            emit(event)
            if isinstance(event, Finished):
                if waiting:
                    give(child)
                else:
                    del busy[child.pipe]


def _serve(pipe: Connection, packed: bytes, device: str, processes: int, loading: str) -> None:
    # Of a process that was itself started anew, loading processes would be too: seconds of imports, for every shard.
    multiprocessing.set_start_method(loading, force=True)
    share_cores(processes)
    emit = partial(_send, pipe, Lock())
    logging.getLogger("apm_tta").addHandler(LoggedNotes(emit))
    worker: Worker | None = None
    while True:
        unit, checkpoint = pipe.recv()
        try:
            worker = worker or Job.unpacked(packed).worker(torch.device(device), emit, processes)
            finished: Finished | Exception = worker.compute(unit, None, checkpoint)
        except Exception as error:
            finished = sendable(error)
        emit(finished)


def _send(pipe: Connection, lock: Any, content: Any) -> None:
    with lock:  # what is logged comes from any thread
        pipe.send(content)
