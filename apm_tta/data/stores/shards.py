"""Shards of webdataset: tars whose members of one name, but for the suffix, are one image and its label.

As for webdataset itself, only the last part of a suffix says what a member is: ``output.cls`` is a label too.
"""

from __future__ import annotations

import os
import re
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from apm_tta.data.archives import Archive, archive_at
from apm_tta.data.archives.bytes_of import Misplaced, TarReader
from apm_tta.data.archives.index import Member
from apm_tta.data.archives.scan import kind_of
from apm_tta.data.cards import card_names, load_card
from apm_tta.data.class_lists import ClassList
from apm_tta.data.image_files import DamagedImage
from apm_tta.data.image_files.names import is_image_name
from apm_tta.data.image_files.stored_bytes import named_error
from apm_tta.data.layouts.base import Layout
from apm_tta.data.layouts.images import read_stored
from apm_tta.data.sample import CLEAN, Condition, StoredImage, parse_condition
from apm_tta.data.stores.base import STORES, Contents, Item, Store
from apm_tta.data.stores.packed import PACKED_FILE, Packed, key_of, packed_id, read_packed
from apm_tta.data.stores.splits import Part, Parts, choose_parts, find_parts, is_split
from apm_tta.errors import UserError
from apm_tta.system.files import read_regular
from apm_tta.wording import first_few, pluralise

SUFFIX = ".tar"
LABEL = "cls"
"""The end of the suffix of a member that states an image's label."""

ORIGIN = "info"
"""The suffix of a member that names the photograph that an image was made of, in the words of CCC's generator."""

_FOLDER = re.compile(r"\+\+dir\+\+(?P<folder>[^+]+)\+\+name\+\+")

CLASSES_FILE = "classnames.txt"
"""Beside the shards or above their split's folder: the classes in label order, one per line."""

NUMBER_FILE = "nshards.txt"
"""Beside the shards: how many there are."""

_LOOKED_AT = 32
"""Members by which a tar of labelled images is told from any other."""


@STORES.register("webdataset")
class ShardStore(Store):
    """Shards as webdataset writes them, those of CLIP_benchmark's ``wds_*`` sets and of ``run-bench pack`` among them.

    An image's key is its name in the shard up to the first dot after the last slash. Where the keys begin with a
    class's folder, they hold the names of files.
    """

    form = "webdataset shards"
    keys = "shard and key"

    @classmethod
    def lies_in(cls, folder: Path) -> bool:
        parts = find_parts(folder, SUFFIX)
        if not parts:
            return False
        beside = parts[0].path.parent
        return (beside / NUMBER_FILE).is_file() or (beside / PACKED_FILE).is_file() or _has_labels(parts[0].path)

    def __init__(self, place: Path, tree: Layout[Any]) -> None:
        super().__init__(place, tree)
        self._members: dict[str, tuple[Path, str, Member]] = {}

    def problems(self) -> list[str]:
        return list(self._parts.problems)

    def contents(self, condition: Condition) -> Contents:
        found = Contents()
        for path in self._files(condition):
            self._add(found, path)
        if self._packed is not None:
            found.tree_fingerprint = self._packed.fingerprints.get(str(condition), "")
        return found

    def stored(self, key: str) -> StoredImage:
        shard, name, place = self._members[key]

        def read() -> bytes:
            try:
                return TarReader(shard).read(name, place, 0, place.size)
            except Misplaced:
                raise DamagedImage(f"{name} is no longer where it was in {shard}; start again") from None

        return StoredImage(self.tree.patience.read(key, read))

    def file_of(self, key: str) -> Path:
        shard, name, _ = self._members[key]
        return shard / name

    def classes(self) -> ClassList | None:
        if self._packed is not None:
            return self._packed.class_list
        path = next((folder / CLASSES_FILE for folder in self._folders if (folder / CLASSES_FILE).is_file()), None)
        if path is None:
            return None
        try:
            text = read_stored(path, self.tree.patience).content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise UserError(f"{path} is not UTF-8 text; download it again") from None
        names = tuple(line.strip() for line in text.splitlines() if line.strip())
        return ClassList(tuple(name.replace("_", " ") for name in names), names)

    def conditions(self) -> Sequence[Condition]:
        if self._packed is None:
            return [CLEAN]
        return list(dict.fromkeys(parse_condition(shard.condition) for shard in self._packed.shards))

    def checksums(self) -> Mapping[str, str]:
        shards = () if self._packed is None else self._packed.shards
        return {self._below(shard.name): f"sha256:{shard.sha256}" for shard in shards}

    @cached_property
    def _all_parts(self) -> list[Part]:
        return find_parts(self.place, SUFFIX)

    @cached_property
    def _packed(self) -> Packed | None:
        return read_packed(self._all_parts[0].path.parent)

    @cached_property
    def _parts(self) -> Parts:
        """Choose the shards, and see that none is missing: as ``packed.json`` has it, or else as their names have."""
        if self._packed is not None:
            folder = self._all_parts[0].path.parent
            files = [folder / shard.name for shard in self._packed.shards]
            return Parts(files, packing_problems(self._packed, folder, self.tree))
        parts = choose_parts(self.place, self._all_parts, self.tree.card.splits, self.tree.open_ended)
        if parts.files and (number := _stated_number(parts.files[0].parent)) not in (None, len(parts.files)):
            found = pluralise(len(parts.files), "shard")
            parts.problems.append(f"{parts.files[0].parent} has {found}, but {NUMBER_FILE} says {number}")
        return parts

    @property
    def _folders(self) -> list[Path]:
        """Where what is said of the whole set may lie: beside its shards, and above the folder of their split."""
        beside = (self._parts.files or [part.path for part in self._all_parts])[0].parent
        return [beside, beside.parent] if beside != self.place or is_split(beside.name) else [beside]

    def _below(self, name: str) -> str:
        return (self._all_parts[0].path.parent / name).relative_to(self.place).as_posix()

    def _files(self, condition: Condition) -> list[Path]:
        if self._packed is None:
            return self._parts.files
        pairs = zip(self._parts.files, self._packed.shards, strict=True)
        return [path for path, shard in pairs if shard.condition == str(condition)]

    def _add(self, found: Contents, path: Path) -> None:
        """Add the images of one shard, in its order."""
        archive = _archive(path)
        if kind_of(path) != "tar":
            found.problems.append(f"{path} is compressed; unpack it to a plain tar of the same name")
            return
        if damage := archive.problems():
            found.problems += damage
            return
        images: dict[str, list[tuple[Member, str]]] = {}
        labels: dict[str, list[str]] = {}
        origins: dict[str, str] = {}
        for member in _members_of(archive):
            key, full_suffix = key_of(member)
            suffix = full_suffix.rpartition(".")[2]
            if suffix == LABEL:
                labels.setdefault(key, []).append(member)
            elif suffix == ORIGIN:
                origins[key] = member
            elif is_image_name(f"image.{suffix}") and (place := archive.member(member)) is not None:
                images.setdefault(key, []).append((place, member))
        problems = [*_twice(path, "images", images), *_twice(path, "labels", labels)]
        if unlabelled := [key for key in images if key not in labels]:
            number = pluralise(len(unlabelled), "image has", "images have")
            problems.append(f"{path}: {number} no label ({LABEL}): {first_few(unlabelled)}")
        if alone := [key for key in labels if key not in images]:
            number = pluralise(len(alone), "label has", "labels have")
            problems.append(f"{path}: {number} no image: {first_few(alone)}")
        if problems:
            found.problems += problems
            return
        for place, member, key in sorted((*members[0], key) for key, members in images.items()):
            label = self._label(archive, labels[key][0])
            if label is None:
                found.problems.append(f"{path}: {labels[key][0]} is not the number of a class; pack it again")
                return
            folder = PurePosixPath(member).parent.name or None
            name = PurePosixPath(member).name if folder else None
            if folder is None and key in origins:  # of which there may be several images: its name is no id
                folder = self._origin_folder(archive, origins[key])
            own_key = f"{path.name}/{key}"
            self._members[own_key] = (path, member, place)
            tree_id = None if self._packed is None else packed_id(member)
            found.items.append(Item(own_key, label, folder, name, tree_id=tree_id))

    def _label(self, archive: Archive, member: str) -> int | None:
        text = self._text(archive, member).strip()
        return int(text) if text.removeprefix("-").isdigit() and text.isascii() and len(text) < 10 else None

    def _origin_folder(self, archive: Archive, member: str) -> str | None:
        found = _FOLDER.search(self._text(archive, member))
        return None if found is None else sys.intern(found["folder"])  # one text for all images of a class

    def _text(self, archive: Archive, member: str) -> str:
        content = self.tree.patience.read(member, lambda: archive.read(member)) or b""
        return content.decode("utf-8", "replace")


def packing_problems(packed: Packed, folder: Path, tree: Layout[Any]) -> list[str]:
    """Say in one line each why shards that ``run-bench pack`` wrote are not those of this card, or not whole."""
    card = tree.card
    if packed.card != card.name:
        other = load_card(packed.card) if packed.card in card_names() else None
        same_tree = other is not None and (other.layout, other.classes) == (card.layout, card.classes)
        if not same_tree or card.classes is None:
            return [f"{folder} was packed of {packed.card}; use {packed.card}"]
    problems = []
    for shard in packed.shards:
        try:
            size = (folder / shard.name).stat().st_size
        except OSError as error:
            problems.append(f"{folder / shard.name} cannot be read ({error.strerror}); copy it again")
            continue
        if size != shard.size:
            problems.append(f"{folder / shard.name} has {size:,} bytes, {shard.size:,} were packed; copy it again")
    return problems


def _archive(path: Path) -> Archive:
    try:
        return archive_at(os.fspath(path))
    except OSError as error:
        raise named_error(path, error) from None


def _members_of(archive: Archive) -> Iterator[str]:
    """Find the members that are part of an image: not hidden, and not what webdataset takes for notes."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        folders, files = archive.listing(folder) or ([], [])
        start = f"{folder}/" if folder else ""
        waiting += [f"{start}{name}" for name in folders if folder or not _is_note(name)]
        yield from (f"{start}{name}" for name in files if not name.startswith(".") and not _is_note(name))


def _is_note(name: str) -> bool:
    return name.startswith("__") and name.endswith("__") and len(name) > len("____")


def _has_labels(path: Path) -> bool:
    try:
        with tarfile.open(path, "r:") as tar:
            suffixes = (key_of(member.name)[1] for member in islice(tar, _LOOKED_AT))
            return any(suffix.rpartition(".")[2] == LABEL for suffix in suffixes)
    except (OSError, tarfile.TarError):
        return False


def _twice(path: Path, what: str, members: Mapping[str, Sequence[Any]]) -> list[str]:
    """Say in one line which keys have several members of one kind; nothing where none has."""
    several = [key for key, own in members.items() if len(own) > 1]
    number = pluralise(len(several), "key has", "keys have")
    return [f"{path}: {number} two {what}: {first_few(several)}; keep one of each"] if several else []


def _stated_number(folder: Path) -> int | None:
    try:
        text = read_regular(folder / NUMBER_FILE).strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
