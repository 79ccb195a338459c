"""The files of examples/: the Slurm array runs where Slurm is installed, of the others is checked what can be."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from apm_tta.cli import main
from apm_tta.columns import TIMINGS
from apm_tta.commands.suites import SuiteCommand

LOOKS_AT_COSTS = True

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
FILES = ("slurm-array.sh", "Dockerfile", "ray-aws.yaml", "ray-kubernetes.yaml")

pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="examples/ is part of a checkout")

SLURM = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
MailProg=/bin/true
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs=2
PartitionName=all Nodes=ALL Default=YES
"""
"""One machine that is controller and node, without accounts, control groups or a daemon for authentication."""


PING, STATES = ["scontrol", "ping"], ["sinfo", "--noheader", "--format=%t"]


def said(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True).stdout


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Start Slurm on this machine, and yield the environment for its commands."""
    if os.getuid() or not all(map(shutil.which, ("slurmctld", "slurmd", "sbatch"))):
        pytest.skip("Slurm is not installed (Debian: slurm-wlm), or its daemons cannot be started by this user")
    place = tmp_path / "slurm"
    (place / "state").mkdir(parents=True)
    (place / "spool").mkdir()
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        ports = [each.getsockname()[1] for each in sockets]
    config = place / "slurm.conf"
    host = socket.gethostname().partition(".")[0]
    config.write_text(SLURM.format(host=host, place=place, ports=ports))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    environment = {**os.environ, "SLURM_CONF": str(config), "PATH": path, "OMP_NUM_THREADS": "1"}
    daemons = []
    try:
        end = time.monotonic() + 60
        # A node that finds no controller tries again only after seconds: it starts when there is one.
        for name, asked, answer in (("slurmctld", PING, "UP"), ("slurmd", STATES, "idle")):
            daemon = [name, "-D", "-f", str(config)]
            daemons.append(subprocess.Popen(daemon, env=environment, stderr=subprocess.DEVNULL))
            while answer not in said(asked, environment):
                assert time.monotonic() < end, "".join(log.read_text() for log in place.glob("slurm*.log"))
                time.sleep(0.1)
        yield environment
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            daemon.wait(30)


def test_the_slurm_array_computes_a_run_in_parts(slurm: dict[str, str], tmp_path: Path) -> None:
    """Merged, they have the table of one process."""
    words = ["demo", "--limit", "4", "--methods", "zeroshot", "--corruptions", "", "--shard-size", "2"]
    words += ["--device", "cpu"]
    assert main([*words, "--out", str(tmp_path / "one"), "--quiet"]) == 0
    submit = ["sbatch", "--parsable", "--array=1-2", "--cpus-per-task=1", str(EXAMPLES / "slurm-array.sh")]
    done = subprocess.run([*submit, "2", "parts", *words], env=slurm, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # ``sbatch --wait`` looks ever more rarely whether the job has ended, in the end twice a minute.
    while said(["squeue", "--noheader", f"--jobs={done.stdout.strip()}"], slurm):
        time.sleep(0.2)
    logs = "".join(log.read_text() for log in tmp_path.glob("run-bench-*.log"))
    tasks = said(["scontrol", "show", "job", done.stdout.strip()], slurm)
    assert re.findall(r"JobState=(\w+) .*\n.*\n?.*ExitCode=(\S+)", tasks) == [("COMPLETED", "0:0")] * 2, tasks + logs
    assert re.findall(r"part (\d) of 2 is done", logs) in (["1", "2"], ["2", "1"])
    whole = tmp_path / "whole"
    assert main(["merge", *map(str, tmp_path.glob("parts/part-*")), "--out", str(whole)]) == 0
    tables = [pd.read_csv(run / "results.csv", dtype=str) for run in (tmp_path / "one", whole)]
    timed = [*TIMINGS, "times_disturbed"]
    pd.testing.assert_frame_equal(*(each.drop(columns=timed, errors="ignore") for each in tables))


@pytest.mark.parametrize("name", FILES)
def test_every_file_says_at_its_top_whether_it_was_run(name: str) -> None:
    first = next(
        line for line in (EXAMPLES / name).read_text(encoding="utf-8").splitlines() if not line.startswith("#!")
    )
    assert re.match(r"# (Run on: \S|Not run: \S)", first), first
    assert sorted(path.name for path in EXAMPLES.iterdir()) == sorted(FILES)


def commands(name: str) -> list[list[str]]:
    """Return the words of every ``run-bench`` command of a file."""
    text = (EXAMPLES / name).read_text(encoding="utf-8").replace("\\\n#", " ")
    return [shlex.split(found.strip('"')) for found in re.findall(r"run-bench (?:imagenet-c|demo)[^\n\"]*", text)]


@pytest.mark.parametrize("name", ["Dockerfile", "ray-aws.yaml", "ray-kubernetes.yaml"])
def test_every_command_can_be_understood(name: str) -> None:
    assert commands(name)
    for _, suite, *options in commands(name):
        SuiteCommand(suite).make_context(suite, options)


def install_line(text: str) -> str:
    (line,) = re.findall(r'python -m pip install (?:--no-cache-dir )?("\.\[ray\]" .*)', text)
    return str(line)


@pytest.mark.parametrize("name", ["Dockerfile", "ray-aws.yaml"])
def test_install_lines_are_those_of_the_page(name: str) -> None:
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert install_line((EXAMPLES / name).read_text(encoding="utf-8")) == install_line(page)


def test_the_image_is_made_of_known_instructions_alone() -> None:
    text = (EXAMPLES / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    kinds = [line.split()[0] for line in lines]
    assert kinds[0] == "FROM"
    assert {*kinds} <= {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "VOLUME"}
    assert "http" not in text, "everything is from PyPI"


def read(name: str) -> Any:
    return yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8"))


def test_the_cloud_s_file_has_ray_s_schema_and_refers_to_itself() -> None:
    jsonschema, ray = pytest.importorskip("jsonschema"), find_spec("ray")
    if ray is None or ray.origin is None:
        pytest.skip("Ray is not installed")
    found = read("ray-aws.yaml")
    jsonschema.validate(found, json.loads((Path(ray.origin).parent / "autoscaler" / "ray-schema.json").read_text()))
    types = found["available_node_types"]
    assert found["head_node_type"] in types
    assert sum(each.get("max_workers", 0) for each in types.values()) <= found["max_workers"]
    assert types[found["head_node_type"]]["resources"]["CPU"] == 0
    assert any("--num-cpus=0" in line for line in found["head_start_ray_commands"])


def test_kubernetes_mounts_what_it_names() -> None:
    found = read("ray-kubernetes.yaml")
    assert (found["apiVersion"], found["kind"]) == ("ray.io/v1", "RayJob")
    cluster = found["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    images = set()
    for group in groups:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        images.add(container["image"])
        assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}
        assert container["resources"]["requests"] == container["resources"]["limits"]
    assert len(images) == 1, "drivers and workers have one package"
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    heads = {each["mountPath"] for each in groups[0]["template"]["spec"]["containers"][0]["volumeMounts"]}
    assert {"/data", "/runs"} <= heads
