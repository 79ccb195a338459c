"""Which places of a shard or stream were shown: recorded where one image is shown several times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from apm_tta.harness.compute.loading import Loaded, Place


class Positions(NamedTuple):
    """Positions of images that were loaded together.

    Attributes:
        read: of those that could be read, in their order.
        unread: of the others.
    """

    read: list[int]
    unread: list[int]


def repeats(places: Sequence[Place]) -> bool:
    """Return whether an image is shown several times under one condition."""
    return len({(condition, entry.id) for condition, entry in places}) < len(places)


def positions_of(loaded: Loaded, places: Sequence[Place], positions: Sequence[int]) -> Positions:
    """Tell which positions were read: images that could be read come first, in their order.

    Args:
        loaded: the images.
        places: of all of them, as they were asked for.
        positions: of ``places``.
    """
    found = Positions([], [])
    for place, position in zip(places, positions, strict=True):
        number = len(found.read)
        was_read = number < len(loaded.places) and loaded.places[number] == place
        (found.read if was_read else found.unread).append(position)
    return found
