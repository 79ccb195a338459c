"""The content of a run's images: hashed once before the first answer, and compared at every read from then on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from apm_tta.data.dataset import Dataset
from apm_tta.data.hash_images import Advance, hash_images
from apm_tta.data.image_digests import UNREADABLE, ImageDigests, ids_to_hash
from apm_tta.data.layouts import Layout
from apm_tta.data.sample import Condition
from apm_tta.system.cache_folder import default_cache
from apm_tta.wording import pluralise

INDEX_FOLDER = "digests"
"""Below the cache: of the files that were hashed before."""


def images_to_hash(dataset: Dataset, conditions: Sequence[Condition]) -> tuple[list[str], int]:
    """Return the ids that are hashed before the first answer, and how many images a run asks for."""
    return ids_to_hash(entry.id for condition in conditions for entry in dataset.entries(condition))


def hash_content(dataset: Dataset, ids: Sequence[str], images: int, advance: Advance | None = None) -> ImageDigests:
    """Hash images, and let the data set refuse from now on to read any other content of them.

    Args:
        dataset: the run's.
        ids: of the images; see ``images_to_hash``.
        images: how many the run asks for.
        advance: is called with the number of images that were hashed since the last call.
    """
    digests = hash_stored(dataset, ids, images, advance)
    dataset.expect(digests)
    return digests


def hash_stored(dataset: Dataset, ids: Sequence[str], images: int, advance: Advance | None = None) -> ImageDigests:
    """Hash images, foreign ones where they lie; arguments as for ``hash_content``."""
    by_layout: dict[Layout[Any], dict[str, str]] = {}
    for each in ids:
        layout, own_id = dataset.stored_in(each)
        by_layout.setdefault(layout, {})[own_id] = each
    found: dict[str, str] = {}
    for layout, names in by_layout.items():
        hashed = hash_images(layout, list(names), len(names), default_cache() / INDEX_FOLDER, advance)
        found |= {names[own_id]: digest for own_id, digest in hashed.by_id.items()}
    return ImageDigests(found, images)


def content_notes(dataset: Dataset, conditions: Sequence[Condition], digests: ImageDigests) -> list[str]:
    """State in one line each what a reader of the table should know about the images' content."""
    notes = []
    if not digests.complete:
        notes.append(
            f"{len(digests.by_id):,} of {digests.images:,} images were hashed before the first answer, the others as "
            "they are read: resume and merge compare what two of them read, and cannot see that an image which only "
            "one of them has read is another elsewhere"
        )
    first: dict[str, tuple[str, int]] = {}
    twice: dict[str, str] = {}
    for sample_id, label in _labelled(dataset, conditions):
        digest = digests.by_id.get(sample_id, UNREADABLE)
        if digest == UNREADABLE:
            continue
        other, other_label = first.setdefault(digest, (sample_id, label))
        if other_label != label:
            twice[sample_id] = other
    if twice:
        sample_id, other = next(iter(twice.items()))
        notes.append(
            f"{pluralise(len(twice), 'image')} of one class are in another class too, such as {other} and {sample_id}: "
            "one of the two answers is wrong"
        )
    return notes


def _labelled(dataset: Dataset, conditions: Sequence[Condition]) -> Iterable[tuple[str, int]]:
    labels = {entry.id: entry.label for condition in conditions for entry in dataset.entries(condition)}
    return labels.items()
