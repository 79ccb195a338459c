"""Which nodes are sent work, and what each task gets of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from apm_tta.api.run import resolve
from apm_tta.errors import UserError
from apm_tta.harness.compute.cluster.placement import Node, Placement, place, taking_part

HEAD = Node("h", "head (10.0.0.1)", 64.0, 0.0)
SMALL = Node("s", "small (10.0.0.2)", 8.0, 4.0)
LARGE = Node("l", "large (10.0.0.3)", 64.0, 8.0)
IDLE = Node("i", "idle (10.0.0.4)", 0.0, 0.0)
GIB = 2**30


def placed(nodes: list[Node], smallest: int | None = None, **options: float | str) -> Placement:
    request = resolve("demo", {"quiet": True, **{name: each for name, each in options.items() if name != "devices"}})
    request = replace(request, device_names=(str(options.get("devices", "auto")),))
    return place(taking_part(nodes, request.device_names[0]), request, smallest)


def test_without_gpus_a_task_is_one_core_of_any_node_that_offers_one() -> None:
    assert taking_part([HEAD, IDLE], "auto") == [HEAD]
    assert placed([HEAD, IDLE]) == Placement(1, 0.0)
    assert placed([HEAD, SMALL], devices="cpu") == Placement(1, 0.0)
    assert Placement(1, 0.0).options == {"num_cpus": 1}


def test_a_task_s_cores_are_beside_its_gpu_on_every_node() -> None:
    """A head with many cores and no GPU adds none, and the node with the fewest beside each GPU decides."""
    assert taking_part([HEAD, SMALL, LARGE], "auto") == [SMALL, LARGE]
    assert placed([HEAD, SMALL, LARGE]) == Placement(2, 1.0)
    assert placed([HEAD, LARGE]).options == {"num_cpus": 8, "num_gpus": 1.0}
    assert placed([LARGE], gpu_share=0.25) == Placement(2, 0.25)
    assert placed([LARGE], gpu_share=2) == Placement(16, 2.0)
    assert placed([SMALL], gpu_share=0.25) == Placement(1, 0.25), "a core at least"


def test_as_many_tasks_share_a_gpu_as_its_memory_holds() -> None:
    """Of what --memory grants and what a task takes beside it; a stated share comes first."""
    assert placed([LARGE], 80 * GIB, memory=18) == Placement(2, 0.25)
    assert placed([LARGE], 80 * GIB, memory=100) == Placement(8, 1.0)
    assert placed([LARGE], None, memory=18) == Placement(8, 1.0), "no node knows its GPU's memory"
    assert placed([LARGE], 80 * GIB) == Placement(8, 1.0)
    assert placed([LARGE], 80 * GIB, memory=18, gpu_share=0.5) == Placement(4, 0.5)


@pytest.mark.parametrize(("device", "message"), [("cuda", "has no GPU"), ("auto", "no node of the Ray cluster offers")])
def test_a_cluster_without_a_place_is_refused(device: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        taking_part([IDLE], device)
