"""The images of a card as they lie in a store: its classes, ids and checks are the card's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from apm_tta.data.class_lists import ClassList
from apm_tta.data.class_names import are_synsets, equal_names
from apm_tta.data.files import refuse_no_text
from apm_tta.data.fingerprint import entries_fingerprint
from apm_tta.data.image_files import MissingImage
from apm_tta.data.layouts.base import Entry, Layout, Survey
from apm_tta.data.layouts.images import decode_image
from apm_tta.data.sample import CLEAN, OF_THE_TREE, Condition, ReadImage, StoredImage
from apm_tta.data.stores.base import Contents, Item, Store
from apm_tta.data.stores.class_order import ClassOrder, class_order, named_labels
from apm_tta.errors import UserError
from apm_tta.wording import first_few, pluralise


class StoreLayout(Layout[Any]):
    """Reads the images of a card from a store.

    Where the store holds the names of files, ids, their order, and therefore records are the tree's. Otherwise an id is
    the store's key, and ``ids`` says so: such a set is another one than the tree's.

    Args:
        store: where the images lie.
    """

    def __init__(self, store: Store) -> None:
        self.store, self.tree = store, store.tree
        tree = self.tree
        super().__init__(tree.card, tree.data_root)
        self.stores_corruptions, self.open_ended = tree.stores_corruptions, tree.open_ended
        self.patience = tree.patience
        self._keys: dict[str, str] = {}
        self._classes_present = 0

    def checked_options(self) -> Any:
        return self.tree.options

    @cached_property
    def place(self) -> Path:
        refuse_no_text(self.store.place.resolve())
        return self.store.place

    @property
    def is_present(self) -> bool:
        """Whether these may be the card's images, by their classes: those of several cards have the same ones."""
        try:
            if self.store.problems() or self.card.class_count not in (None, len(self.class_list())):
                return False
            named = self.card.classes is None or self.store.classes() is not None or bool(self.card.domains)
            return not (self._class_order.problems if named else self.walk(self.conditions()[0]).problems)
        except UserError:
            return False

    @property
    def is_maybe_packed(self) -> bool:
        return False

    @property
    def partial(self) -> bool:
        return self.tree.partial

    def fits(self, folder: Path) -> bool:
        return self.store.lies_in(folder)

    def other_set_problems(self, wrong: bool) -> list[str]:
        """Return nothing: whether these are the card's images is seen by their classes and number."""
        return []

    def class_list(self) -> ClassList:
        return self._classes

    def conditions(self) -> list[Condition]:
        return list(self.store.conditions())

    def checksums(self) -> Mapping[str, str]:
        return self.store.checksums()

    def note(self) -> str:
        parts = []
        if self.open_ended:
            parts.append(f"{self.place.resolve().name}; classes: those of its {self.store.form}")
        elif self.partial and self._classes_present:
            count = len(self.class_list())
            parts.append(f"{self._classes_present:,} of the {count:,} classes, all of which can be predicted")
        if self.ids != OF_THE_TREE and self._folders is not None:  # a set without a tree has nothing to be mixed with
            parts.append(f"from {self.store.form} without the names of its files: a set of its own")
        return "; ".join(parts)

    def walk(self, condition: Condition) -> Survey:
        conditions = self.store.conditions()
        if self.stores_corruptions and conditions == [CLEAN]:
            problem = f"the {self.store.form} in {self.place} do not say under which condition an image is"
            return Survey(problems=[f"{problem}; pack the tree of {self.card.title}: run-bench pack"])
        if condition not in conditions:
            available = first_few([str(each) for each in conditions])
            raise UserError(f"{self.place} has no images under {condition}; there are: {available}", exit_code=2)
        if problems := self.store.problems():
            return Survey(problems=problems)
        contents = self.store.contents(condition)
        found = Survey(problems=contents.problems, doubts=contents.doubts)
        order = self._class_order
        if contents.class_names and self.store.classes() is None:
            order = named_labels(self.place, contents.class_names, self.class_list())
        stating = self._states_folders(contents.items)
        if any(item.tree_id is None and (item.folder is None or not stating) for item in contents.items):
            found.problems += order.problems
            found.doubts += order.doubts
        if not found.problems:
            labels, problems = self._labels(contents.items, order)
            found.problems += problems
            if not problems:
                self._name(found, condition, contents, labels)
        self._classes_present = len({entry.label for entry in found.entries})
        return found

    def stored(self, sample_id: str) -> StoredImage:
        return self.store.stored(self._key(sample_id))

    def decode(self, sample_id: str, stored: StoredImage) -> ReadImage:
        if self.ids == OF_THE_TREE:  # then the bytes are those of the tree's file
            return self.tree.decode(sample_id, stored)
        return decode_image(self.place / sample_id, stored, self.reading)

    def file_of(self, sample_id: str) -> Path | None:
        return self.store.file_of(self._key(sample_id))

    def files(self, condition: Condition, entries: Sequence[Entry]) -> list[Path]:
        return [path for entry in entries if (path := self.file_of(entry.id)) is not None]

    def folders_read(self, condition: Condition, entries: Sequence[Entry]) -> Mapping[Path, Path]:
        return self.store.folders_read([self._key(entry.id) for entry in entries])

    def left_archives(self) -> list[str]:
        """Return nothing: what lies beside a store is not looked at."""
        return []

    def reading_order(self, ids: Sequence[str]) -> list[str]:
        by_key = {self._key(each): each for each in ids}
        return [by_key[key] for key in self.store.reading_order(list(by_key))]

    @cached_property
    def _classes(self) -> ClassList:
        if self.card.classes is not None:
            return self.card.class_list
        stated = self.store.classes()
        if stated is None:
            raise UserError(
                f"the {self.store.form} in {self.place} do not name their classes, which {self.card.name} needs"
            )
        if pairs := equal_names(stated.names):
            one, other = (stated.folders[label] for label in pairs[0])
            raise UserError(f"{self.place} has two classes with the same name, {one} and {other}; give each its own")
        return stated

    @cached_property
    def _folders(self) -> tuple[str, ...] | None:
        return self.tree.folder_names(self.class_list())

    @property
    def _class_folders(self) -> tuple[str, ...]:
        """The folders by which images may state their classes, whether or not there is a tree of these."""
        return self._folders or self.class_list().folders

    @cached_property
    def _class_order(self) -> ClassOrder:
        return class_order(self.place, self.store.classes(), self.class_list(), self.partial)

    def _labels(self, items: Sequence[Item], order: ClassOrder) -> tuple[list[tuple[int, ...]], list[str]]:
        """Return the labels of every image in the card's list, and the problems: images without any, contradictions."""
        folders = self._class_folders
        by_folder = {name: label for label, name in enumerate(folders)}
        synsets = by_folder if are_synsets(folders) else {}
        stating = self._states_folders(items)
        labels, wrong, contrary, unknown = [], [], [], []
        for item in items:
            given = [] if item.label is None else [item.label, *item.others]
            known = [(order.label_of(number), number) for number in given]
            wrong.extend([f"{item.key} has {number}" for found, number in known if found is None][:1])
            own = tuple(dict.fromkeys(found for found, _ in known if found is not None))
            stated = (item.folder if stating else None) or _synset_at_end(item, synsets)
            by_name = None if stated is None else by_folder.get(stated)
            if stating and item.folder is not None and by_name is None:
                unknown.append(item.folder)
            if own and by_name is not None and by_name not in own:
                contrary.append(f"{item.key} is labelled {item.label}, {folders[own[0]]}")
            labels.append(own or (() if by_name is None else (by_name,)))
        problems = []
        if wrong:
            number = pluralise(len(wrong), "label is", "labels are")
            given = [each for item in items if item.label is not None for each in (item.label, *item.others)]
            off = "; they seem to be counted from 1" if min(given) == 1 and max(given) == order.count else ""
            problems.append(f"{self.place}: {number} not 0 to {order.count - 1}: {wrong[0]}{off}")
        if unknown:
            problems.append(f"{self.place} has folders that are not a class: {first_few(sorted(set(unknown)))}")
        if contrary:
            number = pluralise(len(contrary), "label contradicts", "labels contradict")
            problems.append(f"{self.place}: {number} the folder in the image's name: {first_few(contrary, '; ')}")
        return labels, problems

    def _name(self, found: Survey, condition: Condition, contents: Contents, labels: Sequence[tuple[int, ...]]) -> None:
        """Give the images their ids and their order."""
        items, folders = contents.items, self._folders
        stating = self._states_folders(items)
        named = bool(items) and all(
            item.tree_id or (item.name and folders and (stating or item.folder is None)) for item in items
        )
        self.ids = OF_THE_TREE if named else f"{self.store.keys} of {self.store.form}"
        ids = [self._tree_id(item, own[0]) for item, own in zip(items, labels, strict=True)] if named else []
        pairs = list(zip(ids or [item.key for item in items], labels, items, strict=True))
        if twice := [sample_id for sample_id, count in Counter(each[0] for each in pairs).items() if count > 1]:
            number = pluralise(len(twice), "image is", "images are")
            found.problems.append(f"{self.place}: {number} there twice: {first_few(twice)}; keep one of each")
            return
        if named and contents.tree_fingerprint is None:
            pairs.sort(key=lambda each: (each[1], each[0]))
        self._keys.update((sample_id, item.key) for sample_id, _, item in pairs)
        found.entries = [Entry(sample_id, own[0], own[1:]) for sample_id, own, _ in pairs]
        if contents.tree_fingerprint not in (None, entries_fingerprint(condition, found.entries)):
            found.problems.append(f"{self.place} has not the images and labels that were packed; pack it again")

    def _states_folders(self, items: Sequence[Item]) -> bool:
        """Return whether the folders of a store are those of classes, not of anything else."""
        folders = set(self._class_folders)
        return any(item.label is None or item.folder in folders for item in items)

    def _tree_id(self, item: Item, label: int) -> str:
        if item.tree_id is not None:
            return item.tree_id
        assert self._folders is not None
        assert item.name is not None
        folder, path = self._folders[label], PurePosixPath(item.name)
        stem = path.stem.removesuffix(f"_{folder}") if are_synsets([folder]) else path.stem
        return f"{folder}/{stem}{path.suffix}"

    def _key(self, sample_id: str) -> str:
        if sample_id not in self._keys:
            for condition in self.store.conditions():
                self.entries(condition)
        if sample_id not in self._keys:
            raise MissingImage(f"{sample_id} is missing in {self.place}; put it back")
        return self._keys[sample_id]


def _synset_at_end(item: Item, synsets: Mapping[str, int]) -> str | None:
    """Return the synset that the name of an image ends in, as in Hugging Face's ImageNet; no release has it there."""
    last = "" if item.name is None else PurePosixPath(item.name).stem.rpartition("_")[2]
    return last if last in synsets else None
