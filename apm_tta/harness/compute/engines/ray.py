"""Compute shards as tasks of Ray, on one machine or on a cluster.

What happens comes back through Ray's object store while a task runs, so that no folder has to be shared. A unit whose
node is lost is computed again, however often, and so is one whose worker dies, up to a limit. A node that joins later
and differs is sent nothing more.
"""

from __future__ import annotations

import hashlib
import pickle
import sys
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from apm_tta.data.data_root import resolve_data_root
from apm_tta.devices import AUTO
from apm_tta.errors import UserError, describe_error
from apm_tta.harness.compute.cluster import node_side
from apm_tta.harness.compute.cluster.asked_nodes import ask
from apm_tta.harness.compute.cluster.placement import elsewhere, living_nodes, place, taking_part
from apm_tta.harness.compute.cluster.session import connected
from apm_tta.harness.compute.engines.base import ENGINES
from apm_tta.harness.compute.job import Job, OtherNumbers
from apm_tta.harness.plan import Cell, Work, spread
from apm_tta.harness.progress.events import Answered, Emit, Event, Finished, Note, work_name
from apm_tta.harness.request.run_request import RunRequest
from apm_tta.harness.storage.code_identity import source_sha256
from apm_tta.wording import first_few, pluralise

_CRASHES = 3
"""How often a unit may kill its worker; a node that is lost is no fault of the unit's."""
_EVERY_S = 0.2
"""How often whatever has arrived is looked at, together: of thousands of tasks that is work."""


@ENGINES.register("ray")
def ray(work: Sequence[Work], job: Job, emit: Emit) -> None:
    """Compute ``work`` as tasks, each with its share of a GPU where there are GPUs, else with one core.

    Raises:
        UserError: before Ray starts, when a method cannot be sent; before any work is sent, when a node has another
            version of the package, or other data; when Ray is not installed, no cluster replies, no node is left that
            would compute the same numbers, or, after everything else was computed, for units that killed their workers.
    """
    request = job.request
    if request.device_names not in ((AUTO,), ("cpu",), ("cuda",)):
        raise UserError("Ray gives every task its own device; --devices is auto, cpu or cuda", exit_code=2)
    packed = job.packed()
    with connected(request.ray, request.ship) as module:
        module.cloudpickle.register_pickle_by_value(sys.modules[node_side.__name__])
        nodes = taking_part(living_nodes(module), request.device_names[0])
        sha256, own_root = source_sha256(), _root_is_environments(request)
        sent, digest = [module.put(packed)], hashlib.sha256(packed).hexdigest()
        placement = place(nodes, request, ask(module, nodes, (sha256, sent, own_root), emit))
        compute = module.remote(num_returns="streaming", max_retries=0, **placement.options)(node_side.compute)

        asked = frozenset(node.id for node in nodes)

        def send(unit: Work, left_out: Collection[str]) -> Any:
            begun = [module.put(pickle.dumps((unit, job.checkpoint(unit))))]
            task = compute.options(**elsewhere(module, left_out))
            return task.remote(sha256, digest, sent, begun, own_root, asked, placement.cores, placement.gpus)

        _compute_all(module, send, spread(work, placement.at_once(nodes)), request.device_names[0], emit)


def _root_is_environments(request: RunRequest) -> bool:
    """Return whether the data root came from ``APM_TTA_DATA_ROOT``, of which a node may have its own."""
    return request.data_root is not None and request.data_root == resolve_data_root(request.card, None)


@dataclass
class _Unit:
    """A unit of work on its way.

    Attributes:
        work: the unit.
        place: name and id of the node that computes it; empty before it says so.
        crashes: how often its worker died.
        told: the answers of each cell that were told, and those of this attempt.
        now: likewise, of this attempt.
    """

    work: Work
    place: tuple[str, str] = ("", "")
    crashes: int = 0
    told: Counter[tuple[Cell, str]] = field(default_factory=Counter)
    now: Counter[tuple[Cell, str]] = field(default_factory=Counter)

    def again(self) -> None:
        """Begin another attempt."""
        self.place = "", ""
        self.now.clear()

    def untold(self, event: Event) -> Event | None:
        """Return the event without answers that an earlier attempt told; None where nothing is left."""
        if not isinstance(event, Answered):
            return event
        images, right = (event.cell, "images"), (event.cell, "right")
        self.now[images] += event.images
        self.now[right] += event.right
        more = self.now[images] - self.told[images]
        if more <= 0:
            return None
        found = replace(event, images=more, right=self.now[right] - self.told[right])
        self.told[images], self.told[right] = self.now[images], self.now[right]
        return found


def _compute_all(
    module: Any, send: Callable[[Work, Collection[str]], Any], work: Sequence[Work], device: str, emit: Emit
) -> None:
    """Send every unit, receive what happens, and send again what was lost.

    Args:
        module: Ray's.
        send: a unit to any node but for those with these ids.
        work: the units.
        device: as requested.
        emit: gets what happens.

    Raises:
        UserError: for what a worker raised; when no node is left that can compute the run; at the end, for units that
            killed their workers too often.
    """
    left_out: set[str] = set()
    waiting = {send(unit, left_out): _Unit(unit) for unit in work}
    given_up: list[_Unit] = []
    while waiting:
        ready, _ = module.wait(list(waiting), num_returns=len(waiting), timeout=_EVERY_S)
        for stream in ready:
            unit = waiting[stream]
            try:
                received = module.get(next(stream))
            except module.exceptions.RayTaskError as error:
                del waiting[stream]
                _leave_out(module, unit, error, left_out, device, emit)
                unit.again()
                waiting[send(unit.work, left_out)] = unit
                continue
            except module.exceptions.RayError as error:
                del waiting[stream]
                _note_loss(module, unit, error, emit)
                if unit.crashes < _CRASHES:
                    unit.again()
                    waiting[send(unit.work, left_out)] = unit
                else:
                    given_up.append(unit)
                continue
            if isinstance(received, tuple):
                unit.place = received
                continue
            for event in received:
                if (untold := unit.untold(event)) is not None:
                    emit(untold)
                if isinstance(event, Finished):
                    del waiting[stream]
    if given_up:
        units = pluralise(len(given_up), "shard or stream", "shards and streams")
        named = first_few([f"{work_name(unit.work)} last on {unit.place[0] or 'an unknown node'}" for unit in given_up])
        raise UserError(
            f"{units} killed the worker {_CRASHES} times, all others are computed: {named}",
            advice="give workers more memory, or a smaller --batch-size",
            passing=True,
        )


def _note_loss(module: Any, unit: _Unit, error: Exception, emit: Emit) -> None:
    """Count and note what a unit was lost with.

    Raises:
        UserError: when it is neither a worker nor a node: then the cluster does not work.
    """
    errors, (name, node) = module.exceptions, unit.place
    crashed = isinstance(error, errors.WorkerCrashedError | errors.OutOfMemoryError)
    if isinstance(error, errors.NodeDiedError | errors.ObjectLostError) or (crashed and not _lives(module, node)):
        emit(Note(f"Ray node {name or 'unknown'} was lost: what it computed is computed again"))
        return
    if not crashed:
        raise UserError(f"the Ray cluster does not work ({describe_error(error)})", passing=True) from error
    unit.crashes += 1
    reason = "memory ran out" if isinstance(error, errors.OutOfMemoryError) else "it crashed, or was killed"
    emit(Note(f"a worker on {name or 'an unknown node'} died of {work_name(unit.work)} ({reason})"))


def _lives(module: Any, node: str) -> bool:
    """Return whether a node lives; of a worker that died before it said where it was, nobody knows another reason."""
    return not node or any(each.id == node for each in living_nodes(module))


def _leave_out(module: Any, unit: _Unit, error: Any, left_out: set[str], device: str, emit: Emit) -> None:
    """Send nothing more to the node of a unit, where the node differs from those that were asked.

    Args:
        module: Ray's.
        unit: that came back.
        error: Ray's, with what the task raised.
        left_out: ids of such nodes, to which this one is added.
        device: as requested.
        emit: gets a line about the node.

    Raises:
        Exception: what the task raised, in place of Ray's own words (these are a traceback, which the log has), where
            the node is not to blame.
        UserError: when no other node is left, or it is not known which one it was.
    """
    cause, (name, node) = error.cause, unit.place
    if not isinstance(cause, ImportError | OtherNumbers):
        raise (cause if isinstance(cause, Exception) else error) from error
    if not node:  # it could not be left out, and the unit would be sent to it again and again
        raise UserError(f"a Ray node that cannot say which one it is cannot compute this run: {cause}") from error
    left_out.add(node)
    if all(each.id in left_out for each in taking_part(living_nodes(module), device)):
        raise UserError(f"no Ray node is left that can compute this run: node {name}: {cause}", passing=True) from error
    emit(Note(f"Ray node {name} is sent nothing more: {cause}"))
