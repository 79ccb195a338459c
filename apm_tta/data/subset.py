"""The images that ``--limit`` selects."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence

from apm_tta.data.layouts import Entry
from apm_tta.errors import UserError
from apm_tta.wording import pluralise

RULE = "evenly over classes, within a class those whose id has the lowest SHA-256"


def even_subset(entries: Sequence[Entry], limit: int) -> list[Entry]:
    """Select at most ``limit`` entries, as evenly over the classes as their numbers allow, in their original order.

    Images are selected in rounds: the first of every class, then the second, and so on; within a class, and within an
    incomplete last round, in the order of the SHA-256 of the id. A smaller limit therefore selects a subset of what a
    larger one selects, and nothing depends on the order in which files are found. ``limit`` 0 selects all.

    Raises:
        ValueError: for a negative limit.
    """
    if limit < 0:
        raise ValueError(f"limit is {limit}; it must be at least 0 (0 takes all)")
    if not limit or limit >= len(entries):
        return list(entries)
    by_class: dict[int, list[tuple[bytes, int]]] = {}
    for position, entry in enumerate(entries):
        key = hashlib.sha256(entry.id.encode()).digest()
        by_class.setdefault(entry.label, []).append((key, position))
    ranked = [
        (rank, key, position)
        for members in by_class.values()
        for rank, (key, position) in enumerate(heapq.nsmallest(limit, members))
    ]
    chosen = sorted(position for _, _, position in sorted(ranked)[:limit])
    return [entries[position] for position in chosen]


def shots_per_class(entries: Sequence[Entry], shots: int) -> list[Entry]:
    """Select a support set: the ``shots`` entries of each class with the lowest SHA-256 of their id, in original order.

    Raises:
        ValueError: for fewer than one shot.
        UserError: when a class has fewer entries.
    """
    if shots < 1:
        raise ValueError(f"shots is {shots}; it must be at least 1")
    by_class: dict[int, list[Entry]] = {}
    for entry in entries:
        by_class.setdefault(entry.label, []).append(entry)
    for label, members in sorted(by_class.items()):
        if len(members) < shots:
            images, wanted = pluralise(len(members), "labelled image"), pluralise(shots, "shot")
            raise UserError(f"class {label} has {images}, fewer than {wanted}; request fewer with --shots")
    chosen = {
        entry.id
        for members in by_class.values()
        for entry in sorted(members, key=lambda entry: hashlib.sha256(entry.id.encode()).hexdigest())[:shots]
    }
    return [entry for entry in entries if entry.id in chosen]


def subset_rules(limit: int, counts: Sequence[tuple[int, int]], named: str | None = None) -> str:
    """Describe the rule in words for several conditions, given how many images were chosen and available under each.

    Args:
        limit: of ``even_subset``.
        counts: numbers of chosen and available images.
        named: the list that the available images are from; None where they are all of the data set.
    """
    if named is not None:
        return f"{named}: {subset_rules(limit, counts)}"
    if len(set(counts)) == 1:
        return subset_rule(limit, *counts[0])
    chosen, available = (
        f"{min(each)} to {max(each)}" if min(each) < max(each) else str(each[0]) for each in zip(*counts, strict=True)
    )
    if all(one == all_ for one, all_ in counts):
        return f"all {available} images"
    return f"{chosen} of {available} images, {RULE} (--limit {limit})"


def subset_rule(limit: int, chosen: int, available: int) -> str:
    """Describe the rule in words, for the manifest and the table's caption."""
    if chosen == available:
        return f"all {available} images"
    return f"{chosen} of {available} images, {RULE} (--limit {limit})"
