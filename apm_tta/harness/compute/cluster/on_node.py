"""What a worker process of a cluster does, once its package is known to be that of whoever asked for the run."""

from __future__ import annotations

import logging
import math
import os
import pickle
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import torch

from apm_tta.data.data_root import VARIABLE, resolve_data_root
from apm_tta.data.image_digests import ImageDigests
from apm_tta.devices import resolve_device, use_threads
from apm_tta.errors import UserError
from apm_tta.harness.compute.content import hash_stored
from apm_tta.harness.compute.job import Job, OtherNumbers
from apm_tta.harness.compute.prepare import open_data
from apm_tta.harness.compute.sendable_error import sendable
from apm_tta.harness.compute.worker import Worker
from apm_tta.harness.plan import Cell, Work
from apm_tta.harness.progress.events import Answered, Event
from apm_tta.harness.progress.logged_notes import LoggedNotes
from apm_tta.harness.storage.checkpoint import Checkpoint
from apm_tta.system.cores import usable_cores
from apm_tta.wording import first_few, pluralise

_IMAGES = 16
"""Images whose content is compared before any work is sent; every image is, when it is read."""
_EVERY_S = 1.0
"""How often answers are told, in sum: a batch of a fast method takes milliseconds."""
_ADJUSTABLE = 0.5
"""Share of a task's GPU memory for what is adjustable, as of a GPU's free memory where a process has all of it."""


class _Process:
    """What a worker process holds between two tasks of the same run."""

    job: str | None = None
    worker: Worker | None = None
    heard: list[Event]


def unpacked(packed: bytes, own_root: bool) -> Job:
    """Return the job as this node computes it.

    Args:
        packed: the job.
        own_root: whether the data root came from ``APM_TTA_DATA_ROOT``: then a node's own one comes first.
    """
    job = Job.unpacked(packed)
    request = job.request
    if not (own_root and os.environ.get(VARIABLE)):
        return job
    foreign = request.foreign
    if foreign is not None:
        foreign = foreign[0], resolve_data_root(foreign[0], None)
    return replace(job, request=replace(request, data_root=resolve_data_root(request.card, None), foreign=foreign))


def data_differences(packed: bytes, own_root: bool) -> list[str]:
    """Say what this node's data set has in place of the run's images: other names or labels, or other content."""
    try:
        job = unpacked(packed, own_root)
        if job.numbers is None or job.digests is None:
            return []
        request, dataset = job.request, open_data(job.request)
        where = f"below {request.data_root}"
        if dataset.fingerprint(request.conditions) != job.numbers.dataset.fingerprint:
            return [f"it has other images or labels {where}"]
        ids = list(job.digests.by_id)
        chosen = ids[:: -(-len(ids) // _IMAGES)] if ids else []
        found = hash_stored(dataset, chosen, len(chosen))
    except UserError as error:
        return [str(error)]
    other = [each for each in chosen if _is_other(job.digests, found, each)]
    images = pluralise(len(chosen), "image")
    return [f"{len(other)} of {images} {where} have other content: {first_few(other)}"] if other else []


def refuse_other_data(packed: bytes, own_root: bool) -> None:
    """Compare this node's data set with the run's images.

    Raises:
        OtherNumbers: saying what it has in place of them.
    """
    if found := data_differences(packed, own_root):
        raise OtherNumbers("; ".join(found))


def holds(job: str) -> bool:
    """Return whether this process has computed units of the job with this digest, and would go on without it."""
    return _Process.worker is not None and _Process.job == job


def _is_other(digests: ImageDigests, found: ImageDigests, sample_id: str) -> bool:
    return digests.expected(sample_id) not in (None, found.by_id[sample_id])


def events_of(
    job: str, packed: bytes | None, work: bytes, own_root: bool, cores: int, gpus: float
) -> Iterator[list[Event]]:
    """Compute a unit of work, and yield what happens meanwhile: the last event is its ``Finished``.

    Args:
        job: digest of the job.
        packed: the job; None where this process ``holds`` it.
        work: the unit and its checkpoint, pickled.
        own_root: see ``unpacked``.
        cores: of this task.
        gpus: likewise; below 1 for a share of one.
    """
    try:
        if packed is not None:
            if _Process.worker is not None:
                _Process.worker.close()
                _Process.worker = None
            _Process.worker = _build(unpacked(packed, own_root), cores, gpus)
            _Process.job = job
        assert _Process.worker is not None
        yield from _told(_Process.worker, *pickle.loads(work))
    except Exception as error:
        raise sendable(error) from error


def _told(worker: Worker, work: Work, checkpoint: Checkpoint | None) -> Iterator[list[Event]]:
    told = -math.inf  # the first batch is a sign of life
    for finished in worker.steps(work, None, checkpoint):
        if finished is not None:
            yield [*_drained(), finished]
        elif time.monotonic() - told >= _EVERY_S:
            yield _drained()
            told = time.monotonic()


def _build(job: Job, cores: int, gpus: float) -> Worker:
    use_threads(cores)
    _Process.heard = []
    logging.getLogger("apm_tta").addHandler(LoggedNotes(_hear))
    (name,) = job.request.device_names
    device = resolve_device(name)
    if device.type == "cuda" and 0 < gpus < 1:
        # Each within its share: one that needs more takes smaller batches, and not a neighbour's memory.
        torch.cuda.set_per_process_memory_fraction(gpus)
        if job.request.memory is None:
            share = gpus * torch.cuda.get_device_properties(device).total_memory
            job = replace(job, request=replace(job.request, memory=int(_ADJUSTABLE * share)))
    return job.worker(device, _hear, max(1, usable_cores() // cores))


def _hear(event: Event) -> None:
    _Process.heard.append(event)


def _drained() -> list[Event]:
    """Return what was heard, the answers of each cell in sum."""
    images: Counter[Cell] = Counter()
    right: Counter[Cell] = Counter()
    others: list[Event] = []
    for event in _Process.heard:
        if isinstance(event, Answered):
            images[event.cell] += event.images
            right[event.cell] += event.right
        else:
            others.append(event)
    _Process.heard.clear()
    return [*others, *(Answered(cell, count, right[cell]) for cell, count in images.items())]
