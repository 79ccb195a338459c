"""A dry run says where something else ran while it measured."""

from __future__ import annotations

import time

import pytest

import apm_tta
from apm_tta.harness.compute import watch

OPTIONS = {"methods": "zeroshot,tda", "corruptions": "", "limit": 8, "devices": "cpu"}
SAID = "Something else ran on this machine meanwhile"


def test_a_machine_that_does_nothing_else_is_not_remarked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "processor_seconds", lambda _: time.perf_counter())
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
