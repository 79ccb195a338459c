"""The features of all images of a condition, for methods that answer them together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, overload

import torch
from PIL import Image
from torch import Tensor

from apm_tta.errors import UserError
from apm_tta.harness.compute.loading import Loaded
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
        self._meters: list[Meter] = []
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
        self._meters.append(meter)

    def batch(self) -> Batch:
        """Return one batch of all images, which has their features."""
        shared = Shared(self._teacher.device)
        if self._features:
            took = [meter.shared for meter in self._meters]
            known = [each for each in took if each is not None]
            total = sum(known) if len(known) == len(took) else None
            shared.put(features_key(self._teacher), torch.cat(self._features), total)
        return Batch(tuple(entry.id for _, entry in self.loaded.places), Unkept(()), shared)


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
