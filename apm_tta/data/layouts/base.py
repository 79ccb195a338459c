"""The base class of layouts, with the checks that all layouts share."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast

from pydantic import ValidationError

from apm_tta.configuration import Configuration, one_line
from apm_tta.data.archives import archive_at, stem
from apm_tta.data.cards import DatasetCard, every_card
from apm_tta.data.class_lists import ClassList
from apm_tta.data.decoding import PUBLISHED, VIEWER, Reading
from apm_tta.data.files import archives_in, archives_of, is_folder, is_root, looking_into, refuse_no_text
from apm_tta.data.files.lookup import Depth
from apm_tta.data.image_files import Patience
from apm_tta.data.layouts.images import decode_image, read_stored
from apm_tta.data.layouts.unused import Unused
from apm_tta.data.sample import CLEAN, OF_THE_TREE, Condition, ReadImage, StoredImage
from apm_tta.errors import UserError
from apm_tta.registry import Registry
from apm_tta.wording import first_few, pluralise


@dataclass(frozen=True, slots=True)  # there may be millions of them
class Entry:
    """One image that a layout can read.

    Attributes:
        id: path below the folder where the tree starts.
        label: its class; the first one that the data set states where several are right.
        others: the other classes that are right too; none of nearly all data sets.
    """

    id: str
    label: int
    others: tuple[int, ...] = ()


@dataclass
class Survey:
    """The images and problems found under one condition.

    Attributes:
        entries: images, in a fixed order.
        problems: one line for each deviation from the card; empty when the entries can be used.
        folder: the folder that was walked; None for the one where the tree starts.
        doubts: one line for each thing that a run can use and that may yet not be as meant.
        unused: the files below the folder that no entry is read from.
    """

    entries: list[Entry] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    unused: Unused = field(default_factory=Unused)
    folder: Path | None = None


class NoOptions(Configuration):
    """The options of a layout without options."""


O = TypeVar("O", bound=Configuration)  # noqa: E741  the options of a layout


class Layout(ABC, Generic[O]):
    """Finds and reads the images of one data set.

    A subclass states ``Options``, a frozen model of what a card's ``layout_options`` may contain, and repeats it as the
    parameter of ``Layout``: ``class MyLayout(Layout[MyOptions])`` with ``Options = MyOptions``. Unless it overrides
    ``file_of``, ``stored`` and ``decode``, every image is a file whose path below ``place`` is its id.

    Args:
        card: what is expected.
        data_root: where the tree, or a folder that contains it, lies; None for a data set that the package carries.

    Raises:
        UserError: when the card's ``layout_options`` are not valid for this layout, naming the card and the field.

    Attributes:
        Options: type of ``options``.
        options: the card's ``layout_options``, validated.
        stores_corruptions: whether the tree contains its own conditions, corruptions or domains; otherwise images are
            corrupted as they are read.
        carried: whether the package carries the images.
        open_ended: whether the tree may be anyone's: then it is never taken for the tree of a published data set.
        ids: what an image's id is: ``OF_THE_TREE``, unless the images lie in a store that does not hold their names.
        doubts: of the conditions whose images were asked for; see ``Survey.doubts``.
        patience: with images that cannot be reached.
        archives: from which images are read, of those that were asked for.
    """

    Options: ClassVar[type[Configuration]] = NoOptions
    carried: ClassVar[bool] = False
    stores_corruptions: bool = False
    open_ended: bool = False
    ids: str = OF_THE_TREE

    def __init__(self, card: DatasetCard, data_root: Path | None) -> None:
        self.card = card
        self.data_root = data_root
        self.doubts: dict[str, None] = {}
        self.patience = Patience()
        self.archives: dict[Path, None] = {}
        self.options: O = self.checked_options()

    def checked_options(self) -> O:
        """Return the card's ``layout_options``, validated.

        Raises:
            UserError: when they are not valid for this layout, naming the card and the field.
        """
        try:
            options: Any = self.Options.model_validate(self.card.layout_options)
        except ValidationError as error:
            raise UserError(f"card {self.card.name}, layout_options: {one_line(error)}; correct the card") from None
        return cast("O", options)

    @property
    def reading(self) -> Reading:
        """By whose rules a file becomes RGB: published code's for a published set, a viewer's for one's own images."""
        return VIEWER if self.open_ended else PUBLISHED

    @property
    def partial(self) -> bool:
        """Whether a subset of the classes is enough."""
        return False

    @abstractmethod
    def fits(self, folder: Path) -> bool:
        """Return whether ``folder`` looks like the start of the tree; quick, and true of a damaged tree too."""

    def matches(self, folder: Path) -> bool:
        """Return whether ``folder`` is this data set's and no other's, apart from the contents of the class folders."""
        return self.fits(folder)

    @abstractmethod
    def walk(self, condition: Condition) -> Survey:
        """Find every image under ``condition``, and any problems; ``survey`` checks the counts."""

    def file_of(self, sample_id: str) -> Path | None:
        """Return the file that holds this image and no other; None where files hold many."""
        return self.place / sample_id

    def stored(self, sample_id: str) -> StoredImage:
        """Read the bytes in which this image is stored, without decoding them.

        Raises:
            UnreadImage: when they cannot be read.
            OutOfReach: when it is the last of too many that cannot.
        """
        return read_stored(self.place / sample_id, self.patience)

    def decode(self, sample_id: str, stored: StoredImage) -> ReadImage:
        """Decode the image with this id from its bytes.

        Raises:
            UnreadImage: when they are not an image, or not one that can be used.
        """
        return decode_image(self.place / sample_id, stored, self.reading)

    def read(self, sample_id: str) -> ReadImage:
        """Read and decode the image with this id.

        Raises:
            UnreadImage: when that is impossible.
            OutOfReach: when it is the last of too many that cannot be reached.
        """
        return self.decode(sample_id, self.stored(sample_id))

    def class_list(self) -> ClassList:
        """Return the classes: the card's, or those that the tree states where the card leaves them to the tree.

        Raises:
            UserError: when the tree has to state them and does not.
        """
        return self.card.class_list

    def folder_names(self, classes: ClassList) -> tuple[str, ...] | None:
        """Return the name of each class's folder in a tree ``class folder/image``; None for a tree of another shape.

        By it a store that knows the class of an image and the name of its file knows the image's id in the tree.
        """
        return None

    def checksums(self) -> Mapping[str, str]:
        """Return the digests of files below ``place`` that were stated when they were packed, by name; usually none."""
        return {}

    def reading_order(self, ids: Sequence[str]) -> Sequence[str]:
        """Return these ids in the order in which their images are read fastest."""
        return ids

    def files(self, condition: Condition, entries: Sequence[Entry]) -> list[Path]:
        """Return the files that ``entries`` are read from."""
        return [self.place / entry.id for entry in entries]

    def conditions(self) -> list[Condition]:
        """Return the conditions whose images are in the tree."""
        return [CLEAN]

    def tree_problems(self) -> list[str]:
        """Describe problems of the tree as a whole, which belong to no single condition, one per line."""
        return []

    def note(self) -> str:
        """Return what the title should state about this tree beyond the card; empty for nothing."""
        return ""

    def survey(self, condition: Condition) -> Survey:
        """Walk the tree, check the card's counts, and name other data sets whose tree this is."""
        found = self.walk(condition)
        archives = self._archives_read(condition, found.entries)
        self.archives.update(dict.fromkeys(archives))
        if problems := self._problems_of(archives):
            return Survey(problems=problems)
        if not found.problems:
            expected = self.card.images_under(condition)
            found.problems += self._count_problems(found.entries, found.folder or self.place, expected)
        if line := found.unused.line(found.folder or self.place):
            found.doubts.append(line)
        found.problems[:0] = self.other_set_problems(wrong=bool(found.problems))
        return found

    def packed_note(self) -> str:
        """State from which archives images are read, of those that were asked for; empty for none."""
        names = [archive.name for archive in self.archives]
        if len(names) < 2:
            return f"read from {names[0]}" if names else ""
        return f"read from {len(names)} archives, {first_few(names)}"

    def left_archives(self) -> list[str]:
        """State in a line which archives are not read, as what was unpacked from them comes first; nothing for none."""
        if self.carried or not self.place.is_dir():
            return []
        with suppress(OSError):
            beside = [name for name in archives_in(str(self.place.parent)) if stem(Path(name).name) == self.place.name]
            within = [] if archives_of(self.place) else archives_in(str(self.place))
            if left := [name for name in (*beside, *within) if Path(name) not in self.archives]:
                number = pluralise(len(left), "archive is", "archives are")
                return [f"{number} not read, since what is unpacked comes first ({first_few(left)})"]
        return []

    def folders_read(self, condition: Condition, entries: Sequence[Entry]) -> Mapping[Path, Path]:
        """Return the folders with files that ``entries`` are read from, each with the first such file."""
        first: dict[str, str] = {}
        for entry in entries:
            folder, _, name = entry.id.rpartition("/")
            first.setdefault(folder, name)
        return {self.place / folder: self.place / folder / name for folder, name in first.items()}

    def _archives_read(self, condition: Condition, entries: Sequence[Entry]) -> list[Path]:
        if self.carried:
            return []
        folders = self.folders_read(condition, entries)
        packed = [archives_of(folder) for folder, first in folders.items() if not os.path.lexists(first)]
        return sorted({archive for archives in packed for archive in archives})

    @staticmethod
    def _problems_of(archives: Iterable[Path]) -> list[str]:
        return [problem for archive in archives for problem in archive_at(str(archive)).problems()]

    def entries(self, condition: Condition) -> Sequence[Entry]:
        """Return every image under ``condition``, in a fixed order.

        Raises:
            UserError: when the tree is not what the card describes.
        """
        found = self.survey(condition)
        if found.problems:
            more = len(found.problems) - 3
            rest = f"; and {pluralise(more, 'more problem')}: run-bench check {self.card.name}" if more > 0 else ""
            raise UserError("; ".join(found.problems[:3]) + rest)
        self.doubts.update(dict.fromkeys(found.doubts))
        return found.entries

    @cached_property
    def place(self) -> Path:
        """The folder where the tree starts; ids are paths below it.

        Raises:
            UserError: when no data root is given, it is not a folder, or its path is no text.
        """
        if self.data_root is None or not is_root(self.data_root):
            where = "needs --data-root FOLDER" if self.data_root is None else f"is not at {self.data_root}"
            raise UserError(f"{self.card.name} {where}; expected tree: {self.card.tree}; to get it: {self.card.get}")
        refuse_no_text(self.data_root.resolve())
        found = next(self._fitting_places(), None)
        place = found or self._own_folder() or self.data_root
        archives = archives_of(place)
        problems = self._problems_of(archives)
        if found is None:
            problems += [line for archive in archives for line in archive_at(str(archive)).nested_problems()]
        if problems:
            raise UserError(problems[0])  # which is why nothing, or too little, is found there
        return place

    @property
    def is_maybe_packed(self) -> bool:
        """Whether there are archives below the data root that were never gone through."""
        with suppress(OSError), looking_into("none"):
            folders = [folder for folder in (self.data_root, self._own_folder()) if folder is not None]
            found = [archive_at(name) for folder in folders if folder.is_dir() for name in archives_in(str(folder))]
            return not all(archive.is_indexed() for archive in found)
        return False

    @property
    def is_present(self) -> bool:
        """Whether this data set's tree exists below the data root; no image is counted, and no archive gone through."""
        with looking_into("indexed"):
            return self.data_root is not None and any(self.matches(place) for place in self._fitting_places())

    @cached_property
    def _other_cards(self) -> list[DatasetCard]:
        return [card for card in every_card() if card.name != self.card.name]

    def candidate_places(self) -> list[Path]:
        """Return the folders where images may lie: below the folder named like the card, then below the data root."""
        candidates = [folder for folder in (self._own_folder(), self.data_root) if folder is not None]
        return [Path(folder, below) for folder in candidates for below in self.card.places]

    def fits_at(self, place: Path) -> bool:
        """Return whether the tree may start at ``place``; not in a folder that cannot be read."""
        try:
            return is_folder(place) and self.fits(place)
        except UserError:
            return False

    def _fitting_places(self) -> Iterator[Path]:
        for depth in DEPTHS:
            with looking_into(depth):
                places = self.candidate_places()
            for place in places:
                with looking_into(depth):
                    fitting = self.fits_at(place)
                if fitting:
                    yield place

    def _own_folder(self) -> Path | None:
        """Find the folder named like the card below the data root; an open-ended tree may have a class of that name."""
        if self.data_root is None or self.open_ended:
            return None
        folder = self.data_root / self.card.name
        return folder if is_folder(folder) else None

    def other_set_problems(self, wrong: bool) -> list[str]:
        """Name in one line another card whose tree this is: by its classes, or by its folder's published name."""
        with looking_into("indexed"):
            return self._other_set_problems(wrong)

    def _other_set_problems(self, wrong: bool) -> list[str]:
        own, others = self.card, self._other_cards
        if not wrong:
            twins = [card for card in others if _indistinguishable(card, own)]
            named = [card for card in twins if self.place.name in _place_names(card) - _place_names(own)]
            return [f"{self.place} is named like {card.title}, not like {own.title}; use {card.name}" for card in named]
        if _is_tree_of(own, self.place) and not self.partial:
            return []
        fit = [card for card in others if _is_tree_of(card, self.place)]
        if complete := [card for card in fit if not LAYOUTS.get(card.layout)(card, self.place).partial]:
            names = " or ".join(card.name for card in complete)
            return [f"{self.place} has the tree of {complete[0].title}, not of {own.title}; use {names}"]
        return [f"{self.place} has some of the classes of {card.title}; for any subset use {card.name}" for card in fit]

    def _count_problems(self, entries: Sequence[Entry], place: Path, images: int | None) -> list[str]:
        card, classes = self.card, self.class_list()
        problems = []
        if len(classes) == 1:
            problems.append(f"{place} has one class, {classes.names[0]}: a test needs at least two to choose from")
        if card.class_count is not None and len(classes) != card.class_count:
            number = pluralise(len(classes), "class", "classes")
            problems.append(f"{place} names {number}, expected {card.class_count:,}")
        expected, counts = card.images_per_class, Counter(entry.label for entry in entries)
        wrong = [label for label in range(len(classes)) if expected and counts[label] != expected]
        if wrong:
            number = pluralise(len(wrong), "class", "classes")
            which = first_few([f"{classes.folders[label]} has {counts[label]}" for label in wrong])
            problems.append(f"{place} has {number} without exactly {pluralise(expected or 0, 'image')}: {which}")
        if images is not None and len(entries) != images:
            fit = [other.name for other in self._other_cards if _indistinguishable(other, card, len(entries))]
            hint = f"that is the number of {' or '.join(fit)}" if fit else "unpack it again"
            problems.append(f"{place} has {pluralise(len(entries), 'image')}, expected {images:,}; {hint}")
        return problems


DEPTHS: tuple[Depth, ...] = ("none", "all")
"""What is unpacked is used wherever it lies, before any archive is looked into."""

LAYOUTS: Registry[type[Layout[Any]]] = Registry("layout")


def _is_tree_of(card: DatasetCard, folder: Path) -> bool:
    kind = LAYOUTS.get(card.layout)
    return not kind.carried and not kind.open_ended and kind(card, folder).matches(folder)


def _indistinguishable(card: DatasetCard, other: DatasetCard, images: int | None = None) -> bool:
    """Return whether two cards' trees match in shape, classes and number (``images``, else that of ``other``)."""
    number = other.images if images is None else images
    known = card.classes is not None and card.images is not None
    return known and (card.layout, card.classes, card.images) == (other.layout, other.classes, number)


def _place_names(card: DatasetCard) -> set[str]:
    """Return the names that the release gives to the folder where the tree starts."""
    return {Path(place).name for place in card.places if place}
