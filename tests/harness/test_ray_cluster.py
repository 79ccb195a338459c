"""Runs on a cluster of three nodes, all of them on this machine, as Ray's own tests start them."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest
from cells import PREAMBLE, mine
from processes import run_program, start_program
from worker_runs import write_images

from apm_tta.data.data_root import VARIABLE
from apm_tta.data.dataset import open_dataset
from apm_tta.data.sample import CLEAN
from apm_tta.harness.compute.cluster.shipped import copy_package
from apm_tta.system.stop_signals import handlers_kept

pytest.importorskip("ray", reason="Ray is not installed")
cluster_utils = pytest.importorskip("ray.cluster_utils", reason="this Ray has no cluster for tests")

NODE = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
HELD = 75_000_000
"""Bytes that somebody else holds in the object store of the node that runs are started on: it spills them."""
LIMIT, SHARD = 20, 4
WORDS = [
    *("demo", "--methods", "zeroshot,mine", "--limit", str(LIMIT), "--corruptions", "", "--shard-size", str(SHARD)),
    *("--batch-size", "2", "--device", "cpu", "--quiet", "--out"),
]
CELL = """
import os, signal, sys, time
from pathlib import Path

from apm_tta.cli import main
from apm_tta.methods import register

PLACE = Path({place!r})
SHARDS = {shards!r}  # by the names of their images
TABLE = bytes(30_000_000)  # of the method: it makes a large job

def meet(ids):
    shard = SHARDS[ids[0]]
    go, deadly = PLACE / "go", PLACE / f"deadly {{shard}}"
    if shard > 0 and PLACE.is_dir() and (deadly.exists() or not go.exists()):
        import ray
        (PLACE / f"{{shard}} {{ray.get_runtime_context().get_node_id()}} {{os.getpid()}}").touch()
        while not go.exists() and not deadly.exists():
            time.sleep(0.05)
        if deadly.exists():
            os.kill(os.getpid(), signal.SIGKILL)
    return float(TABLE[shard])

@register
"""
BODY = "return Predictions(self.logits(self.features(batch)) + meet(list(batch.ids)))"
RUN = """
torch.set_num_threads(1)  # as tasks of one core have it
os.chdir("/")  # nodes on the same machine import from the driver's folder first
sys.exit(main(sys.argv[1:]))
"""
SOMEBODY = f"""
import sys, time, numpy, ray
from pathlib import Path

ray.init(address=sys.argv[1], log_to_driver=False)
held = [ray.put(numpy.zeros({HELD // 3}, dtype=numpy.uint8)) for _ in range(3)]
Path(sys.argv[2]).touch()
time.sleep(600)
"""
BENCH = "import os, sys, torch\nfrom apm_tta.cli import main\n" + RUN
Answers = Callable[[Path], pa.Table]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Start three nodes, whose session lies in a folder of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("OMP_NUM_THREADS", "1")
        started = cluster_utils.Cluster()
        try:
            try:
                for _ in range(3):
                    add_node(started)
            except Exception as error:  # Ray raises no narrower class
                pytest.skip(f"Ray does not start here ({error})")
            yield started
        finally:
            started.shutdown()


def add_node(cluster: Any, **variables: str) -> Any:
    """Start a node with these environment variables; it gets 120 s, since Ray's own 30 s are few on a busy machine."""
    with handlers_kept():
        node = cluster.add_node(wait=False, **NODE, env_vars=variables)
    cluster.wait_for_nodes(120)
    return node


def other_package(place: Path) -> dict[str, str]:
    """Return what a node needs to have this package with another comment in it."""
    place.mkdir()
    package, _ = copy_package(place)
    with (package / "wording.py").open("a", encoding="utf-8") as file:
        file.write("# edited\n")
    return {"PYTHONPATH": str(place)}


def wait_for(met: Callable[[], Any], *drivers: BaseProcess) -> None:
    end = time.monotonic() + 400
    while not met():
        assert time.monotonic() < end
        assert all(each.is_alive() for each in drivers)
        time.sleep(0.05)


def test_drivers_nodes_and_workers_are_lost_and_nodes_join(
    cluster: Any, tmp_path: Path, answers: Answers, request: pytest.FixtureRequest
) -> None:
    """The records are those of one process to the last bit, and object stores spill.

    A driver is killed, and the run started again. Then a node is lost, one joins with another package, which is told of
    and does not end the run, and one that computes. The shard that the lost node had kills its worker from then on: it
    is named after four attempts, since the node was no fault of it, and once all others are done.
    """
    place, run = tmp_path / "met", tmp_path / "run"
    entries = open_dataset("fashion-mnist", limit=LIMIT).entries(CLEAN)
    shards = {entry.id: index // SHARD for index, entry in enumerate(entries)}
    cell = PREAMBLE + CELL.format(place=str(place), shards=shards) + mine(BODY)
    alone, on_ray = [*WORDS, str(run)], [*WORDS, str(run), "--ray", cluster.address]
    done = run_program(cell + RUN, [*WORDS, str(tmp_path / "one")])
    assert done.returncode == 0, done.stderr

    def held() -> dict[str, int]:
        return {node: int(shard) for shard, node, _ in map(str.split, names())}

    def names() -> list[str]:
        return [each.name for each in place.iterdir() if each.name.count(" ") == 2]

    def log() -> str:
        return (run / "run.log").read_text(encoding="utf-8")

    def spilled() -> int:
        return sum(file.stat().st_size for file in Path(os.environ["RAY_TMPDIR"]).rglob("*spilled_objects*/*"))

    place.mkdir()
    beside = start_program(SOMEBODY, [cluster.address, str(tmp_path / "held")])
    request.addfinalizer(beside.kill)
    wait_for((tmp_path / "held").exists, beside)
    first = start_program(cell + RUN, on_ray)
    try:
        wait_for(lambda: len(held()) == 3 and list(run.glob("records/**/*.parquet")), first)
    finally:
        first.kill()
        first.join()
    wait_for(lambda: not any(psutil.pid_exists(int(name.split()[2])) for name in names()))
    for name in names():
        (place / name).unlink()

    second = start_program(cell + RUN, on_ray)
    try:
        wait_for(lambda: len(held()) == 3, second)
        assert spilled() >= HELD
        lost = next(iter(cluster.worker_nodes))
        deadly = held()[lost.node_id]
        cluster.remove_node(lost, allow_graceful=False)
        (place / f"deadly {deadly}").touch()
        wait_for(lambda: "was lost: what it computed is computed again" in log(), second)
        add_node(cluster, **other_package(tmp_path / "other"))
        wait_for(lambda: "is sent nothing more: it has another version of this package" in log(), second)
        joined = add_node(cluster)
        wait_for(lambda: joined.node_id in held(), second)
        (place / "go").touch()
        second.join(400)
    finally:
        second.kill()
        second.join()
    assert second.exitcode == 1, log()
    named = f"clean, images {SHARD * deadly} to {SHARD * deadly + SHARD - 1} (zeroshot, mine)"
    assert f"1 shard or stream killed the worker 3 times, all others are computed: {named} last on " in log()
    assert sum(name.startswith(f"{deadly} ") for name in names()) == 4

    (place / f"deadly {deadly}").unlink()
    done = run_program(cell + RUN, alone)
    assert done.returncode == 0, done.stderr
    assert answers(run).equals(answers(tmp_path / "one"))


def test_every_node_has_the_package_and_the_data_before_any_work_is_sent(
    cluster: Any, tmp_path: Path, answers: Answers
) -> None:
    """A node may have its own data root; the package can be shipped."""
    for node in list(cluster.worker_nodes):
        cluster.remove_node(node)
    here, there, nowhere = (tmp_path / name for name in ("here", "there", "nowhere"))
    write_images(here), write_images(there)
    own_root = {VARIABLE: str(here / "data")}
    words = ["folder", "--teacher", "embedded", "--methods", "zeroshot", "--shard-size", "2", "--device", "cpu"]
    done = run_program(BENCH, [*words, "--out", str(tmp_path / "one"), "--quiet"], own_root)
    assert done.returncode == 0, done.stderr

    add_node(cluster, **other_package(tmp_path / "other"))
    add_node(cluster, **{VARIABLE: str(there / "data")})
    without = add_node(cluster, **{VARIABLE: str(nowhere)})
    run = tmp_path / "run"
    words += ["--out", str(run), "--quiet", "--ray", cluster.address]
    done = run_program(BENCH, words, own_root)
    assert done.returncode == 1, done.stderr
    assert "not every Ray node can compute this run, and nothing was sent: node " in done.stderr
    assert "; 1 other line of this kind in run.log" in done.stderr
    log = (run / "run.log").read_text(encoding="utf-8").splitlines()
    differing = [line for line in log if " Ray node " in line and "stopped" not in line]
    assert len(differing) == 2
    assert sum("it has another version of this package (SHA-256 " in line for line in differing) == 1
    assert sum(str(nowhere) in line for line in differing) == 1
    assert not list(run.glob("records/**/*.parquet"))

    cluster.remove_node(without)
    done = run_program(BENCH, [*words, "--ship"], own_root)
    assert done.returncode == 0, done.stderr
    assert answers(run).equals(answers(tmp_path / "one"))
