"""Decodes and corrupts images ahead of the methods, once for all of them, in worker processes where asked."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from apm_tta.data.dataset import Dataset, TestedInSupport
from apm_tta.data.layouts import DamagedImage, Entry
from apm_tta.data.sample import Condition

Preprocess = Callable[[Image.Image], Tensor]
Place = tuple[Condition, Entry]
"""An image and the condition under which it is to be seen."""


@dataclass(frozen=True)
class Damaged:
    """An image that could not be read: it becomes an error row."""

    condition: Condition
    entry: Entry
    reason: str


@dataclass
class Loaded:
    """Consecutive images of a shard or a stream.

    Attributes:
        places: of the images that could be read.
        images: RGB, as the methods see them.
        pixels: the teacher's input ``(B, 3, S, S)`` on the CPU; None where it was not asked for, or B is 0.
        pixels_ms: what making ``pixels`` took, milliseconds.
        damaged: the others.
        refused: why the run must not go on with these images; empty where it may.
    """

    places: list[Place]
    images: list[Image.Image]
    pixels: Tensor | None
    pixels_ms: float
    damaged: list[Damaged]
    refused: str = ""

    @property
    def answered_and_damaged(self) -> list[Place]:
        """All images: those that could be read, and behind them the others."""
        return [*self.places, *((damaged.condition, damaged.entry) for damaged in self.damaged)]

    def pin_memory(self) -> Loaded:
        """Called by the loader where a GPU takes the pixels: copies from pinned memory run beside computation."""
        if self.pixels is not None:
            self.pixels = self.pixels.pin_memory()
        return self


def default_workers(device: torch.device, processes: int = 1) -> int:
    """Loading processes: none on a CPU, whose cores the teacher itself needs; for a GPU its part of the cores.

    Args:
        device: where the teacher computes.
        processes: that share this machine's cores; each keeps one core for itself, and loads in at most 8 more.
    """
    return min(8, max(1, (os.cpu_count() or 1) // processes - 1)) if device.type == "cuda" else 0


def load(
    dataset: Dataset,
    places: Sequence[Place],
    batch_size: int,
    preprocess: Preprocess | None = None,
    workers: int = 0,
    pin: bool = False,
) -> Iterator[Loaded]:
    """``places`` in their order, ``batch_size`` at a time.

    Args:
        dataset: reads and corrupts; what it gives does not depend on who calls it.
        places: which images.
        batch_size: images at a time; the last are fewer.
        preprocess: makes the teacher's input from an image; None leaves it to the methods that need it.
        workers: processes that run ahead; 0 loads in this one.
        pin: whether pixels end in pinned memory.

    Raises:
        TestedInSupport: for an image that is among the labelled ones.
    """
    loader = DataLoader(
        _Places(dataset, places, preprocess),
        batch_size=batch_size,
        collate_fn=_collate,
        num_workers=workers,
        pin_memory=pin,
        prefetch_factor=2 if workers else None,
        worker_init_fn=_one_thread if workers else None,
    )
    for loaded in loader:
        if loaded.refused:
            raise TestedInSupport(loaded.refused)
        yield loaded


@dataclass(frozen=True)
class _Item:
    place: Place
    image: Image.Image | None
    pixels: Tensor | None
    milliseconds: float
    reason: str
    refused: str = ""


class _Places(TorchDataset[_Item]):
    def __init__(self, dataset: Dataset, places: Sequence[Place], preprocess: Preprocess | None) -> None:
        self._dataset, self._places, self._preprocess = dataset, places, preprocess

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> _Item:
        condition, entry = place = self._places[index]
        try:
            image = self._dataset.read(entry, condition).image
        except DamagedImage as error:
            return _Item(place, None, None, 0.0, str(error))
        except (
            TestedInSupport
        ) as error:  # told by the process that reads the batch: an exception would lose its line here
            return _Item(place, None, None, 0.0, "", str(error))
        started = time.perf_counter()
        pixels = None if self._preprocess is None else self._preprocess(image)
        return _Item(place, image, pixels, 1000 * (time.perf_counter() - started), "")


def _collate(items: list[_Item]) -> Loaded:
    pixels = [item.pixels for item in items if item.pixels is not None]
    return Loaded(
        places=[item.place for item in items if item.image is not None],
        images=[item.image for item in items if item.image is not None],
        pixels=torch.stack(pixels) if pixels else None,
        pixels_ms=sum(item.milliseconds for item in items),
        damaged=[Damaged(*item.place, item.reason) for item in items if item.image is None],
        refused=next((item.refused for item in items if item.refused), ""),
    )


def _one_thread(_worker: int) -> None:
    """OpenCV's own threads would fight over the cores with the other workers."""
    cv2.setNumThreads(0)
