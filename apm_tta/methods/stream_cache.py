"""A cache of embeddings seen in a stream, per predicted class, as TDA (arXiv 2403.18293) keeps two of."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from apm_tta.device_copies import device_copy


class Entering(NamedTuple):
    """An image that may enter a cache.

    Attributes:
        image: its place in its batch.
        predicted: the class under which it enters.
        entropy: of its prediction, nats; those of lowest entropy stay.
    """

    image: int
    predicted: int
    entropy: float


class StreamCache:
    """Per predicted class, the embeddings of the few images of lowest entropy.

    A batch is answered as if its images came one after another, each entering before it is answered. What an image
    finds there follows from the entropies alone and is decided first; then all similarities of a batch are one matrix
    product, over rows that are filled.

    Args:
        classes: C.
        shots: entries per class.
        beta: how fast an entry's influence falls with its distance from an embedding.
        like: tensor with the embeddings' width F, type and device.
        valued: whether an entry has a value of its own for every class; else it counts for its predicted class alone.
    """

    def __init__(self, classes: int, shots: int, beta: float, like: Tensor, *, valued: bool = False) -> None:
        self._shots, self._beta = shots, beta
        self._entries: dict[int, list[tuple[float, int]]] = {}
        self._filled = 0
        self._keys = like.new_zeros(0, like.shape[-1])
        self._values = like.new_zeros(0, classes) if valued else None
        # Where the entries of each class are in a row of weights, behind a zero that stands for an empty place; made as
        # soon as weights are summed by it.
        self._classes = classes
        self._places: Tensor | None = None

    @property
    def entropies(self) -> dict[int, list[float]]:
        """The entropies of the entries of every class that has some, ascending."""
        return {predicted: [entropy for entropy, _ in entries] for predicted, entries in self._entries.items()}

    def keys(self, predicted: int) -> Tensor:
        """Return the embeddings of the entries of a class ``(n, F)``, by ascending entropy."""
        return self._keys[[row for _, row in self._entries.get(predicted, ())]]

    def values(self, predicted: int) -> Tensor:
        """Return the values of the entries of a class ``(n, C)``, by ascending entropy."""
        assert self._values is not None
        return self._values[[row for _, row in self._entries.get(predicted, ())]]

    def sums(self, predicted: Sequence[int]) -> Tensor:
        """Return the sums of the embeddings of the entries of some classes, ``(n, F)``."""
        rows = [[row for _, row in self._entries.get(each, ())] for each in predicted]
        most = max(map(len, rows), default=0)
        table = torch.tensor([[*(row + 1 for row in own), *[0] * (most - len(own))] for own in rows])
        # Row 0 stands for an empty place.
        places = device_copy(table, self._keys.device)
        found: Tensor = self._keys[(places - 1).clamp_min(0)] * (places > 0)[..., None]
        return found.sum(1)

    def stream(self, features: Tensor, entering: Sequence[Entering], values: Tensor | None = None) -> Tensor:
        r"""Let images of a batch enter, and compute for each of its images the sum over what the cache then has.

        .. math:: \sum_i \exp(-\beta (1 - f \cdot k_i)) \, v_i

        In a full class an entry replaces the one of highest entropy, when its own is lower.

        Args:
            features: embeddings of all images, ``(B, F)``.
            entering: those that enter, in the order of the batch.
            values: what an image would have as value, ``(B, C)``, for a cache whose entries have some.

        Returns:
            Sums ``(B, C)``.
        """
        changes = self._decide(entering, len(features))
        before = self._weights(features, self._keys[: changes.filled_before])
        for image, row in changes.hidden:
            before[image:, row] = 0
        among = self._weights(features, features) * device_copy(changes.seen, features.device)
        sums = self._sum(before) + among @ (self._one_hot(entering, features) if values is None else values)
        self._store(changes, features, values)
        return sums

    def enter(self, features: Tensor, entering: Sequence[Entering]) -> list[int]:
        """Let images of a batch ``(B, F)`` enter as by ``stream``; return the classes whose entries have changed."""
        changes = self._decide(entering, len(features))
        self._store(changes, features, None)
        images = set(changes.holders.values())
        return sorted({each.predicted for each in entering if each.image in images})

    def _weights(self, features: Tensor, keys: Tensor) -> Tensor:
        weights: Tensor = torch.exp(self._beta * (features @ keys.T - 1))
        return weights

    def _sum(self, weights: Tensor) -> Tensor:
        """Sum the weights ``(B, n)`` of the first n rows into classes, ``(B, C)``."""
        if self._values is not None:
            weighted: Tensor = weights @ self._values[: weights.shape[1]]
            return weighted
        if not weights.shape[1]:
            return weights.new_zeros(len(weights), self._classes)
        if self._places is None:
            self._places = self._table(weights.shape[1], weights.device)
        with_empty = torch.cat([weights.new_zeros(len(weights), 1), weights], dim=1)
        by_class: Tensor = with_empty[:, self._places].unflatten(1, (-1, self._shots))
        return by_class.sum(-1)

    def _table(self, rows: int, device: torch.device) -> Tensor:
        """Return where the entries of each class are among the first rows, ``(C * shots,)``; see ``_places``."""
        table = torch.zeros(self._classes * self._shots, dtype=torch.long)
        for predicted, entries in self._entries.items():
            own = [row + 1 for _, row in entries if row < rows]
            table[predicted * self._shots : predicted * self._shots + len(own)] = torch.tensor(own, dtype=torch.long)
        return device_copy(table, device)

    def _one_hot(self, entering: Sequence[Entering], features: Tensor) -> Tensor:
        """Return values ``(B, C)`` of the images that enter: 1 for the predicted class."""
        rows = torch.zeros(len(features), self._classes, dtype=features.dtype)
        for image, predicted, _ in entering:
            rows[image, predicted] = 1
        return device_copy(rows, features.device)

    def _decide(self, entering: Sequence[Entering], images: int) -> _Changes:
        """Decide which rows the images get, and what every image of the batch sees."""
        changes = _Changes(self._filled, torch.zeros(images, images))
        for image, predicted, entropy in entering:
            entries = self._entries.setdefault(predicted, [])
            place = bisect_right(entries, entropy, key=lambda entry: entry[0])
            if len(entries) < self._shots:
                row, self._filled = self._filled, self._filled + 1
                changes.grown.append((predicted * self._shots + len(entries), row))
            elif place < self._shots:
                row = entries.pop()[1]
                if row in changes.holders:
                    changes.seen[image:, changes.holders[row]] = 0
                else:
                    changes.hidden.append((image, row))
            else:
                continue
            entries.insert(place, (entropy, row))
            changes.holders[row] = image
            changes.seen[image:, image] = 1
        return changes

    def _store(self, changes: _Changes, features: Tensor, values: Tensor | None) -> None:
        """Copy what has entered into its rows."""
        if not changes.holders:
            return
        device = features.device
        if self._filled > len(self._keys):
            self._keys = _grown(self._keys, self._filled)
            self._values = None if self._values is None else _grown(self._values, self._filled)
        rows, images = device_copy(
            torch.tensor([list(each) for each in zip(*changes.holders.items(), strict=True)]), device
        )
        self._keys[rows] = features[images]
        if self._values is not None:
            assert values is not None
            self._values[rows] = values[images]
        if changes.grown and self._places is not None:
            places, filled = device_copy(torch.tensor(changes.grown).T.contiguous(), device)
            self._places[places] = filled + 1


@dataclass
class _Changes:
    """What a batch does to a cache.

    Attributes:
        filled_before: how many rows were filled before it.
        seen: which image (columns) is in the cache when an image (rows) is answered, ``(B, B)``, on the CPU.
        hidden: from which image on a row has no longer what it had before the batch.
        holders: the image that a row has after the batch, by row.
        grown: places that are filled for the first time, and their rows.
    """

    filled_before: int
    seen: Tensor
    hidden: list[tuple[int, int]] = field(default_factory=list)
    holders: dict[int, int] = field(default_factory=dict)
    grown: list[tuple[int, int]] = field(default_factory=list)


def _grown(rows: Tensor, needed: int) -> Tensor:
    """Return ``rows`` with room for more, at least twice as many as before."""
    room = rows.new_zeros(max(needed, 2 * len(rows), 64), *rows.shape[1:])
    room[: len(rows)] = rows
    return room
