"""Pack a data set into shards of webdataset that are read as the tree is: the same ids, labels and bytes."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from apm_tta.data.dataset import Dataset
from apm_tta.data.fingerprint import entries_fingerprint
from apm_tta.data.image_files.names import is_image_name
from apm_tta.data.layouts import Entry
from apm_tta.data.sample import OF_THE_TREE, Condition
from apm_tta.data.stores.packed import PACKED_FILE, Packed, PackedShard, key_of, member_name
from apm_tta.data.stores.shards import LABEL
from apm_tta.errors import UserError
from apm_tta.system.files import PARTIAL, unwritable, write_file

MOST_BYTES = 1 << 29
"""Of images in one shard."""

_PERMISSIONS = 0o444
Progress = Callable[[Iterator[Entry], int], Iterable[Entry]]


@dataclass(frozen=True)
class PackReport:
    """What was written.

    Attributes:
        folder: with the shards.
        shards: names of their files.
        images: how many.
        size: of the shards, bytes.
    """

    folder: Path
    shards: tuple[str, ...]
    images: int
    size: int


def pack(dataset: Dataset, out: Path, progress: Progress | None = None) -> PackReport:
    """Write all images of a data set into shards in ``out``, each with its label.

    A member is named as the image's id, with dots before the suffix as ``%2E``, since what webdataset takes for a key
    ends at the first one. ``packed.json`` is written last: a folder without it was not finished.

    Args:
        dataset: whose images are files.
        out: a folder that does not exist, or is empty.
        progress: wraps the images of one condition, given with their number; for a bar.

    Raises:
        UserError: when the images have no files or two of them one key, one cannot be read, or the folder is not empty
            or cannot be written.
    """
    layout, card = dataset.layout, dataset.card
    if layout.carried or layout.ids != OF_THE_TREE:
        raise UserError(f"{card.name} has no tree to pack: the names of its files are not known", exit_code=2)
    _refuse_folder(out, layout.place)
    packed: list[PackedShard] = []
    fingerprints = {}
    for condition in layout.conditions():
        entries = layout.entries(condition)
        if layout.ids != OF_THE_TREE:
            raise UserError(
                f"{layout.place} does not hold the names of {card.name}'s files; pack its tree", exit_code=2
            )
        _refuse_names(card.name, entries)
        fingerprints[str(condition)] = entries_fingerprint(condition, entries)
        shown = entries if progress is None else progress(iter(entries), len(entries))
        packed += _pack_condition(dataset, condition, shown, out)
    classes = layout.class_list()
    stated = Packed(
        card=card.name,
        classes=classes.names,
        folders=classes.folders,
        fingerprints=fingerprints,
        shards=tuple(packed),
    )
    write_file(out / PACKED_FILE, stated.to_bytes())
    size, images = sum(shard.size for shard in packed), sum(shard.images for shard in packed)
    return PackReport(out, tuple(shard.name for shard in packed), images, size)


def _pack_condition(
    dataset: Dataset, condition: Condition, entries: Iterable[Entry], out: Path
) -> Iterator[PackedShard]:
    series = "-".join([dataset.card.name, *([] if condition.clean else str(condition).split())])
    waiting, number = iter(entries), 0
    first = next(waiting, None)
    while first is not None:
        writer = _ShardWriter(out / f"{series}-{number:06d}.tar", str(condition))
        try:
            while first is not None and writer.size < MOST_BYTES:
                writer.add(first, dataset.layout.stored(first.id).content)
                first = next(waiting, None)
            yield writer.finish()
        except OSError as error:
            raise unwritable(writer.path, error) from None
        finally:
            writer.close()
        number += 1


class _ShardWriter:
    """Writes one shard; under its name it is there whole or not at all."""

    def __init__(self, path: Path, condition: str) -> None:
        self.path, self.condition = path, condition
        self.size = self.images = 0
        self._partial = path.with_name(f"{path.name}{PARTIAL}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._tar = tarfile.open(self._partial, "w:", format=tarfile.GNU_FORMAT)  # noqa: SIM115  it is closed below
        except OSError as error:
            raise unwritable(path, error) from None

    def add(self, entry: Entry, content: bytes) -> None:
        name = member_name(entry.id)
        self._add(name, content)
        self._add(f"{key_of(name)[0]}.{LABEL}", str(entry.label).encode())
        self.images += 1

    def finish(self) -> PackedShard:
        self._tar.close()
        with self._partial.open("rb") as file:
            digest = hashlib.sha256()
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        size = self._partial.stat().st_size
        self._partial.replace(self.path)
        return PackedShard(
            name=self.path.name, condition=self.condition, images=self.images, size=size, sha256=digest.hexdigest()
        )

    def close(self) -> None:
        with suppress(OSError):  # of a full disk, which has been said
            self._tar.close()
        with suppress(OSError):
            self._partial.unlink()

    def _add(self, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)  # of no owner and no time: the same tree gives the same shards
        member.size, member.mode = len(content), _PERMISSIONS
        self._tar.addfile(member, io.BytesIO(content))
        self.size += len(content)


def _refuse_folder(out: Path, place: Path) -> None:
    if out.resolve().is_relative_to(place.resolve()):
        raise UserError(f"--out {out} is in the tree that is packed, {place}; name another folder", exit_code=2)
    try:
        used = out.exists() and (not out.is_dir() or any(out.iterdir()))
    except OSError as error:
        raise unwritable(out, error) from None
    if used:
        raise UserError(f"--out {out} is not an empty folder; name another one", exit_code=2)


def _refuse_names(name: str, entries: Sequence[Entry]) -> None:
    """Refuse images without files, and files that webdataset would take for one image."""
    if entries and not is_image_name(entries[0].id):
        raise UserError(f"{name} lies in arrays, not in files: there is nothing to pack", exit_code=2)
    if several := next((entry.id for entry in entries if entry.others), None):
        raise UserError(f"{several} has several right classes, which a shard cannot state; leave the tree as it is")
    keys: dict[str, str] = {}
    for entry in entries:
        other = keys.setdefault(key_of(member_name(entry.id))[0], entry.id)
        if other != entry.id:
            raise UserError(f"{other} and {entry.id} would be one image in a shard; rename one of them")
