"""Which nodes take part, and which share of a node each task gets."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from apm_tta.devices import AUTO
from apm_tta.errors import UserError
from apm_tta.harness.request.run_request import RunRequest

_BESIDE = 2 * 2**30
"""Bytes that a task takes of a GPU beside what ``--memory`` grants: CUDA's context, the teacher, images to come."""

_NODE_LABELS = ("ray.io/node-id", "ray.io/node_id")
"""Under which a node's id is one of its labels: Ray 2.40 wrote it with an underscore."""


@dataclass(frozen=True)
class Node:
    """A node of the cluster that lives.

    Attributes:
        id: Ray's.
        name: of its machine, with its address.
        cores: that it offers.
        gpus: likewise.
    """

    id: str
    name: str
    cores: float
    gpus: float


@dataclass(frozen=True)
class Placement:
    """What a task gets, all of it on one node: the cores of a GPU's loaders are beside it.

    Attributes:
        cores: for the teacher on a CPU; else for loading processes and for what feeds the GPU.
        gpus: 0 for none, below 1 for a share of one.
    """

    cores: int
    gpus: float

    @property
    def options(self) -> dict[str, float]:
        """The options of a Ray task."""
        return {"num_cpus": self.cores, **({"num_gpus": self.gpus} if self.gpus else {})}

    def at_once(self, nodes: Sequence[Node]) -> int:
        """Return how many tasks the nodes compute at the same time, at least 1."""
        room = (min(node.cores // self.cores, node.gpus // self.gpus if self.gpus else node.cores) for node in nodes)
        return max(1, int(sum(room)))


def living_nodes(module: Any) -> list[Node]:
    """Return the nodes of the cluster that live."""
    found = []
    for each in module.nodes():
        if each["Alive"]:
            offered = each["Resources"]
            name = f"{each['NodeManagerHostname']} ({each['NodeManagerAddress']})"
            found.append(Node(each["NodeID"], name, offered.get("CPU", 0.0), offered.get("GPU", 0.0)))
    return found


def taking_part(nodes: Sequence[Node], device: str) -> list[Node]:
    """Return the nodes that are sent work: those with a GPU where the run is for GPUs, else those with a core.

    Args:
        nodes: of the cluster.
        device: as requested: ``auto`` takes GPUs where there is one.

    Raises:
        UserError: when there are none. Exit code 2 where GPUs were requested.
    """
    with_gpus = [node for node in nodes if node.gpus > 0]
    if device == "cuda" and not with_gpus:
        raise UserError("the Ray cluster has no GPU; --devices is cpu, or auto", exit_code=2)
    if with_gpus and device in ("cuda", AUTO):
        return with_gpus
    if not (with_cores := [node for node in nodes if node.cores >= 1]):
        raise UserError("no node of the Ray cluster offers a core", passing=True)
    return with_cores


def elsewhere(module: Any, left_out: Collection[str]) -> dict[str, Any]:
    """Return the options of a Ray task that any node may get, but for those with these ids."""
    if not left_out:
        return {}
    strategies = module.util.scheduling_strategies
    others = {label: strategies.NotIn(*left_out) for label in _NODE_LABELS}
    return {"scheduling_strategy": strategies.NodeLabelSchedulingStrategy(hard=others)}


def place(nodes: Sequence[Node], request: RunRequest, smallest: int | None) -> Placement:
    """Decide what a task gets: one core, or its share of a GPU with as large a share of the cores beside it.

    Args:
        nodes: that take part.
        request: the run; ``gpu_share`` decides, else as many tasks share a GPU as its memory holds of what ``memory``
            grants to each.
        smallest: bytes of the smallest GPU; None where it is unknown.
    """
    (device,) = request.device_names
    if device == "cpu" or not all(node.gpus for node in nodes):
        return Placement(1, 0.0)
    share = request.gpu_share
    if share is None:
        share = 1.0
        if request.memory is not None and smallest is not None:
            share = 1 / max(1, smallest // (request.memory + _BESIDE))
    # Of the node with the fewest: a task that asked for more would never find a place there.
    return Placement(max(1, int(min(node.cores / node.gpus for node in nodes) * share)), share)
