"""What of a data set lies below a root, beside what its card expects: before an hour is spent, not after."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from apm_tta.data.cards import DatasetCard, card_names, load_card
from apm_tta.data.data_root import resolve_data_root
from apm_tta.data.dataset import Dataset, add_entries
from apm_tta.data.layouts import LAYOUTS, DamagedImage, Entry, Layout
from apm_tta.errors import UserError

ANY, UNKNOWN = "any", "-"
Progress = Callable[[Iterator[Entry], int], Iterable[Entry]]
_MOST_SHOWN = 20
_AT_ONCE = 512


@dataclass
class CheckReport:
    """What ``run-bench check`` prints.

    Attributes:
        card: what was expected.
        place: where the tree starts; None where there is none.
        rows: name, found and expected of what was counted.
        problems: one line for each thing that is wrong: where, and what would be right.
        notes: lines on what is not wrong and yet worth knowing.
    """

    card: DatasetCard
    place: Path | None = None
    rows: list[tuple[str, str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def right(self) -> bool:
        """Whether a run can use what is there."""
        return not self.problems

    def lines(self) -> list[str]:
        """Write the report as a person reads it."""
        rows = [("", "found", "expected"), *self.rows] if self.rows else []
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
        shown = [f"{self.card.name}: {self.card.title}"]
        shown += [f"  place: {self.place}"] if self.place else []
        shown += [f"  {name:<{widths[0]}}  {found:>{widths[1]}}  {wanted:>{widths[2]}}" for name, found, wanted in rows]
        shown += [f"  {note}" for note in self.notes]
        if self.right:
            return [*shown, "all there"]
        hidden = len(self.problems) - _MOST_SHOWN
        shown += ["problems:", *(f"  * {problem}" for problem in self.problems[:_MOST_SHOWN])]
        shown += [f"  * and {hidden:,} more"] if hidden > 0 else []
        shown += ["how to get it:", f"  {self.card.get}", f"  source: {self.card.source}"]
        return [*shown, f"  expected tree: {self.card.tree}"]


def check(
    card: DatasetCard, data_root: Path | None, deep: bool = False, progress: Progress | None = None
) -> CheckReport:
    """Walk the tree of ``card`` below ``data_root`` with a run's own checks, under every condition that is there.

    Args:
        card: what is expected.
        data_root: where it lies, or a folder that holds it; None for what the package carries.
        deep: whether every image is decoded and every published digest compared.
        progress: wraps the images of one condition while they are decoded, with their number, for a bar.

    Raises:
        UserError: for a data root of what the package carries. Exit code 2.
    """
    report = CheckReport(card)
    layout = Dataset(card, data_root).layout
    if layout.data_root is None or not layout.data_root.is_dir():
        none_given = "no folder is given: --data-root FOLDER, or APM_TTA_DATA_ROOT"
        where = none_given if data_root is None else f"{data_root} is no folder"
        report.problems.append(f"{where}; expected the one that holds {card.tree}")
        return report
    try:
        report.place = layout.place
        _walk(report, layout, deep, progress or (lambda entries, _: entries))
        if note := layout.note():
            report.notes.append(note)
    except UserError as error:
        report.problems.append(str(error))
    report.problems = list(dict.fromkeys(report.problems))
    return report


def presence(card: DatasetCard, data_root: Path | None) -> str:
    """Tell whether the data set is there, by the shape of the tree alone: nothing is counted."""
    if LAYOUTS.get(card.layout).carried:
        return "carried"
    if data_root is None:
        return "needs --data-root"
    return "there" if Dataset(card, data_root).layout.there else "not there"


def overview(data_root: Path | None) -> list[str]:
    """Describe every card in a line, aligned: name, images, classes, whether it is there, title, licence.

    Args:
        data_root: what was given explicitly; see ``resolve_data_root``.
    """
    rows = []
    for card in map(load_card, card_names()):
        numbers = [f"{_span([card.images])} images", f"{_span([card.class_count])} classes"]
        rows.append([card.name, *numbers, presence(card, resolve_data_root(card, data_root)), card.title, card.licence])
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    name, images, classes, there, title = widths
    return [
        f"{row[0]:<{name}}  {row[1]:>{images}}  {row[2]:>{classes}}  {row[3]:<{there}}  {row[4]:<{title}}  {row[5]}"
        for row in rows
    ]


def _walk(report: CheckReport, layout: Layout[Any], deep: bool, progress: Progress) -> None:
    """Count one condition after the other: ImageNet-C's 4.75 million images are never all in memory."""
    card, conditions = layout.card, layout.conditions()
    report.problems += layout.outline()
    if not conditions:
        report.problems[:0] = layout.other_sets(True) or [f"{layout.place} holds no images of {card.title}"]
    images: list[int] = []
    images_per_class: list[int] = []
    labels: set[int] = set()
    digest = hashlib.sha256()
    for condition in conditions:
        found = layout.survey(condition)
        report.problems += found.problems
        counts = Counter(entry.label for entry in found.entries)
        images.append(len(found.entries))
        images_per_class += counts.values()
        labels |= set(counts)
        add_entries(digest, condition, found.entries)
        if deep:
            _decode(report, layout, found.entries, progress)
    if layout.stores_corruptions:
        most, fewest = len(card.stored_corruptions), len(card.stored_corruptions) - len(card.extra_corruptions)
        there = len({condition.corruption for condition in conditions})
        report.rows.append(("corruptions", str(there), f"{fewest} to {most}" if fewest < most else str(most)))
        report.rows.append(("conditions", str(len(conditions)), str(5 * most) if fewest == most else ANY))
    every = "images a condition" if layout.stores_corruptions else "images"
    report.rows += [
        ("classes", _span([len(labels)]), _span([card.class_count]) if not layout.partial else ANY),
        (every, _span(images), _span([card.images])),
        ("images a class", _span(images_per_class), _span([card.images_per_class])),
        ("fingerprint", digest.hexdigest()[:12], card.fingerprint[:12] if card.fingerprint else UNKNOWN),
    ]
    if card.fingerprint and not report.problems and digest.hexdigest() != card.fingerprint:
        report.problems.append(f"{layout.place}: the fingerprint is {digest.hexdigest()}, expected {card.fingerprint}")
    if deep:
        _compare_digests(report, layout.place)


def _span(numbers: Sequence[int | None]) -> str:
    known = [number for number in numbers if number is not None]
    if not known:
        return ANY if numbers else UNKNOWN
    low, high = min(known), max(known)
    return f"{low:,}" if low == high else f"{low:,} .. {high:,}"


def _decode(report: CheckReport, layout: Layout[Any], entries: Sequence[Entry], progress: Progress) -> None:
    """Read every image; Pillow decodes beside Python, so threads are enough."""

    def damage(entry: Entry) -> str | None:
        try:
            layout.read(entry.id)
        except DamagedImage as error:
            return str(error)
        return None

    remaining = iter(progress(iter(entries), len(entries)))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        while some := list(islice(remaining, _AT_ONCE)):
            report.problems += [line for line in threads.map(damage, some) if line]


def _compare_digests(report: CheckReport, place: Path) -> None:
    compared = 0
    for name, expected in report.card.checksums.items():
        path = place / name
        if path.is_file():
            kind, _, wanted = expected.partition(":")
            with path.open("rb") as file:
                found = hashlib.new(kind, usedforsecurity=False)
                while chunk := file.read(1 << 20):
                    found.update(chunk)
            compared += 1
            if found.hexdigest() != wanted:
                report.problems.append(f"{path} has {kind} {found.hexdigest()}, expected {wanted}; download it again")
    if report.card.checksums:
        report.notes.append(f"published digests compared: {compared} of {len(report.card.checksums)}")
