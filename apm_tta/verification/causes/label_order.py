"""Labels in another order than the classes: numbers sorted as text, names by alphabet, counted from 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from apm_tta.verification.causes.base import CAUSES, Attempt
from apm_tta.verification.setup import Case


@CAUSES.register("order of labels")
def label_order(case: Case) -> list[Attempt]:
    """Try labels that were numbered in another order than the classes, in either direction; no image is read."""
    listed = case.dataset.layout.class_list()
    count = len(listed)
    keys: dict[str, Sequence[str]] = {
        "numbers from 0 sorted as text (0, 1, 10, 100, 2)": [str(label) for label in range(count)],
        "numbers from 1 sorted as text (1, 10, 100, 2)": [str(label + 1) for label in range(count)],
        "folders sorted by name": listed.folders,
        "class names sorted by alphabet": listed.names,
        "class names sorted by alphabet, capitals like small letters": [name.casefold() for name in listed.names],
    }
    attempts = []
    for what, key in keys.items():
        order = sorted(range(count), key=lambda label: key[label])
        places = [order.index(label) for label in range(count)]
        attempts += [
            Attempt(f"labels in the order of {what}", replace(case.start, labels=tuple(order))),
            Attempt(f"classes in the order of {what}", replace(case.start, labels=tuple(places))),
        ]
    shifts = {"one too high": -1, "one too low": 1}
    for what, shift in shifts.items():
        labels = tuple((label + shift) % count for label in range(count))
        attempts.append(Attempt(f"labels {what}", replace(case.start, labels=labels)))
    return attempts
