"""Decoding and corrupting images ahead of the methods, once for all of them, optionally in loading processes."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
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
from apm_tta.harness.compute.ahead import Ahead
from apm_tta.harness.compute.child_processes import CannotStart, Lost
from apm_tta.harness.compute.quiet_processes import quiet_context
from apm_tta.harness.progress.heard_warnings import drained, heard_warnings
from apm_tta.harness.storage.code_identity import refuse_edited_code
from apm_tta.methods.images import Images
from apm_tta.methods.preparation import Preparation, Prepare
from apm_tta.system.cores import usable_cores

_LOGGER = logging.getLogger(__name__)

Place = tuple[Condition, Entry]
"""An image and the condition under which the methods see it."""


Following = tuple[Sequence[Place], int, Sequence[Preparation]]
"""Images that are to be loaded later, how many at a time, and what is made of them."""


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
        prepared: what was made of them, ``(B, ...)`` each, and the milliseconds that it took; none where B is 0.
        unread: the images that could not be read.
        refused: why the run must not use these images, or cannot; None where it may.
        digests: SHA-256 of every image that could be read, as stored, by id.
        remarks: of every image that could be read; see ``ReadImage.remarks``.
        warnings: what libraries warned of in the loading process, and how often.
    """

    places: list[Place]
    images: Images
    prepared: list[tuple[Tensor, float]]
    unread: list[Unread]
    refused: RefusedImage | OutOfReach | None = None
    digests: dict[str, str] = field(default_factory=dict)
    remarks: list[tuple[str, ...]] = field(default_factory=list)
    warnings: Counter[str] = field(default_factory=Counter)

    @property
    def read_and_unread(self) -> list[Place]:
        """All images: first those that could be read, then the others."""
        return [*self.places, *((unread.condition, unread.entry) for unread in self.unread)]


def default_workers(device: torch.device, processes: int = 1) -> int:
    """Return the number of loading processes: none on a CPU, whose cores the teacher needs; on a GPU, a share of cores.

    Args:
        device: device of the teacher.
        processes: number of processes that share this machine's cores; each keeps one core for itself and has at most
            8 loading processes.
    """
    return min(8, max(1, usable_cores() // processes - 1)) if device.type == "cuda" else 0


class Loader:
    """Loads the images of one data set, in processes of its own where there are to be some.

    These start with the first images and stay until ``close``: shard after shard is loaded by them.

    Args:
        dataset: reads and corrupts the images; the result does not depend on the process that calls it.
        preparations: what can be made of every image.
        workers: number of loading processes; 0 loads in this process.
    """

    def __init__(self, dataset: Dataset, preparations: Sequence[Preparation] = (), workers: int = 0) -> None:
        self._dataset, self._workers = dataset, workers
        self._keys = [preparation.key for preparation in preparations]
        self._load_batch = _Places(dataset, [(str(each.key), each.make) for each in preparations])
        self._ahead: Ahead[_Task, Loaded] | None = None
        self._announced: list[_Task] = []

    def load(
        self,
        places: Sequence[Place],
        batch_size: int,
        preparations: Sequence[Preparation] = (),
        following: Following | None = None,
    ) -> Generator[Loaded]:
        """Load images in the order of ``places``.

        Args:
            places: the images, with their conditions.
            batch_size: number of images at a time; the last batch may have fewer.
            preparations: what is made of every image, of those that the loader was given.
            following: what will be asked for next: loading processes go on with it.

        Raises:
            RefusedImage: for an image that changed, or that is one of the labelled images.
            OutOfReach: where too many images in a row could not be reached.
            UserError: when loading processes would import code that was edited since, or when one is lost.
        """
        coming = [] if following is None else self._tasks(*following)
        for loaded in self._batches(self._tasks(places, batch_size, preparations), coming):
            if loaded.refused is not None:
                raise loaded.refused
            if self._workers:  # each of them counts its own
                reached = loaded.places or any(not isinstance(each.error, UnreachableImage) for each in loaded.unread)
                errors = [each.error for each in loaded.unread if isinstance(each.error, UnreachableImage)]
                self._dataset.layout.patience.count(*([] if reached else errors))
            yield loaded

    def close(self) -> None:
        """End the loading processes."""
        if self._ahead is not None:
            self._ahead.end()
        self._ahead, self._announced = None, []

    def _tasks(self, places: Sequence[Place], batch_size: int, preparations: Sequence[Preparation]) -> list[_Task]:
        wanted = tuple(self._keys.index(each.key) for each in preparations)
        return [(places[start : start + batch_size], wanted) for start in range(0, len(places), batch_size)]

    def _batches(self, tasks: list[_Task], coming: list[_Task]) -> Iterator[Loaded]:
        """Load the batches in their order, in this process where there are to be no others, or there can be none."""
        announced = tasks == self._announced
        if self._ahead is not None and self._ahead.outstanding and not announced:  # something else was announced
            self.close()
        if not self._started():
            yield from map(self._load_batch, tasks)
            return
        assert self._ahead is not None
        whole = False
        try:
            with _losses_explained():
                if not announced:
                    self._ahead.submit(tasks)
                # Here and not by another call: only one thread may speak with the processes.
                self._announced = coming
                self._ahead.submit(coming)
                for _ in tasks:
                    yield self._ahead.next()
            whole = True
        finally:
            if not whole:
                self.close()

    def _started(self) -> bool:
        if self._ahead is None and self._workers:
            refuse_edited_code()  # they import it again
            try:
                self._ahead = Ahead(self._load_batch, self._workers, quiet_context(), _begin)
            except CannotStart as error:
                _LOGGER.warning("no loading processes can be started (%s): images are loaded in turn", error)
                self._workers = 0
        return self._ahead is not None


def load(
    dataset: Dataset,
    places: Sequence[Place],
    batch_size: int,
    preparations: Sequence[Preparation] = (),
    workers: int = 0,
) -> Iterator[Loaded]:
    """Load images by a ``Loader`` of their own; arguments as there."""
    with closing(Loader(dataset, preparations, min(workers, -(-len(places) // batch_size)))) as loader:
        yield from loader.load(places, batch_size, preparations)


_Task = tuple[Sequence[Place], tuple[int, ...]]
"""The places of one batch, and which of the preparations are made of each image."""


@contextmanager
def _losses_explained() -> Iterator[None]:
    try:
        yield
    except Lost as lost:
        raise UserError(
            "a loading process was lost: it was killed, or ran out of memory",
            advice="give it more memory, or fewer --workers",
            passing=True,
        ) from lost


@dataclass(frozen=True)
class _Item:
    place: Place
    image: Image.Image | None = None
    made: tuple[tuple[Tensor, float], ...] = ()
    error: UnreadImage | None = None
    refused: RefusedImage | OutOfReach | None = None
    sha256: str = ""
    remarks: tuple[str, ...] = ()


class _Places:
    def __init__(self, dataset: Dataset, makes: Sequence[tuple[str, Prepare]]) -> None:
        self._dataset, self._makes = dataset, makes

    def __call__(self, task: _Task) -> Loaded:
        """Load one batch."""
        places, wanted = task
        return _collate([self._item(place, wanted) for place in places])

    def _item(self, place: Place, wanted: Sequence[int]) -> _Item:
        condition, entry = place
        try:
            found = self._dataset.read(entry, condition)
        except UnreadImage as error:
            return _Item(place, error=error)
        except (RefusedImage, OutOfReach) as error:
            # ``load`` raises it: an exception from a loading process would lose its one-line message.
            return _Item(place, refused=error)
        made = []
        for what, make in (self._makes[index] for index in wanted):
            started = time.perf_counter()
            try:
                tensor = make(entry.id, found.image)
            except Exception as error:
                return _Item(place, error=failed_step(entry.id, f"made the {what}", error))
            made.append((tensor, 1000 * (time.perf_counter() - started)))
        return _Item(place, found.image, tuple(made), sha256=found.sha256, remarks=found.remarks)


def _collate(items: list[_Item]) -> Loaded:
    read = [item for item in items if item.image is not None]
    columns = list(zip(*(item.made for item in read), strict=True))
    return Loaded(
        places=[item.place for item in read],
        images=Images([item.image for item in read if item.image is not None]),
        prepared=[(torch.stack([tensor for tensor, _ in made]), sum(ms for _, ms in made)) for made in columns],
        unread=[Unread(*item.place, item.error) for item in items if item.error is not None],
        refused=next((item.refused for item in items if item.refused is not None), None),
        digests={item.place[1].id: item.sha256 for item in read},
        remarks=[item.remarks for item in read],
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
