"""Whether the labels of a store mean what the card's do, told by the names that the store gives to its classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from apm_tta.data.class_lists import ClassList
from apm_tta.data.class_names import plain_name
from apm_tta.wording import first_few, pluralise


@dataclass(frozen=True)
class ClassOrder:
    """What a store's labels are in the card's list.

    Attributes:
        count: of the store's classes.
        rows: label in the card's list of each of them; None where the labels are the card's.
        problems: one line for each reason why they cannot be known.
        doubts: one line for each thing that may not be as meant.
    """

    count: int
    rows: Sequence[int] | None = None
    problems: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    def label_of(self, stored: int) -> int | None:
        """Return the label in the card's list; None for a number that is no label."""
        if not 0 <= stored < self.count:
            return None
        return stored if self.rows is None else self.rows[stored]


def class_order(place: Path, stated: ClassList | None, expected: ClassList, partial: bool) -> ClassOrder:
    """Compare the classes that a store names with the card's, place by place.

    Args:
        place: of the store, for messages.
        stated: the store's classes in the order of its labels; None where it does not name them.
        expected: the card's classes.
        partial: whether some of the card's classes are enough; then they are found by the names of their folders.
    """
    if stated is None:
        doubt = f"{place} does not name its classes: that their order is the card's cannot be seen"
        return ClassOrder(len(expected), doubts=(doubt,))
    count = len(stated)
    folders = {name: label for label, name in enumerate(expected.folders)}
    if partial and all(name in folders for name in stated.folders):
        return ClassOrder(count, [folders[name] for name in stated.folders])
    if count != len(expected):
        found = pluralise(count, "class", "classes")
        return ClassOrder(count, problems=(f"{place} names {found}, expected {len(expected):,}",))
    names = zip(stated.names, stated.folders, strict=True)
    problems, doubts = _compare_names(place, enumerate(names), expected)
    return ClassOrder(count, problems=problems, doubts=doubts)


def named_labels(place: Path, names: Mapping[int, str], expected: ClassList) -> ClassOrder:
    """Compare what images call some of their labels with the card's names, as ``class_order`` does all.

    Args:
        place: of the store, for messages.
        names: by label; those that are no label of the card's are passed over.
        expected: the card's classes.
    """
    within = [(label, (name,)) for label, name in sorted(names.items()) if 0 <= label < len(expected)]
    problems, doubts = _compare_names(place, within, expected)
    return ClassOrder(len(expected), problems=problems, doubts=doubts)


def _compare_names(
    place: Path, stated: Iterable[tuple[int, Sequence[str]]], expected: ClassList
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the problems and the doubts about labels, each with what it is called, the first name the one to show."""
    known = _known_names(expected)
    everywhere = {name: label for label, names in enumerate(known) for name in names}
    moved, unknown, count = [], [], 0
    for label, names in stated:
        count += 1
        if any(plain_name(name) in known[label] for name in names):
            continue
        if (other := everywhere.get(plain_name(names[0]))) is not None:
            moved.append(f"{label} is {names[0]!r} there, which is {other} of the card")
        else:
            unknown.append(f"{label} is {names[0]!r} there, {expected.names[label]!r} in the card")
    if moved or 0 < len(unknown) == count:
        number = f"in {len(moved) or count:,} of {count:,} places"
        line = f"{place} has the classes in another order than the card {number}: {first_few(moved or unknown, '; ')}"
        return (f"{line}; its labels would mean other classes",), ()
    doubt = f"{pluralise(len(unknown), 'class has', 'classes have')} another name: {first_few(unknown, '; ')}"
    return (), (doubt,) if unknown else ()


def _known_names(classes: ClassList) -> list[set[str]]:
    """Return everything that each class is called: its name and folder and, of ImageNet's, WordNet's words for it."""
    terms = [classes.names, classes.folders]
    if classes.imagenet_rows is not None:
        from timm.data import ImageNetInfo

        information = ImageNetInfo()
        synsets = tuple(information.label_names()[row] for row in classes.imagenet_rows)
        terms += [synsets, tuple(information.label_name_to_description(synset) for synset in synsets)]
    known: list[set[str]] = []
    for words in zip(*terms, strict=True):
        spelt = {*words, *(part for word in words for part in word.split(", "))}
        known.append({plain_name(word) for word in spelt})
    return known
