"""A method as a stream asks it: image by image with a window, or begun again after so many steps."""

from __future__ import annotations

from typing import Any

from apm_tta.harness.compute.streamed.restarts import Restarts
from apm_tta.harness.compute.streamed.sliding_window import SlidingWindow
from apm_tta.harness.plan import Streaming
from apm_tta.methods import Method


def streamed(method: Method[Any], streaming: Streaming) -> Method[Any]:
    """Return an online method as its stream asks it: itself, where that is in batches and reset between conditions."""
    if method.protocol != "online":
        return method
    one_by_one = streaming.window is not None or (method.stream_batch is None and not method.batch_dependent)
    if streaming.window is not None:
        method = SlidingWindow(method, streaming.window)
    return method if streaming.every is None else Restarts(method, streaming.every, one_by_one)
