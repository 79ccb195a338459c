"""Timing a method: everything after decoding, the device synchronised, warm-up left out."""

from __future__ import annotations

import time

import torch

from apm_tta.methods import Batch, Method, Predictions

LATENCY_IMAGES = 10
_WARM_UP_IMAGES = 2


def synchronize(device: torch.device) -> None:
    """Waits for what was queued on ``device``."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(method: Method, batch: Batch) -> tuple[Predictions, float]:
    """The method's answer for ``batch`` and the milliseconds it took."""
    device = method.teacher.device
    synchronize(device)
    started = time.perf_counter()
    predictions = method.predict(batch)
    synchronize(device)
    return predictions, 1000 * (time.perf_counter() - started)


def latencies(method: Method, batch: Batch) -> list[float]:
    """Milliseconds an image at batch size 1, for at most ``LATENCY_IMAGES`` images of ``batch``.

    The answers are thrown away: timings never decide numbers.
    """
    alone = [Batch((sample_id,), (image,)) for sample_id, image in zip(batch.ids, batch.images, strict=True)]
    for single in alone[:_WARM_UP_IMAGES]:
        timed(method, single)
    return [timed(method, single)[1] for single in alone[:LATENCY_IMAGES]]
