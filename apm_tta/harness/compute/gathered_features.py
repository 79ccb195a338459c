"""The features of all images of a condition, for methods that answer them together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, overload

import torch
from PIL import Image
from torch import Tensor

from apm_tta.data.image_files.errors import KINDS
from apm_tta.errors import UserError
from apm_tta.harness.compute.loading import Loaded, Place, Unread
from apm_tta.methods import Batch
from apm_tta.methods.batch import Meter, Shared
from apm_tta.methods.images import Images
from apm_tta.methods.shared_values import features_key, features_of
from apm_tta.teachers import Teacher


class GatheredFeatures:
    """Features and labels of images that were loaded batch by batch; pixels are not kept.

    50,000 images of 512 features take 102 MB.

    Args:
        teacher: whose features.

    Attributes:
        loaded: all that was loaded, without images.
    """

    def __init__(self, teacher: Teacher) -> None:
        self._teacher = teacher
        self._features: list[Tensor] = []
        self._took: list[Meter | float | None] = []
        self._kept = _Kept()
        self.loaded = Loaded([], Unkept(()), [], [])

    def add(self, batch: Batch, loaded: Loaded) -> None:
        """Add the features of a batch, computed here unless they came from a cache."""
        self.loaded.places.extend(loaded.places)
        self.loaded.unread.extend(loaded.unread)
        self.loaded.digests.update(loaded.digests)
        if not loaded.places:
            return
        with batch.shared.metered() as meter:
            features = features_of(batch, self._teacher)
        self._features.append(features.clone())
        self._took.append(meter)

    def batch(self) -> Batch:
        """Return one batch of all images, which has their features."""
        shared = Shared(self._teacher.device)
        if self._features:
            took = [_milliseconds(each) for each in self._took]
            known = [each for each in took if each is not None]
            total = sum(known) if len(known) == len(took) else None
            shared.put(features_key(self._teacher), torch.cat(self._features), total)
        return Batch(tuple(entry.id for _, entry in self.loaded.places), Unkept(()), shared)

    def take_new(self) -> tuple[Gathered, dict[str, Tensor]]:
        """Return what was gathered since it was taken last: what is known of the images, and their features."""
        batches, read, unread = self._kept
        self._kept = _Kept(len(self._took), len(self.loaded.places), len(self.loaded.unread))
        gathered = Gathered(
            [(entry.id, self.loaded.digests[entry.id]) for _, entry in self.loaded.places[read:]],
            [(each.entry.id, str(each.error), each.error.kind) for each in self.loaded.unread[unread:]],
            [_milliseconds(each) for each in self._took[batches:]],
        )
        features = self._features[batches:]
        return gathered, {"features": torch.cat(features).cpu()} if features else {}

    def put(self, gathered: Gathered, tensors: Mapping[str, Tensor], entries: Mapping[str, Place]) -> None:
        """Add what was gathered before; it is new to ``take_new``.

        Args:
            gathered: and ``tensors``: what ``take_new`` returned.
            entries: the images by their ids.

        Raises:
            ValueError: when it is not of these images.
        """
        kinds = {kind.kind: kind for kind in KINDS}
        try:
            self.loaded.places.extend(entries[sample_id] for sample_id, _ in gathered.read)
            self.loaded.digests.update(gathered.read)
            self.loaded.unread.extend(
                Unread(*entries[sample_id], kinds[kind](text)) for sample_id, text, kind in gathered.unread
            )
        except KeyError as error:
            raise ValueError(f"it has {error}, which is not of this condition") from None
        if len(gathered.read) != sum(map(len, tensors.values())):
            raise ValueError("it has features of another number of images")
        if gathered.read:
            self._features.append(tensors["features"].to(self._teacher.device))
            self._took.append(None if None in gathered.took else sum(each for each in gathered.took if each))


class Gathered(NamedTuple):
    """What is known of images that were gathered, as plain data.

    Attributes:
        read: id and SHA-256 of those that could be read.
        unread: id, error and its kind, of the others.
        took: milliseconds of their features, batch by batch; None where they came from a cache.
    """

    read: list[tuple[str, str]]
    unread: list[tuple[str, str, str]]
    took: list[float | None]


class _Kept(NamedTuple):
    """How much of what was gathered has been taken: batches, images that could be read, and others."""

    batches: int = 0
    read: int = 0
    unread: int = 0


def _milliseconds(took: Meter | float | None) -> float | None:
    return took.shared if isinstance(took, Meter) else took


class Unkept(Images):
    """Images whose pixels are not there any more."""

    def __iter__(self) -> Iterator[Image.Image]:
        raise _no_pixels()

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...
    @overload
    def __getitem__(self, index: slice) -> Images: ...
    def __getitem__(self, index: int | slice) -> Any:
        raise _no_pixels()

    def tensors(self) -> list[Tensor]:
        """Refuse, since there are none."""
        raise _no_pixels()


def _no_pixels() -> UserError:
    return UserError("a transductive method gets the features of all images, and no pixels; call self.features(batch)")
