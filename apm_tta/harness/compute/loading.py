"""Decoding and corrupting images ahead of the methods, once for all of them, optionally in loading processes."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field

import cv2
import torch
from PIL import Image
from torch import Tensor

from apm_tta.data.dataset import Dataset, RefusedImage
from apm_tta.data.image_files import OutOfReach, UnreachableImage, UnreadImage, failed_step
from apm_tta.data.layouts import Entry
from apm_tta.data.sample import Condition
from apm_tta.errors import UserError
from apm_tta.harness.compute.ahead import results_ahead
from apm_tta.harness.compute.child_processes import CannotStart, Lost
from apm_tta.harness.compute.quiet_processes import quiet_context
from apm_tta.harness.progress.heard_warnings import drained, heard_warnings
from apm_tta.harness.storage.code_identity import refuse_edited_code
from apm_tta.system.cores import usable_cores

_LOGGER = logging.getLogger(__name__)

Preprocess = Callable[[Image.Image], Tensor]
Place = tuple[Condition, Entry]
"""An image and the condition under which the methods see it."""


@dataclass(frozen=True)
class Unread:
    """An image that could not be read, which becomes a row without an answer.

    Attributes:
        condition: the condition under which it was to be seen.
        entry: the image.
        error: why it could not be read.
    """

    condition: Condition
    entry: Entry
    error: UnreadImage


@dataclass
class Loaded:
    """Consecutive images of a shard or a stream.

    Attributes:
        places: condition and entry of every image that could be read.
        images: these images in RGB, as the methods see them.
        pixels: the teacher's input ``(B, 3, S, S)`` on the CPU; None where it was not requested, or B is 0.
        pixels_ms: milliseconds that preprocessing took.
        unread: the images that could not be read.
        refused: why the run must not use these images, or cannot; None where it may.
        digests: SHA-256 of every image that could be read, as stored, by id.
        remarks: of every image that could be read; see ``ReadImage.remarks``.
        warnings: what libraries warned of in the loading process, and how often.
    """

    places: list[Place]
    images: list[Image.Image]
    pixels: Tensor | None
    pixels_ms: float
    unread: list[Unread]
    refused: RefusedImage | OutOfReach | None = None
    digests: dict[str, str] = field(default_factory=dict)
    remarks: list[tuple[str, ...]] = field(default_factory=list)
    warnings: Counter[str] = field(default_factory=Counter)

    @property
    def read_and_unread(self) -> list[Place]:
        """All images: first those that could be read, then the others."""
        return [*self.places, *((unread.condition, unread.entry) for unread in self.unread)]

    def pin_memory(self) -> Loaded:
        """Move the pixels to pinned memory, from which copies to a GPU overlap with computation.

        ``load`` calls this where ``pin`` is set.
        """
        if self.pixels is not None:
            self.pixels = self.pixels.pin_memory()
        return self


def default_workers(device: torch.device, processes: int = 1) -> int:
    """Return the number of loading processes: none on a CPU, whose cores the teacher needs; on a GPU, a share of cores.

    Args:
        device: device of the teacher.
        processes: number of processes that share this machine's cores; each keeps one core for itself and has at most
            8 loading processes.
    """
    return min(8, max(1, usable_cores() // processes - 1)) if device.type == "cuda" else 0


def load(
    dataset: Dataset,
    places: Sequence[Place],
    batch_size: int,
    preprocess: Preprocess | None = None,
    workers: int = 0,
    pin: bool = False,
) -> Iterator[Loaded]:
    """Load images in the order of ``places``, ``batch_size`` at a time.

    Args:
        dataset: reads and corrupts the images; the result does not depend on the process that calls it.
        places: the images, with their conditions.
        batch_size: number of images at a time; the last batch may have fewer.
        preprocess: makes the teacher's input from an image; None leaves it to the methods that need it.
        workers: number of loading processes that work ahead; 0 loads in this process.
        pin: whether the pixels are moved to pinned memory.

    Raises:
        RefusedImage: for an image that changed, or that is one of the labelled images.
        OutOfReach: where too many images in a row could not be reached.
        UserError: when loading processes would import code that was edited since.
    """
    if workers:
        refuse_edited_code()  # they import it again
    batches = _batches(_Places(dataset, preprocess), places, batch_size, workers)
    loader: Iterator[Loaded] = _one_ahead(batches) if pin else batches
    for loaded in loader:
        if loaded.refused is not None:
            raise loaded.refused
        if workers:  # each of them counts its own
            reached = loaded.places or any(not isinstance(each.error, UnreachableImage) for each in loaded.unread)
            errors = [each.error for each in loaded.unread if isinstance(each.error, UnreachableImage)]
            dataset.layout.patience.count(*([] if reached else errors))
        yield loaded


@dataclass(frozen=True)
class _Item:
    place: Place
    image: Image.Image | None
    pixels: Tensor | None
    milliseconds: float
    error: UnreadImage | None = None
    refused: RefusedImage | OutOfReach | None = None
    sha256: str = ""
    remarks: tuple[str, ...] = ()


def _batches(load_batch: _Places, places: Sequence[Place], batch_size: int, workers: int) -> Generator[Loaded]:
    """Load the batches in their order, in this process where there are to be no others, or there can be none."""
    batches = [places[start : start + batch_size] for start in range(0, len(places), batch_size)]
    done = 0
    try:
        for loaded in results_ahead(load_batch, batches, workers, quiet_context(), _begin) if workers else ():
            done += 1
            yield loaded
    except Lost as lost:
        raise UserError(
            "a loading process was lost: it was killed, or ran out of memory",
            advice="give it more memory, or fewer --workers",
            passing=True,
        ) from lost
    except CannotStart as error:
        _LOGGER.warning("no loading processes can be started (%s): images are loaded in turn", error)
    yield from map(load_batch, batches[done:])


def _one_ahead(batches: Generator[Loaded]) -> Iterator[Loaded]:
    """Receive the next batch, and pin it, while this one is answered."""
    with closing(batches), ThreadPoolExecutor(1) as thread:
        coming = thread.submit(_pinned, batches)
        while (loaded := coming.result()) is not None:
            coming = thread.submit(_pinned, batches)
            yield loaded


def _pinned(batches: Iterator[Loaded]) -> Loaded | None:
    loaded = next(batches, None)
    return None if loaded is None else loaded.pin_memory()


class _Places:
    def __init__(self, dataset: Dataset, preprocess: Preprocess | None) -> None:
        self._dataset, self._preprocess = dataset, preprocess

    def __call__(self, places: Sequence[Place]) -> Loaded:
        """Load one batch."""
        return _collate([self._item(place) for place in places])

    def _item(self, place: Place) -> _Item:
        condition, entry = place
        try:
            found = self._dataset.read(entry, condition)
        except UnreadImage as error:
            return _Item(place, None, None, 0.0, error)
        except (RefusedImage, OutOfReach) as error:
            # ``load`` raises it: an exception from a loading process would lose its one-line message.
            return _Item(place, None, None, 0.0, refused=error)
        started = time.perf_counter()
        try:
            pixels = None if self._preprocess is None else self._preprocess(found.image)
        except Exception as error:
            return _Item(place, None, None, 0.0, failed_step(entry.id, "made the teacher's input", error))
        milliseconds = 1000 * (time.perf_counter() - started)
        return _Item(place, found.image, pixels, milliseconds, sha256=found.sha256, remarks=found.remarks)


def _collate(items: list[_Item]) -> Loaded:
    pixels = [item.pixels for item in items if item.pixels is not None]
    return Loaded(
        places=[item.place for item in items if item.image is not None],
        images=[item.image for item in items if item.image is not None],
        pixels=torch.stack(pixels) if pixels else None,
        pixels_ms=sum(item.milliseconds for item in items),
        unread=[Unread(*item.place, item.error) for item in items if item.error is not None],
        refused=next((item.refused for item in items if item.refused is not None), None),
        digests={item.place[1].id: item.sha256 for item in items if item.image is not None},
        remarks=[item.remarks for item in items if item.image is not None],
        warnings=Counter({} if _Process.heard is None else drained(_Process.heard)),
    )


class _Process:
    """What a loading process hears from its start to its end; None in the process that computes, which hears itself."""

    hearing: AbstractContextManager[Counter[str]]
    heard: Counter[str] | None = None


def _begin() -> None:
    """Use one thread: more would compete with the other loading processes for the cores."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    _Process.hearing = heard_warnings()
    _Process.heard = _Process.hearing.__enter__()
