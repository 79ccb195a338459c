"""A dry run adds up what units and images take, and says where something else ran while it measured."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import pytest

import apm_tta
from apm_tta.api.run import resolve
from apm_tta.harness import estimate, whole_run
from apm_tta.harness.compute import measure, watch
from apm_tta.harness.compute.job import Job
from apm_tta.harness.compute.prepare import plan, prepare
from apm_tta.harness.compute.spot_check import IMAGES
from apm_tta.harness.compute.worker import Worker
from apm_tta.harness.plan import Shard
from apm_tta.harness.progress.events import Finished

OPTIONS = {"methods": "zeroshot,tda", "corruptions": "", "limit": 8, "devices": "cpu"}
SAID = "Something else ran on this machine meanwhile"


def test_a_machine_that_does_nothing_else_is_not_remarked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "processor_seconds", lambda _: 2 * time.perf_counter())
    monkeypatch.setattr(watch, "measure_reference", lambda _: 1.0)
    found = apm_tta.estimate("demo", **OPTIONS)  # type: ignore[arg-type]
    assert found.disturbed == {}
    assert SAID not in found.text()


def test_whatever_else_runs_is_said_with_the_methods_that_met_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that computes never has a core, as its clock says."""
    monkeypatch.setattr(watch, "processor_seconds", lambda _: 0.0)
    monkeypatch.setattr(watch, "measure_reference", lambda _: 1.0)
    found = apm_tta.estimate("demo", **OPTIONS)  # type: ignore[arg-type]
    assert found.disturbed == dict.fromkeys(("zeroshot", "tda"), "a core for 0 % of the time")
    assert f"{SAID} (zeroshot: a core for 0 % of the time; tda: a core for 0 % of the time)" in found.text()


ONCE, PER_UNIT, PER_IMAGE, LOADING = 3.0, 0.5, 0.01, 0.002
"""Seconds that a machine takes whose clock is moved by hand."""


@dataclass
class Clock:
    """Time that passes where something says so."""

    now: float = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock of a machine on which a worker's first unit, every unit and every image cost what is stated."""
    clock, begun = Clock(), set[Worker]()

    def compute(worker: Worker, unit: Shard) -> None:
        clock.now += (0.0 if worker in begun else ONCE) + PER_UNIT + unit.stop * (PER_IMAGE + LOADING)
        begun.add(worker)

    monkeypatch.setattr(whole_run, "time", clock)
    monkeypatch.setattr(whole_run, "seconds_of_loading", lambda *_: LOADING)
    monkeypatch.setattr(Worker, "compute", compute)
    return clock


@pytest.mark.parametrize("images", [40, 2000])
@pytest.mark.usefixtures("clock")
def test_a_run_takes_what_its_units_and_images_take(images: int) -> None:
    """An episodic and an online method, each with a worker of its own, and a unit under each of two conditions."""
    words = {"methods": "zeroshot,tda", "corruptions": "contrast", "severities": "5", "limit": images, "devices": "cpu"}
    request = resolve("demo", words)  # type: ignore[arg-type]
    prepared = prepare(request, request.devices[0])
    _, work = plan(prepared)
    alone, once = {"zeroshot": 0.02, "tda": 0.02}, {"zeroshot": 7.0, "tda": 7.0}
    seconds = whole_run.seconds_of_run(Job(request, prepared=prepared), work, alone, once, workers=0)
    assert seconds == pytest.approx(2 * (ONCE + 2 * PER_UNIT + 2 * images * (PER_IMAGE + LOADING)))
    beside = whole_run.seconds_of_run(Job(request, prepared=prepared), work, alone, once, workers=1)
    assert beside == pytest.approx(2 * (ONCE + 2 * PER_UNIT + 2 * images * (PER_IMAGE + LOADING)), rel=0.01)
    slow = whole_run.seconds_of_run(Job(request, prepared=prepared), work, {**alone, "tda": 1.0}, once, workers=0)
    asked = 2 * images + (2 + measure.LATENCY_IMAGES) + IMAGES  # of the second condition fewer
    assert slow == pytest.approx(seconds / 2 + 7.0 + asked * 1.0)


def test_a_part_on_two_processes_takes_its_share_after_the_start() -> None:
    found = apm_tta.estimate("demo", **OPTIONS)  # type: ignore[arg-type]
    assert found.start_seconds > 0
    assert found.seconds > 0
    shared = replace(found, processes=2, part=(1, 3))
    assert shared.whole_seconds == pytest.approx(found.start_seconds + found.seconds / 6)
    assert "on 6 processes" in shared.text()


@pytest.mark.parametrize(
    ("once", "per_image", "expected"),
    [
        (0.0, 0.01, [2, 16]),  # a warm-up, then all
        (7.0, 0.01, [2, 2, 16]),  # what comes once is not taken for the images' time for long
        (11.0, 0.01, [2, 2]),
        (0.0, 1.0, [2, 8]),  # as many as there is time for
        (0.0, 13.0, [2, 2]),  # the first again, whose times are not those of a warm-up
        (0.0, 16.0, [2]),
    ],
)
def test_a_calibration_takes_no_longer_than_it_may(
    monkeypatch: pytest.MonkeyPatch, once: float, per_image: float, expected: list[int]
) -> None:
    clock, asked = Clock(), list[int]()
    compute = Worker.compute

    def timed(worker: Worker, unit: Shard) -> Finished:
        clock.now += (0.0 if asked else once) + unit.stop * per_image
        asked.append(unit.stop)
        return replace(compute(worker, unit), seconds=unit.stop * per_image)

    monkeypatch.setattr(estimate, "time", clock)
    monkeypatch.setattr(estimate, "_CALIBRATION_S", 10.0)
    monkeypatch.setattr(estimate, "seconds_of_run", lambda *_: 0.0)
    monkeypatch.setattr(Worker, "compute", timed)
    found = apm_tta.estimate("demo", methods="zeroshot", corruptions="", limit=20, devices="cpu")
    assert asked == expected
    assert found.methods[0].seconds_per_image == pytest.approx(per_image)


def test_keeping_that_takes_more_than_a_hundredth_of_the_time_is_said_with_its_size() -> None:
    found = apm_tta.estimate("demo", teacher="embedded-resnet", methods="tent", corruptions="", limit=8, devices="cpu")
    size, seconds = (sum(getattr(each, name) for each in found.methods) for name in ("state_bytes", "state_seconds"))
    assert size > 1000
    assert f"with the states of tent, norm: {size / 1e6:.1f} MB after 8 images" in found.kept
    assert "of the time" not in found.kept
    often = replace(found, keep_every=seconds * 20)
    assert often.kept.endswith(", which is 5 % of the time.")
    assert often.kept in often.text()
