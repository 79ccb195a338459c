"""Timing a method: everything after decoding, the device synchronised, warm-up left out."""

from __future__ import annotations

from apm_tta.methods import Batch, Method, Predictions
from apm_tta.methods.batch import Meter, Shared

LATENCY_IMAGES = 10
_WARM_UP_IMAGES = 2


def timed(method: Method, batch: Batch) -> tuple[Predictions, Meter]:
    """The method's answer for ``batch`` and what it cost, alone and beside the others."""
    with batch.shared.metered() as meter:
        predictions = method.predict(batch)
    return predictions, meter


def latencies(method: Method, batch: Batch) -> list[float]:
    """Milliseconds an image at batch size 1, for at most ``LATENCY_IMAGES`` images of ``batch``; nothing is shared.

    The answers are thrown away: timings never decide numbers.
    """
    device = method.teacher.device
    alone = [
        Batch((sample_id,), (image,), Shared(device)) for sample_id, image in zip(batch.ids, batch.images, strict=True)
    ]
    for single in alone[:_WARM_UP_IMAGES]:
        method.predict(single)
    fresh = [Batch(single.ids, single.images, Shared(device)) for single in alone[:LATENCY_IMAGES]]
    return [meter.own + (meter.shared or 0.0) for meter in (timed(method, single)[1] for single in fresh)]
