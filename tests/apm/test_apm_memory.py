"""The number of images that are fitted at once depends on memory and never changes an answer."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from processes import run_program
from torch.utils.flop_counter import FlopCounterMode

from apm_tta.apm import APMConfig, DistillConfig
from apm_tta.apm.engine import Engine, Goals, is_out_of_memory
from apm_tta.apm.flops import flops_per_iteration
from apm_tta.apm.fresh import fresh_parameters
from apm_tta.apm.memory import bytes_per_image, free_memory, images_together

SMALL = APMConfig(image_size=16, patch_size=4, hidden=(32, 24, 16), feature_dim=24, rgb_hidden=8)
CPU = torch.device("cpu")


def test_a_budget_gives_as_many_images_as_fit() -> None:
    config, fit = APMConfig.for_teacher(32, 4, 64), DistillConfig()
    one = bytes_per_image(config, fit)
    assert images_together(config, fit, CPU, 3 * one) == 3
    assert images_together(config, fit, CPU, 3 * one - 1) == 2
    assert images_together(config, fit, CPU, 1) == 1
    assert 1 <= images_together(config, fit, CPU) <= 32


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not say what they would give back")
def test_what_linux_gives_back_when_asked_is_free() -> None:
    """Files that were read lie in memory until it is needed: of a machine that has read many, little else is unused."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    known = {name: 1024 * int(value.split()[0]) for name, value in (line.split(":") for line in lines)}
    assert abs(free_memory(CPU) - known["MemAvailable"]) < 0.2 * known["MemTotal"]
    assert free_memory(CPU) <= known["MemTotal"]


MEASURED = """
import threading, time, torch
from apm_tta.apm import APMConfig, DistillConfig, distill
from apm_tta.apm.fresh import fresh_parameters, parameter_shapes

def anonymous():  # allocated memory, without the libraries' code, which the system may page in and out
    return 1024 * int(open("/proc/self/status").read().split("RssAnon:")[1].split()[0])

torch.set_num_threads(2)
config, fit, peak = APMConfig(), DistillConfig(iterations=2), [0]
small = APMConfig.for_teacher(32, 4, 64)
distill(torch.zeros(1, 3, 32, 32), torch.ones(1, 64), small, fit, seeds=[0])
shapes = parameter_shapes(config)
fresh_parameters(config, [], torch.empty(0))  # the row of normals is drawn once per process
held = anonymous()

def watch():
    while peak:
        peak.append(max(peak.pop(), anonymous()))
        time.sleep(0.002)

watcher = threading.Thread(target=watch, daemon=True)
watcher.start()
distill(torch.zeros(1, 3, 448, 448), torch.ones(1, 768), config, fit, seeds=[0])
time.sleep(0.01)
parameters = sum(shape.numel() for name, shape in shapes.items() if not name.startswith("rgb_head"))
activations = 4 * (config.grid**2 * (3 * sum(config.hidden) + 32) + 3 * config.image_size**2)
print((max(peak) - held - activations) / parameters)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the process's own memory from /proc")
def test_the_published_size_holds_at_most_20_bytes_per_parameter_beside_activations() -> None:
    process = run_program(MEASURED)
    assert process.returncode == 0, process.stderr
    assert 12 <= float(process.stdout) <= 20


LIMITED = """
import logging, resource, torch
from apm_tta.apm import APMConfig, DistillConfig, distill

logging.basicConfig(format="%(message)s")
torch.set_num_threads(1)
config = APMConfig.for_teacher(32, 4, 64)
images, targets = torch.zeros(600, 3, 32, 32), torch.ones(600, 64)
fit = DistillConfig(iterations=2)
alone = distill(images[:1], targets[:1], config, fit, seeds=[599], together=1)
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 700 * 2**20, resource.RLIM_INFINITY))
fitted = distill(images, targets, config, fit, seeds=range(600), together=600)
print(torch.allclose(fitted.tokens[-1], alone.tokens[0], rtol=0, atol=1e-6))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a process whose memory can be limited")
def test_where_memory_runs_out_fewer_images_are_fitted_at_once_and_nothing_else_changes() -> None:
    """Run a real process whose memory limit is too low for 600 images."""
    process = run_program(LIMITED)
    assert process.returncode == 0, process.stderr
    assert process.stdout == "True\n"
    assert "out of memory on cpu: fitting 300 images at once from here on" in process.stderr


def test_other_failures_are_not_taken_for_a_lack_of_memory() -> None:
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert logging.getLogger("apm_tta").isEnabledFor(logging.WARNING)


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        replace(SMALL, readout="mean"),
        replace(SMALL, column="vit"),
        replace(SMALL, hidden=(12,)),
        replace(SMALL, heads=4, hidden=(32, 32, 32, 24, 16)),
        APMConfig.for_teacher(32, 4, 64),
        APMConfig(),
    ],
    ids=["small", "mean", "vit", "one layer", "seven layers", "embedded", "published"],
)
def test_counted_operations_equal_the_formula(config: APMConfig) -> None:
    images, targets = torch.zeros(2, 3, config.image_size, config.image_size), torch.ones(2, config.feature_dim)
    if config == APMConfig():
        images, targets = images[:1], targets[:1]
    parameters = fresh_parameters(config, range(len(images)), images)
    gradients = {name: torch.zeros_like(value) for name, value in parameters.items()}
    engine = Engine(images, config, Goals(targets, columns=targets if config.column == "vit" else None))
    with FlopCounterMode(display=False) as counter:
        engine.forward(parameters)
        engine.backward(gradients)
    assert counter.get_total_flops() / len(images) == pytest.approx(flops_per_iteration(config), rel=0.01)
