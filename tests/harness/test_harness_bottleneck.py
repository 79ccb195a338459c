"""A dry run says what the run would wait for, and what would mend it."""

from __future__ import annotations

import time
from typing import Any

import pytest

import apm_tta
from apm_tta.data.dataset import Dataset
from apm_tta.harness.bottleneck import Bottleneck
from apm_tta.methods.zeroshot import ZeroShot

QUICK: dict[str, Any] = {"methods": ["zeroshot"], "corruptions": [], "limit": 20, "devices": "cpu"}


def test_slow_loading_holds_a_gpu_up_until_there_are_enough_processes() -> None:
    slow = Bottleneck(loading_seconds=0.010, answering_seconds=0.004, workers=2, shared_cores=False)
    assert slow.loading_holds_it_up
    assert slow.enough_workers == 3
    assert "the run waits for loading, with 2 loading processes. --workers 3 would mend that" in slow.text()
    enough = Bottleneck(0.010, 0.004, slow.enough_workers, shared_cores=False)
    assert not enough.loading_holds_it_up
    assert "Loading an image takes 10.0 ms of one core" in enough.text()
    assert "more --workers would not make it faster" in enough.text()


def test_without_loading_processes_a_gpu_waits_for_whatever_is_longer() -> None:
    assert "waits for loading, in turn. --workers 2" in Bottleneck(0.010, 0.006, 0, shared_cores=False).text()
    assert not Bottleneck(0.001, 0.006, 0, shared_cores=False).loading_holds_it_up


def test_on_a_cpu_both_share_the_cores() -> None:
    text = Bottleneck(0.010, 0.030, 0, shared_cores=True).text()
    assert "loading is 25% of the work" in text
    assert "--workers would not mend that" in text


@pytest.mark.parametrize("slow", ["loading", "answering"])
def test_what_is_slow_is_found(monkeypatch: pytest.MonkeyPatch, slow: str) -> None:
    """One of the two is made slow, by sleeping where it is done."""
    owner, name = (Dataset, "read") if slow == "loading" else (ZeroShot, "predict")
    own = getattr(owner, name)

    def sleeping(self: Any, *args: Any) -> Any:
        time.sleep(0.02 if slow == "loading" else 0.3)
        return own(self, *args)

    monkeypatch.setattr(owner, name, sleeping)
    estimate = apm_tta.estimate("demo", **QUICK)
    assert estimate.bottleneck.loading_holds_it_up == (slow == "loading")
    assert "Loading an image takes" in estimate.text()
