"""How long a device computes, by torch's profiler."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from apm_tta.harness.progress.events import Event
from benchmarks.gpu.runs import Watch


class BusyWatch(Watch):
    """Hears a run, and profiles the device from the end of the first batch on.

    Args:
        device: on a CPU nothing is profiled.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._profile = profile(activities=[ProfilerActivity.CUDA]) if device.type == "cuda" else None

    def __call__(self, event: Event) -> None:
        """Note the end of a batch; the first begins the profile."""
        before = len(self.moments)
        super().__call__(event)
        if self._profile is not None and not before and self.moments:
            self._profile.start()

    def device_seconds(self) -> float | None:
        """End the profile, and return the seconds in which the device computed anything; None of a CPU."""
        if self._profile is None:
            return None
        torch.cuda.synchronize()
        self._profile.stop()
        return union(_spans(self._profile.events())) / 1e6


def union(spans: Iterable[tuple[float, float]]) -> float:
    """Return the length of what spans of time cover together: kernels of several streams overlap."""
    covered, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        covered += max(0.0, end - max(start, until))
        until = max(until, end)
    return covered


def _spans(events: Any) -> list[tuple[float, float]]:
    on_device = [event for event in events if str(event.device_type).endswith("CUDA")]
    return [(event.time_range.start, event.time_range.end) for event in on_device]
