"""Whether a published number and a run are of the same images and classes."""

from __future__ import annotations

from apm_tta.data.cards import DatasetCard
from apm_tta.data.dataset import Dataset
from apm_tta.report.published_rows import PublishedRow, conditions
from apm_tta.report.published_runs import differences
from apm_tta.teachers import Teacher
from apm_tta.wording import pluralise


def reasons_by_card(row: PublishedRow, card: DatasetCard) -> list[str]:
    """Say in one phrase each why no run on this set compares with the row; nothing where one may. No image is read."""
    if not conditions(card, row.protocol):
        return [f"the row is a mean over corruptions, and {card.name} stores none"]
    return differences(row.protocol, card)


def reasons_here(row: PublishedRow, dataset: Dataset, teacher: Teacher) -> list[str]:
    """Say in one phrase each why the row does not compare with this teacher on these images; nothing where it does."""
    protocol, name = row.protocol, dataset.card.name
    available, classes = dataset.available(conditions(dataset.card, protocol)[0]), len(dataset.classes)
    reasons = []
    if protocol.images not in (None, available):
        images = pluralise(protocol.images or 0, "image")
        reasons.append(f"another split: the row is of {images}, {name} here has {available:,}")
    if protocol.classes not in (None, classes):
        reasons.append(f"other classes: the row has {protocol.classes:,}, {name} here has {classes:,}")
    if row.method == "source" and teacher.classifier != "head":
        reasons.append(f"the row is of a classification head, the class weights here are from {teacher.classifier}")
    if row.method != "source" and teacher.classifier != "text":
        reasons.append(f"the row is of class weights from text, those here are from a {teacher.classifier}")
    return reasons
