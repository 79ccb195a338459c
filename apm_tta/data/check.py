"""Compare what lies below a data root with what the card expects, before an hour of computing is spent."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from apm_tta.data.cards import DatasetCard, every_card
from apm_tta.data.compare_digests import compare_digests
from apm_tta.data.data_root import resolve_data_root
from apm_tta.data.dataset import Dataset
from apm_tta.data.decode_all import Progress, decode_all
from apm_tta.data.files import is_root, looking_into
from apm_tta.data.fingerprint import add_entries
from apm_tta.data.layouts import LAYOUTS, Layout
from apm_tta.data.twins import linked_twins
from apm_tta.errors import UserError
from apm_tta.wording import pluralise

ANY, UNKNOWN = "any", "-"
_MAX_SHOWN = 20


@dataclass
class CheckReport:
    """The result that ``run-bench check`` prints.

    Attributes:
        card: what was expected.
        place: where the tree starts; None if there is none.
        rows: name, found and expected number of everything that was counted.
        problems: one line per problem: where it is, and what would be right.
        notes: lines on what is not wrong but worth knowing.
        doubts: lines on what a run can use and what may yet not be as meant.
    """

    card: DatasetCard
    place: Path | None = None
    rows: list[tuple[str, str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Return whether a run can use the data set."""
        return not self.problems

    def lines(self) -> list[str]:
        """Format the report for a reader."""
        rows = [("", "found", "expected"), *self.rows] if self.rows else []
        widths = [max((len(row[column]) for row in rows), default=0) for column in range(3)]
        shown = [f"{self.card.name}: {self.card.title}"]
        shown += [f"  place: {self.place}"] if self.place else []
        shown += [f"  {name:<{widths[0]}}  {found:>{widths[1]}}  {wanted:>{widths[2]}}" for name, found, wanted in rows]
        shown += [f"  {note}" for note in self.notes]
        shown += ["worth a look:", *(f"  * {doubt}" for doubt in self.doubts)] if self.doubts else []
        if self.passed:
            return [*shown, "a run can use it; see above" if self.doubts else "everything is as expected"]
        hidden = len(self.problems) - _MAX_SHOWN
        shown += ["problems:", *(f"  * {problem}" for problem in self.problems[:_MAX_SHOWN])]
        shown += [f"  * and {hidden:,} more"] if hidden > 0 else []
        shown += ["how to get it:"]
        shown += [f"  run-bench get {self.card.name} --data-root FOLDER"] if self.card.downloads else []
        shown += [f"  {self.card.get}", f"  source: {self.card.source}"]
        return [*shown, f"  expected tree: {self.card.tree}"]


def check(
    card: DatasetCard, data_root: Path | None, deep: bool = False, progress: Progress | None = None
) -> CheckReport:
    """Walk the tree of ``card`` below ``data_root`` with a run's own checks, under every condition found there.

    Args:
        card: what is expected.
        data_root: where it lies, or a folder that contains it; None for a data set that the package carries.
        deep: whether to decode every image and compare every published digest.
        progress: wraps the images of one condition, given with their number, while they are decoded; for a bar.

    Raises:
        UserError: for a data root of a data set that the package carries. Exit code 2.
    """
    report = CheckReport(card)
    layout = Dataset(card, data_root).layout
    if layout.data_root is None or not is_root(layout.data_root):
        none_given = "no folder given: use --data-root FOLDER, or set APM_TTA_DATA_ROOT"
        where = none_given if data_root is None else f"{data_root} is not a folder"
        report.problems.append(f"{where}; expected tree: {card.tree}")
        return report
    try:
        report.place = layout.place
        _walk(report, layout, deep, progress or (lambda entries, _: entries))
        report.notes += [note for note in (layout.note(), layout.packed_note()) if note]
        report.doubts += layout.left_archives()
    except UserError as error:
        report.problems.append(str(error))
    report.problems = list(dict.fromkeys(report.problems))
    report.doubts = list(dict.fromkeys(report.doubts))
    return report


def presence(card: DatasetCard, data_root: Path | None) -> str:
    """State whether the data set is present, judged by the shape of the tree alone: nothing is counted."""
    if LAYOUTS.get(card.layout).carried:
        return "carried"
    if data_root is None:
        return "needs --data-root"
    with looking_into("indexed"):
        layout = Dataset(card, data_root).layout
        if layout.is_present:
            return "found"
        return "not found outside archives" if layout.is_maybe_packed else "not found"


def overview(data_root: Path | None) -> list[str]:
    """Describe every card in an aligned line: name, images, classes, presence, title, licence.

    Args:
        data_root: the folder given explicitly; see ``resolve_data_root``.
    """
    rows = []
    for card in every_card():
        numbers = [
            f"{_span(list(card.domains.values()) or [card.images])} images",
            f"{_span([card.class_count])} classes",
        ]
        rows.append([card.name, *numbers, presence(card, resolve_data_root(card, data_root)), card.title, card.licence])
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    name, images, classes, state, title = widths
    return [
        f"{row[0]:<{name}}  {row[1]:>{images}}  {row[2]:>{classes}}  {row[3]:<{state}}  {row[4]:<{title}}  {row[5]}"
        for row in rows
    ]


def _walk(report: CheckReport, layout: Layout[Any], deep: bool, progress: Progress) -> None:
    """Count one condition after another: ImageNet-C's 4.75 million images are never all in memory."""
    card, conditions = layout.card, layout.conditions()
    report.problems += layout.tree_problems()
    if not conditions:
        report.problems[:0] = layout.other_set_problems(True) or [f"{layout.place} contains no images of {card.title}"]
    images: list[int] = []
    expected: list[int | None] = [card.images]
    images_per_class: list[int] = []
    labels: set[int] = set()
    remarks: Counter[str] = Counter()
    digest = hashlib.sha256()
    for condition in conditions:
        found = layout.survey(condition)
        report.problems += found.problems
        report.doubts += found.doubts
        counts = Counter(entry.label for entry in found.entries)
        images.append(len(found.entries))
        images_per_class += counts.values()
        labels |= set(counts)
        add_entries(digest, condition, found.entries)
        if deep:
            decoded = decode_all(layout, found.entries, progress)
            report.problems += decoded.problems
            report.doubts += decoded.doubts
            remarks += decoded.remarks
        elif not layout.stores_corruptions:
            report.doubts += linked_twins(layout, found.entries)
    if card.domains:
        report.rows.append(("domains", str(len(conditions)), str(len(card.domains))))
        expected = list(card.domains.values())
    elif layout.stores_corruptions:
        most, fewest = len(card.stored_corruptions), len(card.stored_corruptions) - len(card.extra_corruptions)
        corruptions = len({condition.corruption for condition in conditions})
        report.rows.append(("corruptions", str(corruptions), f"{fewest} to {most}" if fewest < most else str(most)))
        report.rows.append(("conditions", str(len(conditions)), str(5 * most) if fewest == most else ANY))
    counted = "images per condition" if layout.stores_corruptions else "images"
    report.rows += [
        ("classes", _span([len(labels)]), _span([card.class_count]) if not layout.partial else ANY),
        (counted, _span(images), _span(expected)),
        ("images per class", _span(images_per_class), _span([card.images_per_class])),
        ("fingerprint", digest.hexdigest()[:12], card.fingerprint[:12] if card.fingerprint else UNKNOWN),
    ]
    if card.fingerprint and not report.problems and digest.hexdigest() != card.fingerprint:
        report.problems.append(f"{layout.place}: the fingerprint is {digest.hexdigest()}, expected {card.fingerprint}")
    if deep:
        report.notes += [f"{pluralise(count, 'image')}: {remark}" for remark, count in sorted(remarks.items())]
        problems, notes = compare_digests(
            card, layout.place, layout.data_root or layout.place, layout.archives, layout.checksums()
        )
        report.problems += problems
        report.notes += notes


def _span(numbers: Sequence[int | None]) -> str:
    """Format the range of ``numbers``: ``10``, ``9 .. 11``, or ``any`` where none of them is known."""
    known = [number for number in numbers if number is not None]
    if not known:
        return ANY if numbers else UNKNOWN
    low, high = min(known), max(known)
    return f"{low:,}" if low == high else f"{low:,} .. {high:,}"
