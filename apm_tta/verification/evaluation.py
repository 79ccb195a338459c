"""Accuracy of a teacher under several setups: images are read and encoded as seldom as possible."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from apm_tta.data.dataset import Dataset
from apm_tta.data.sample import Condition
from apm_tta.data.subset import RULE
from apm_tta.errors import UserError
from apm_tta.harness.compute.loading import Loaded, Loader, Place, default_workers
from apm_tta.methods.batch import Batch, Shared
from apm_tta.methods.shared_values import cosine_logits, evaluation_crops, features_of
from apm_tta.precision import float32_products
from apm_tta.teachers import Teacher
from apm_tta.verification.interval import whole_set_interval
from apm_tta.verification.setup import Setup

_BATCH = 64
Advance = Callable[[int], object]
"""Is told how many more images were encoded."""
Side = tuple[str, str]
"""What image features depend on; see ``Setup.image_side``."""


@dataclass(frozen=True)
class Tally:
    """Answers under one setup.

    Attributes:
        right: number of right answers, over several conditions their mean.
        images: number of images under one condition.
        available: number of images under one condition of which these were chosen.
    """

    right: float
    images: int
    available: int

    @property
    def accuracy(self) -> float:
        """In percent."""
        return 100 * self.right / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """The accuracy on all images, in percent; see ``whole_set_interval``.

        A mean over conditions is treated as one condition's: the same images under several of them tell more, but not
        how much more.
        """
        low, _ = whole_set_interval(math.floor(self.right), self.images, self.available)
        _, high = whole_set_interval(math.ceil(self.right), self.images, self.available)
        return 100 * low, 100 * high


class Evaluation:
    """Answers the chosen images of a data set as ``zeroshot`` does, by the code that a run has for it.

    Features are kept, 10 MB for 5,000 images of 512: images are read and encoded again only for another network or
    crop, and for all of these that are asked for together in one pass.

    Args:
        teacher: as it is.
        dataset: with the images.
        conditions: under which they are seen.
        top: an answer is right where the label is among so many classes with the largest logits.
        advance: see ``Advance``.

    Attributes:
        encoded: number of images that were encoded, each as often as it was.
        unread: number of images that could not be read.
    """

    def __init__(
        self, teacher: Teacher, dataset: Dataset, conditions: Sequence[Condition], top: int = 1, advance: Advance = id
    ) -> None:
        self.encoded = 0
        self.unread = 0
        self._dataset = dataset
        self._top = top
        self._advance = advance
        self._places: list[Place] = [
            (condition, entry) for condition in conditions for entry in dataset.entries(condition)
        ]
        self._conditions = len(conditions)
        self._chosen, self._available = len(dataset.entries(conditions[0])), dataset.available(conditions[0])
        self._teachers: dict[Side, Teacher] = {("", ""): teacher}
        self._labels: list[tuple[int, ...]] = []
        self._features: dict[Side, list[Tensor]] = {}
        self._weights: dict[tuple[str, tuple[str, ...], tuple[str, ...]], Tensor] = {}

    @property
    def images(self) -> str:
        """Which images are answered, in words."""
        chosen, available, subset = self._chosen, self._available, self._dataset.subset
        which = f"all {available:,} images" if chosen == available else f"{chosen:,} of {available:,} images"
        which += "" if subset is None else f" of {subset}"
        which += "" if chosen == available else f", {RULE}"
        return which if self._conditions == 1 else f"{which}, under {self._conditions} corruptions each"

    @property
    def doubts(self) -> list[str]:
        """What may not be as meant of the images, one line each."""
        return self._dataset.doubts

    def prepare(self, setup: Setup) -> None:
        """Make the class weights of a setup.

        Raises:
            UserError: when they cannot be made.
        """
        self._class_weights(setup)

    def is_cheap(self, setup: Setup) -> bool:
        """Return whether a setup is tallied without encoding an image, or more than one prompt of each class."""
        return setup.image_side in self._features and (len(setup.templates) == 1 or _key(setup) in self._weights)

    def tally(self, setups: Sequence[Setup]) -> list[Tally]:
        """Count the right answers under each setup.

        Raises:
            UserError: when the class weights of one cannot be made, or images not be read.
        """
        for setup in setups:
            self.prepare(setup)  # before images are read
        missing = {setup.image_side: setup for setup in setups if setup.image_side not in self._features}
        if missing:
            self._encode({side: self._prepared(side, setup) for side, setup in missing.items()})
        return [self._count(setup) for setup in setups]

    def _count(self, setup: Setup) -> Tally:
        features = torch.cat(self._features[setup.image_side])
        logits = cosine_logits(setup.network.teacher, self._class_weights(setup), features)
        # Not the first of topk, which may be another of equal logits than a run takes.
        best = logits.argmax(1, keepdim=True) if self._top == 1 else logits.topk(min(self._top, logits.shape[1]))[1]
        classes = torch.tensor(setup.labels).to(logits.device)
        right = (best == classes[[own[0] for own in self._labels]][:, None]).any(1)
        for image, own in enumerate(self._labels):
            if len(own) > 1:  # of several right classes any will do
                right[image] = torch.isin(best[image], classes[list(own)]).any()
        return Tally(int(right.sum()) / self._conditions, round(len(self._labels) / self._conditions), self._available)

    def _encode(self, teachers: dict[Side, Teacher]) -> None:
        """Read every image once, and encode it by each of the teachers."""
        found: dict[Side, list[Tensor]] = {side: [] for side in teachers}
        labels: list[tuple[int, ...]] = []
        self.unread = 0
        for batch, loaded in self._batches(list(teachers.values())):
            self.unread += len(loaded.unread)
            labels += [(entry.label, *entry.others) for _, entry in loaded.places]
            for side, teacher in teachers.items() if loaded.places else ():
                with torch.no_grad():
                    found[side].append(features_of(batch, teacher))
                self.encoded += len(loaded.places)
                self._advance(len(loaded.places))
        if not labels:
            raise UserError(f"no image of {self._dataset.card.name} could be read")
        self._labels = labels
        self._features |= found

    def _batches(self, teachers: Sequence[Teacher]) -> Iterator[tuple[Batch, Loaded]]:
        device = teachers[0].device
        preparations = [evaluation_crops(teacher) for teacher in teachers]
        with (
            closing(Loader(self._dataset, preparations, default_workers(device))) as loader,
            float32_products("float32", device),
        ):
            for loaded in loader.load(self._places, _BATCH, preparations):
                shared = Shared(device)
                for preparation, (made, milliseconds) in zip(preparations, loaded.prepared, strict=False):
                    shared.put(preparation.key, made, milliseconds)
                yield Batch(tuple(entry.id for _, entry in loaded.places), loaded.images, shared), loaded

    def _class_weights(self, setup: Setup) -> Tensor:
        key = _key(setup)
        if key not in self._weights:
            self._weights[key] = setup.network.teacher.class_weights(setup.names, setup.templates)
        return self._weights[key]

    def _prepared(self, side: Side, setup: Setup) -> Teacher:
        """Return the setup's network with the setup's crop; the teacher as it is stays as it is."""
        if side not in self._teachers:
            teacher: Any = setup.network.teacher
            changed = copy.copy(getattr(teacher, "built", teacher))
            changed.preprocess, changed.preprocessing = setup.crop.transform, setup.crop.preprocessing
            self._teachers[side] = changed
        return self._teachers[side]


def _key(setup: Setup) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Return what class weights depend on."""
    return setup.network.name, setup.names, setup.templates
