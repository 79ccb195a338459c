"""Which of our runs compares with a published number: the command itself, or why there is none."""

from __future__ import annotations

from functools import cache
from pathlib import PurePosixPath

from apm_tta.data.cards import DatasetCard, load_card
from apm_tta.method_rows import is_variant, method_of
from apm_tta.methods import METHODS
from apm_tta.report.published_rows import TEMPLATES, Protocol, PublishedRow
from apm_tta.resources import SUITES, yaml_names
from apm_tta.wording import for_shell, pluralise

NONE = "none: "
"""What the sentence begins with where there is no such run."""
_FOLDER = PurePosixPath("results/published/templates")
_TEACHER_ALONE = ("zeroshot", "ensemble")
"""Of these the order of a stream and the seed change no answer."""


def run_of(row: PublishedRow) -> str:
    """Return the command whose number compares with a published one; several where that is a mean over sets.

    They are separated by semicolons, and ``results.csv`` of each has the number: ``top1``, or ``ece``; an error is 100
    minus ``top1``. Where no run has the row's images, classes or method, ``NONE`` and the reason.
    """
    if row.ours.none:
        return f"{NONE}{row.ours.none}"
    if unknown := sorted(set(row.datasets) - set(yaml_names(SUITES))):
        return f"{NONE}no suite has the set {unknown[0]}"
    cards = list(map(_card, row.datasets))
    if reasons := [reason for card in cards for reason in differences(row.protocol, card)]:
        return f"{NONE}{reasons[0]}"
    return "; ".join(for_shell(_words(row, card)) for card in cards)


@cache
def _card(name: str) -> DatasetCard:
    """Return a card, looked for once: a few sets have all of the rows."""
    return load_card(name)


def differences(protocol: Protocol, card: DatasetCard) -> list[str]:
    """Say in one phrase each how the images and classes of a published number are not the card's."""
    reasons = []
    if None not in (protocol.images, card.images) and protocol.images != card.images:
        which = f" ({protocol.split})" if protocol.split else ""
        images = pluralise(protocol.images or 0, "image")
        reasons.append(f"another split: the row is of {images}{which}, {card.name} here has {card.images:,}")
    if None not in (protocol.classes, card.class_count) and protocol.classes != card.class_count:
        reasons.append(f"other classes: the row has {protocol.classes:,}, {card.name} here has {card.class_count:,}")
    if protocol.other_classes:
        reasons.append(f"other names of the classes: {protocol.other_classes}")
    return reasons


def _words(row: PublishedRow, card: DatasetCard) -> list[str]:
    protocol, name = row.protocol, row.ours.row
    if protocol.names != "card":  # no option of a run has another spelling; verify has
        return ["run-bench", "verify", row.teacher, card.name]
    words = ["run-bench", card.name, "--teacher", row.teacher, "--methods", name]
    if protocol.severity is not None:
        words += ["--severities", str(protocol.severity)]
    if protocol.subset is not None:
        words += ["--subset", protocol.subset]
    method = method_of(name)
    if protocol.setting != "iid" and method not in _TEACHER_ALONE:
        words += ["--setting", protocol.setting]
    if protocol.seeds and method not in _TEACHER_ALONE:
        words += ["--seeds", ",".join(map(str, protocol.seeds))]
    if METHODS.get(method).published is not None and method not in _TEACHER_ALONE and not is_variant(name):
        words += ["--set", f"{method}.preset=published"]
    if protocol.templates is not None and method in _TEACHER_ALONE:
        file = TEMPLATES / protocol.templates
        words += ["--set", f"{method}.templates={_FOLDER / file.name if file.is_file() else protocol.templates}"]
    return words
