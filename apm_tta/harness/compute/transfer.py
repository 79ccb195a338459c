"""The way of what was loaded to the teacher's device, on which the next batch is before this one has been answered."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor

from apm_tta.device_copies import device_copy
from apm_tta.harness.compute.loading import Loaded
from apm_tta.methods.images import Pixels
from apm_tta.methods.preparation import Preparation


@dataclass(frozen=True)
class Arrived:
    """A batch where the teacher is.

    Attributes:
        loaded: the batch; what was prepared of its images is on the device.
        whole_images: the images, ``(H, W, 3)``, ``uint8``, on the device; None where nobody needs them there.
    """

    loaded: Loaded
    whole_images: list[Tensor] | None


def arriving(
    batches: Generator[Loaded], device: torch.device, preparations: Sequence[Preparation]
) -> Iterator[Arrived]:
    """Yield what was loaded, on ``device``.

    A GPU gets the next batch, from pinned memory and through a stream of its own, while this one is answered; never
    more than that one.

    Args:
        batches: on the CPU.
        device: of the teacher.
        preparations: what was made of every image; it says what is needed on the device.
    """
    if device.type != "cuda":
        for loaded in batches:
            yield Arrived(loaded, None)  # they are where they are needed
        return
    stream = torch.cuda.Stream(device)
    moved, whole_images = [each.on_device for each in preparations], any(each.whole_images for each in preparations)

    def bring() -> tuple[Arrived, torch.cuda.Event] | None:
        loaded = next(batches, None)
        if loaded is None:
            return None
        with torch.cuda.stream(stream):
            loaded.prepared = [
                (device_copy(tensor, device) if move else tensor, milliseconds)
                for (tensor, milliseconds), move in zip(loaded.prepared, moved, strict=False)
            ]
            whole = _images_to_gpu(loaded.images.arrays(), device) if whole_images else None
            done = torch.cuda.Event()
            done.record(stream)
        return Arrived(loaded, whole), done

    with closing(batches), ThreadPoolExecutor(1) as thread:
        coming = thread.submit(bring)
        while (brought := coming.result()) is not None:
            arrived, done = brought
            coming = thread.submit(bring)
            current = torch.cuda.current_stream(device)
            current.wait_event(done)
            # Their memory was had by the other stream, which must not use it again before this one is done with it.
            for tensor in (*(each for each, _ in arrived.loaded.prepared), *(arrived.whole_images or [])):
                if tensor.device.type == "cuda":
                    tensor.record_stream(current)
            yield arrived


def _images_to_gpu(arrays: Sequence[Pixels], device: torch.device) -> list[Tensor]:
    """Copy images at once: many small copies would each have to be started."""
    pinned = torch.empty(sum(each.size for each in arrays), dtype=torch.uint8, pin_memory=True)
    start, places = 0, []
    for each in arrays:
        pinned.numpy()[start : start + each.size] = each.reshape(-1)
        places.append((start, each.shape))
        start += each.size
    whole = pinned.to(device, non_blocking=True)
    return [whole[start : start + math.prod(shape)].view(shape) for start, shape in places]
