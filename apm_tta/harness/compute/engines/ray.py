"""Compute shards as tasks of Ray, on one machine or on a cluster.

Results come back through Ray's object store, so that no folder has to be shared; a task whose worker dies is run again.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

from apm_tta.devices import AUTO, resolve_device, share_cores
from apm_tta.errors import UserError
from apm_tta.harness.compute.engines.base import ENGINES
from apm_tta.harness.compute.job import Job
from apm_tta.harness.compute.sendable_error import sendable
from apm_tta.harness.compute.worker import Worker
from apm_tta.harness.plan import Cell, Work
from apm_tta.harness.progress.events import Answered, Emit, Event, Finished
from apm_tta.harness.progress.logged_notes import LoggedNotes
from apm_tta.system.cores import usable_threads
from apm_tta.system.standard_streams import errors_dropped
from apm_tta.system.stop_signals import Stopped, handlers_kept

LOCAL = "local"
_CONNECT_S = 5.0
_SETTINGS = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's own next default; it warns otherwise
    # One attempt at a cluster, of half a minute in all; left to itself Ray tries 20 times.
    "RAY_NUM_REDIS_GET_RETRIES": "1",
    "RAY_py_gcs_connect_timeout_s": "15",
}
_RETRIES = 3
_OBJECT_STORE_BYTES = 200_000_000
"""Of a Ray that is started here: what waits in it are records of single shards."""


@ENGINES.register("ray")
def ray(work: Sequence[Work], job: Job, emit: Emit) -> None:
    """Compute ``work`` as tasks, each with its share of a GPU where there are GPUs, else with one core.

    Raises:
        UserError: before Ray starts, when a method cannot be sent; when Ray is not installed, no cluster replies, a
            shard's worker died repeatedly, or a worker would compute other numbers.
    """
    if job.request.device_names not in ((AUTO,), ("cpu",), ("cuda",)):
        raise UserError("Ray gives every task its own device; --devices is auto, cpu or cuda", exit_code=2)
    packed = job.packed()
    module = _started(job)
    try:
        resources, threads = _resources(module, job)
        compute = module.remote(max_retries=_RETRIES, **resources)(_compute)
        sent = module.put(packed)
        waiting = [compute.remote(sent, unit, threads) for unit in work]
        while waiting:
            ready, waiting = module.wait(waiting, num_returns=1)
            for event in _result(module, ready[0]):
                emit(event)
    finally:
        module.shutdown()


def _started(job: Job) -> Any:
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray as module
    except ModuleNotFoundError:
        raise UserError("engine ray needs Ray: python -m pip install 'apm-tta[ray]'") from None
    address = job.request.ray
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        # Ray sets its own handlers, and prints each of its attempts.
        with handlers_kept(), errors_dropped():
            if address == LOCAL:
                module.init(include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES, **quiet)
            else:
                _refuse_closed_port(address)
                module.init(address=address, **quiet)
    except SystemExit:  # of its handler
        raise Stopped(signal.SIGTERM) from None
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"no Ray cluster at {address} ({reason}); start one, or give --ray local") from None
    return module


def _refuse_closed_port(address: str) -> None:
    """Find out at once where nobody listens; Ray tries for as long as it waits for a cluster that is busy.

    Raises:
        OSError: when no connection to the address can be made.
    """
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()


def _resources(module: Any, job: Job) -> tuple[dict[str, float], int]:
    """Return the resources of one task, and its number of threads."""
    cluster = module.cluster_resources()
    gpus, cores = cluster.get("GPU", 0), cluster.get("CPU", 1)
    (name,) = job.request.device_names
    if name == "cuda" and not gpus:
        raise UserError("the Ray cluster has no GPU; --devices is cpu, or auto", exit_code=2)
    if name == "cpu" or not gpus:
        return {"num_cpus": 1}, 1
    share = job.request.gpu_share
    threads = max(1, int(cores / gpus * share))
    return {"num_cpus": threads, "num_gpus": share}, threads


def _result(module: Any, reference: Any) -> list[Event]:
    try:
        events: list[Event] = module.get(reference)
    except module.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, Exception):  # Ray's own words are a traceback, which the log has
            raise cause from error
        raise
    except module.exceptions.RayError as error:
        reason = type(error).__name__
        raise UserError(f"a Ray worker was lost more than {_RETRIES} times ({reason})", passing=True) from error
    return events


class _Process:
    """What a worker process holds between two tasks of the same run."""

    packed: bytes | None = None
    worker: Worker | None = None
    heard: list[Event]


def _compute(packed: bytes, unit: Work, threads: int) -> list[Event]:
    """Compute ``unit``, and return what happened meanwhile: in sum, since nobody receives it before it is done."""
    try:
        if _Process.worker is None or packed != _Process.packed:
            if _Process.worker is not None:
                _Process.worker.close()
            _Process.worker = _build(packed, threads)
            _Process.packed = packed
        _Process.heard.clear()
        finished = _Process.worker.compute(unit)
    except Exception as error:
        raise sendable(error) from error
    return [*_summed(_Process.heard), finished]


def _build(packed: bytes, threads: int) -> Worker:
    processes = max(1, usable_threads() // threads)
    share_cores(processes)
    _Process.heard = []
    logging.getLogger("apm_tta").addHandler(LoggedNotes(_hear))
    job = Job.unpacked(packed)
    name = job.request.device_names[0]
    device = resolve_device(name) if name != "cuda" else torch.device("cuda")
    return job.worker(device, _hear, processes)


def _hear(event: Event) -> None:
    _Process.heard.append(event)


def _summed(events: Sequence[Event]) -> list[Event]:
    images: Counter[Cell] = Counter()
    right: Counter[Cell] = Counter()
    others: list[Event] = []
    for event in events:
        if isinstance(event, Answered):
            images[event.cell] += event.images
            right[event.cell] += event.right
        elif not isinstance(event, Finished):
            others.append(event)
    return [*others, *(Answered(cell, count, right[cell]) for cell, count in images.items())]
