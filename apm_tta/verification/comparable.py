"""Whether a published number and a run are of the same images and classes."""

from __future__ import annotations

from apm_tta.data.dataset import Dataset
from apm_tta.report.published_rows import PublishedRow, conditions
from apm_tta.teachers import Teacher
from apm_tta.wording import pluralise


def reasons_against(row: PublishedRow, dataset: Dataset, teacher: Teacher) -> list[str]:
    """Say in one phrase each why the row cannot be compared with a run; nothing where it can.

    Args:
        row: published.
        dataset: of the run.
        teacher: of the run.
    """
    protocol, card = row.protocol, dataset.card
    seen = conditions(card, protocol)
    if not seen:
        return [f"it is a mean over corruptions, and {card.name} stores none"]
    available, classes = dataset.available(seen[0]), len(dataset.classes)
    reasons = []
    if protocol.images is not None and protocol.images != available:
        which = f" ({protocol.split})" if protocol.split else ""
        images = pluralise(protocol.images, "image")
        reasons.append(f"another split: the row is of {images}{which}, {card.name} here has {available:,}")
    if protocol.classes is not None and protocol.classes != classes:
        reasons.append(f"other classes: the row has {protocol.classes:,}, {card.name} here has {classes:,}")
    if protocol.other_classes:
        reasons.append(f"other names of the classes: {protocol.other_classes}")
    if row.method == "source" and teacher.classifier != "head":
        reasons.append(f"the row is of a classification head; this teacher has {teacher.classifier}")
    if row.method in ("zeroshot", "ensemble") and teacher.classifier != "text":
        reasons.append(f"the row is of class weights from text; this teacher's come from {teacher.classifier}")
    return reasons
