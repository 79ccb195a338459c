"""What is lost on a cluster: nodes cost a unit nothing, workers one of three attempts; nothing is told twice."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import pytest

from apm_tta.data.sample import CLEAN
from apm_tta.errors import UserError
from apm_tta.harness.compute.engines.ray import _compute_all
from apm_tta.harness.compute.job import OtherNumbers
from apm_tta.harness.plan import EPISODIC, Cell, Shard, plan_shards
from apm_tta.harness.progress.events import Answered, Event, Finished, Note

pytest.importorskip("ray", reason="Ray is not installed")
from ray import exceptions

CELL = Cell("demo", CLEAN, "embedded", "zeroshot", 0, EPISODIC)
WORK = plan_shards([CELL], {CLEAN: 6}, 2)
Script = Callable[[Shard, int], Iterator[Any]]


class PretendedRay:
    """Of Ray's module what is asked of it: every task yields what a script says of its unit and its attempt."""

    exceptions = exceptions

    def __init__(self, script: Script) -> None:
        self._script = script
        self.attempts = dict.fromkeys(WORK, 0)
        self.left_out: set[str] = set()
        self.events: list[Event] = []

    def send(self, unit: Any, left_out: Collection[str]) -> Iterator[Any]:
        self.attempts[unit] += 1
        self.left_out = {*left_out}
        return self._script(unit, self.attempts[unit])

    def wait(self, waiting: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        return waiting, []

    def get(self, received: Any) -> Any:
        if isinstance(received, Exception):
            raise received
        return received

    def nodes(self) -> list[dict[str, Any]]:
        names = {"NodeManagerHostname": "host", "NodeManagerAddress": "10.0.0.1", "Resources": {"CPU": 1.0}}
        return [{"NodeID": each, "Alive": True, **names} for each in ("a", "b")]


def computed(module: PretendedRay) -> list[Event]:
    _compute_all(module, module.send, WORK, "cpu", module.events.append)
    return module.events


def whole(unit: Shard) -> Iterator[Any]:
    yield [Answered(CELL, 1, 1)]
    yield [Answered(CELL, 1, 0), Finished(unit, (), 1.0)]


def test_a_node_may_be_lost_any_number_of_times() -> None:
    """Also where only the records of a finished unit are lost with it; each node is told of."""
    errors = [exceptions.NodeDiedError("gone"), exceptions.ObjectLostError("00", b"", "")]

    def script(unit: Shard, attempt: int) -> Iterator[Any]:
        yield "host-1", "a"
        if unit.index == 1 and attempt <= 10:
            yield [Answered(CELL, 1, 1)]
            yield errors[attempt % 2]
        yield from whole(unit)

    module = PretendedRay(script)
    events = computed(module)
    assert module.attempts == {WORK[0]: 1, WORK[1]: 11, WORK[2]: 1}
    assert {each.work for each in events if isinstance(each, Finished)} == set(WORK)
    answered = [each for each in events if isinstance(each, Answered)]
    assert [sum(each.images for each in answered), sum(each.right for each in answered)] == [6, 3], "told once"
    assert {each.text for each in events if isinstance(each, Note)} == {
        "Ray node host-1 was lost: what it computed is computed again"
    }


@pytest.mark.parametrize("error", [exceptions.WorkerCrashedError(), exceptions.OutOfMemoryError("full")])
def test_a_unit_that_kills_its_worker_three_times_is_named_after_all_others_are_done(error: Exception) -> None:
    def script(unit: Shard, attempt: int) -> Iterator[Any]:
        yield "host-1", "a"
        yield from [error] if unit.index == 0 else whole(unit)

    module = PretendedRay(script)
    with pytest.raises(UserError) as caught:
        computed(module)
    assert str(caught.value) == (
        "1 shard or stream killed the worker 3 times, all others are computed: clean, images 0 to 1 (zeroshot) last on "
        "host-1; give workers more memory, or a smaller --batch-size"
    )
    assert (caught.value.exit_code, caught.value.passing) == (1, True)
    assert module.attempts == {WORK[0]: 3, WORK[1]: 1, WORK[2]: 1}
    assert {each.work for each in module.events if isinstance(each, Finished)} == set(WORK[1:])


def test_a_worker_that_dies_with_its_node_is_no_fault_of_the_unit() -> None:
    """Of a node that is shut down the worker may be lost first."""

    def script(unit: Shard, attempt: int) -> Iterator[Any]:
        yield "host-2", "c" if attempt <= 5 else "a"
        yield from [exceptions.WorkerCrashedError()] if attempt <= 5 else whole(unit)

    assert sum(isinstance(each, Finished) for each in computed(PretendedRay(script))) == 3


def test_a_cluster_that_does_not_work_ends_the_run_in_one_line() -> None:
    def script(unit: Shard, attempt: int) -> Iterator[Any]:
        yield exceptions.RaySystemError("no more room")

    with pytest.raises(UserError, match="the Ray cluster does not work"):
        computed(PretendedRay(script))


DIFFERENCES = [ImportError("it has another version of this package"), OtherNumbers("it has other images")]


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_a_node_that_joins_and_differs_is_sent_nothing_more(difference: Exception) -> None:
    """It is named once, however many units it got; what it got is computed by others, and costs no attempt."""

    def script(unit: Shard, attempt: int) -> Iterator[Any]:
        yield ("host-3", "b") if attempt <= 3 else ("host-1", "a")
        yield from [exceptions.RayTaskError("compute", "", difference)] if attempt <= 3 else whole(unit)

    module = PretendedRay(script)
    events = computed(module)
    assert {each.work for each in events if isinstance(each, Finished)} == set(WORK)
    assert {each.text for each in events if isinstance(each, Note)} == {
        f"Ray node host-3 is sent nothing more: {difference}"
    }
    assert module.left_out == {"b"}


def test_a_node_that_differs_before_it_says_which_one_it_is_ends_the_run() -> None:
    """It could not be left out: the unit would be sent to it for ever."""

    def script(unit: Shard, attempt: int) -> Iterator[Any]:
        assert attempt == 1
        yield exceptions.RayTaskError("compute", "", ImportError("no module named ray"))

    with pytest.raises(UserError, match=r"cannot say which one it is cannot compute this run: no module named ray"):
        computed(PretendedRay(script))


def test_a_run_ends_when_every_node_differs() -> None:
    def script(unit: Shard, attempt: int) -> Iterator[Any]:
        yield f"host-{attempt}", "ab"[attempt - 1]
        yield exceptions.RayTaskError("compute", "", OtherNumbers("it has other images"))

    with pytest.raises(UserError, match=r"^no Ray node is left that can compute this run: node host-2: it has other"):
        computed(PretendedRay(script))


def test_what_fails_in_a_task_is_raised_as_it_is() -> None:
    def script(unit: Shard, attempt: int) -> Iterator[Any]:
        yield exceptions.RayTaskError("compute", "", UserError("method mine cannot be set up"))

    with pytest.raises(UserError, match=r"^method mine cannot be set up$"):
        computed(PretendedRay(script))
