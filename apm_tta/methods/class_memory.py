"""A memory of images that predicted classes share equally, as RoTTA (arXiv 2303.13899, section 3.3) keeps one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from apm_tta.device_copies import device_copy


@dataclass
class Item:
    """An image of the memory.

    Attributes:
        pixels: ``(3, S, S)``.
        entropy: of its prediction, nats.
        age: images that have been offered since, itself counted.
    """

    pixels: Tensor
    entropy: float
    age: int = 0


class ClassMemory:
    r"""Images of the stream, at most so many, in equal shares over the predicted classes.

    An image leaves by the highest :math:`\lambda_t / (1 + e^{-a / N}) + \lambda_u H / \log C`, of its age a and its
    entropy H, and only for an image of lower value: out of its own class where that has its share, else out of the
    largest classes once the memory is full. Among equal ones the last leaves.

    Args:
        capacity: N, images.
        classes: C. A class's share N / C may be a fraction: below 1 it is one image.
        age_weight: lambda_t.
        uncertainty_weight: lambda_u.
    """

    def __init__(self, capacity: int, classes: int, age_weight: float, uncertainty_weight: float) -> None:
        self._capacity, self._share = capacity, capacity / classes
        self._age_weight, self._uncertainty_weight = age_weight, uncertainty_weight
        self._most = math.log(classes) or 1.0
        self.items: list[list[Item]] = [[] for _ in range(classes)]

    def enter(self, pixels: Tensor, predicted: int, entropy: float) -> None:
        """Offer an image ``(3, S, S)`` of a predicted class; all that is kept grows older."""
        item = Item(pixels, entropy)
        if self._room_for(item, predicted):
            item.pixels = pixels.clone()
            self.items[predicted].append(item)
        for kept in self._all():
            kept.age += 1

    def content(self) -> tuple[Tensor, Tensor]:
        """Return all images ``(n, 3, S, S)``, class by class, and their ages as shares of the capacity ``(n,)``."""
        items = list(self._all())
        images = torch.stack([item.pixels for item in items])
        return images, device_copy(torch.tensor([item.age / self._capacity for item in items]), images.device)

    def _all(self) -> Iterable[Item]:
        return (item for own in self.items for item in own)

    def _room_for(self, new: Item, predicted: int) -> bool:
        """Remove what gives way to an image, and return whether there is room for it."""
        if len(self.items[predicted]) >= self._share:
            return self._removed([predicted], new)
        if sum(map(len, self.items)) < self._capacity:
            return True
        largest = max(map(len, self.items))
        return self._removed([index for index, own in enumerate(self.items) if len(own) == largest], new)

    def _removed(self, classes: list[int], new: Item) -> bool:
        """Remove the item of highest value in some classes, if the new one's is lower."""
        places = [
            (self._value(item), index, place) for index in classes for place, item in enumerate(self.items[index])
        ]
        value, index, place = max(places)
        if value <= self._value(new):
            return False
        del self.items[index][place]
        return True

    def _value(self, item: Item) -> float:
        age = 1 / (1 + math.exp(-item.age / self._capacity))
        return self._age_weight * age + self._uncertainty_weight * item.entropy / self._most
