"""Before any work is sent, every node is asked whether it has what the run is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apm_tta.errors import UserError, describe_error
from apm_tta.harness.compute.cluster import node_side
from apm_tta.harness.compute.cluster.placement import Node
from apm_tta.harness.progress.events import Emit, Note
from apm_tta.wording import pluralise

_REPLY_S = 300.0
"""A node may have to read torch over a network first."""


def ask(module: Any, nodes: Sequence[Node], arguments: tuple[Any, ...], emit: Emit) -> int | None:
    """Ask every node for its version of the package and for the data; nodes that are lost meanwhile are left out.

    Args:
        module: Ray's.
        nodes: that take part.
        arguments: of ``node_side.examine``.
        emit: gets a line for each node that differs.

    Returns:
        The bytes of the smallest GPU; None where no node knows.

    Raises:
        UserError: when a node differs, or does not reply.
    """
    on_node = module.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    examine = module.remote(num_cpus=0, max_retries=0)(node_side.examine)
    asked = {
        examine.options(scheduling_strategy=on_node(node.id, soft=False)).remote(*arguments): node for node in nodes
    }
    replied, silent = module.wait(list(asked), num_returns=len(asked), timeout=_REPLY_S)
    lines = [f"{asked[each].name}: no reply within {_REPLY_S:.0f} s" for each in silent]
    sizes = []
    for each in replied:
        try:
            differences, smallest = module.get(each)
        except (module.exceptions.NodeDiedError, module.exceptions.TaskUnschedulableError):
            continue
        except module.exceptions.RayError as error:
            differences, smallest = [describe_error(error)], None
        lines += [f"{asked[each].name}: {difference}" for difference in differences]
        sizes += [] if smallest is None else [smallest]
    if lines:
        for line in lines:
            emit(Note(f"Ray node {line}"))
        others = f"; {pluralise(len(lines) - 1, 'other line')} of this kind in run.log" if lines[1:] else ""
        raise UserError(f"not every Ray node can compute this run, and nothing was sent: node {lines[0]}{others}")
    return min(sizes, default=None)
