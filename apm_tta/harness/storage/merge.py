"""Merging parts of one run, computed separately, into one run folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

from apm_tta.data.image_digests import ImageDigests, parse_digests
from apm_tta.errors import UserError
from apm_tta.harness.storage.compaction import compact
from apm_tta.harness.storage.division import part_of_files, refuse_other_plan
from apm_tta.harness.storage.image_list import (
    READ_FOLDER,
    keep_read_images,
    read_image_list,
    with_images,
    write_image_list,
)
from apm_tta.harness.storage.manifest import MANIFEST_FILE, Division, Manifest, Numbers, differences, refuse_other_run
from apm_tta.harness.storage.manifest_file import read_manifest, write_manifest
from apm_tta.harness.storage.merged_images import MergedImages, preferred
from apm_tta.harness.storage.records import Recorded, encode_table, read_content, write_content
from apm_tta.harness.storage.run_folder import make_folder, remove_if_empty, remove_leftovers
from apm_tta.harness.storage.run_records import RecordFile, check_recorded, present_files, read_recorded, split
from apm_tta.system.files import read_regular
from apm_tta.system.writer_lock import only_writer
from apm_tta.wording import first_few, for_shell


@dataclass(frozen=True)
class Lacking:
    """A part of a run of which something is missing.

    Attributes:
        part: which, and of how many.
        missing: how many of its files are.
        files: how many it has.
        command: that computes them.
    """

    part: tuple[int, int]
    missing: int
    files: int
    command: tuple[str, ...]

    def __str__(self) -> str:
        number, parts = self.part
        lacks = "is missing" if self.missing == self.files else f"lacks {self.missing} of {self.files} files"
        return f"part {number} of {parts} {lacks}: {for_shell(self.command)}"


@dataclass(frozen=True)
class Merged:
    """What a merge has done.

    Attributes:
        copied: files.
        remarks: on parts that were given twice, or overlap.
        lacking: the parts that are not complete.
    """

    copied: int
    remarks: tuple[str, ...]
    lacking: tuple[Lacking, ...]


def merge(out: Path, parts: Sequence[Path]) -> Merged:
    """Copy the records of ``parts`` into ``out``, checking each against its digest.

    A folder that already holds a part of this run is extended; nothing in it is overwritten, but for rows without an
    answer that a part has.

    Returns:
        What was copied, and what is still missing.

    Raises:
        UserError: when a part is not a run folder, or holds a different run than the first, naming every field that
            differs; when parts are of different plans; when a record is damaged, or two parts hold different records
            of the same images.
    """
    manifests = [read_manifest(part) for part in parts]
    first = manifests[0]
    images = [read_image_list(part, manifest.numbers) for part, manifest in zip(parts, manifests, strict=True)]
    whole = MergedImages(parts[0], first.numbers, images[0])
    for part, manifest, listed in zip(parts[1:], manifests[1:], images[1:], strict=True):
        numbers, taken = whole.taken_over(part, manifest.numbers, listed)
        if differing := differences(first.numbers, numbers):
            reasons = "; ".join(with_images(differing, images[0], taken))
            raise UserError(f"{part} is not a part of the run in {parts[0]} ({reasons})")
    divisions = {part: manifest.division for part, manifest in zip(parts, manifests, strict=True) if manifest.division}
    for part, division in divisions.items():
        refuse_other_plan(part, division, next(iter(divisions.values())))
    folder = make_folder(out, first.numbers.suite)
    try:
        with only_writer(folder):
            if (folder / MANIFEST_FILE).exists():
                whole = _held(folder, list(zip(parts, manifests, images, strict=True)))
            else:
                write_manifest(folder, first.model_copy(update={"division": next(iter(divisions.values()), None)}))
            present_files(folder, whole.numbers)
            remove_leftovers(folder)
            for listed in images:
                if listed is not None and listed.sha256 == whole.numbers.dataset.images_sha256:
                    write_image_list(folder, listed)
            for part in parts:
                _copy_read_images(part, folder)
            copied = sum(
                _copy(part, manifest.numbers, listed, folder, whole)
                for part, manifest, listed in zip(parts, manifests, images, strict=True)
            )
            compact(folder, whole.numbers)
            return Merged(copied, tuple(_remarks(parts, divisions)), tuple(_lacking(folder, divisions)))
    finally:
        remove_if_empty(folder)


def _held(folder: Path, parts: Sequence[tuple[Path, Manifest, ImageDigests | None]]) -> MergedImages:
    """Return the images of the run that ``folder`` holds already.

    Raises:
        UserError: when one of the parts is of another run.
    """
    numbers = read_manifest(folder).numbers
    held = MergedImages(folder, numbers, read_image_list(folder, numbers))
    for part, manifest, listed in parts:
        own, taken = held.taken_over(part, manifest.numbers, listed)
        refuse_other_run(folder, numbers, own, partial(with_images, there=held.listed, now=taken))
    return held


def _copy_read_images(part: Path, folder: Path) -> None:
    """Copy the digests of images that were hashed as they were read, where two parts read the same images alike.

    Raises:
        UserError: when an image is not the same in two parts, naming it.
    """
    for path in sorted((part / READ_FOLDER).rglob("*.sha256")):
        try:
            content = read_regular(path)
            parse_digests(content, 0)
        except (OSError, ValueError):
            raise UserError(
                f"{path} is damaged; remove it to merge without what it says of images that were read"
            ) from None
        keep_read_images(folder / path.relative_to(part), content)


def _copy(part: Path, own: Numbers, listed: ImageDigests | None, folder: Path, whole: MergedImages) -> int:
    """Copy the records of a part; those of the same run as another version or part states it carry its fingerprint."""
    copied, fingerprint = 0, whole.numbers.fingerprint
    there = _There(folder, whole.numbers)
    for stored in present_files(part, own):
        path = part / stored.name
        content = read_content(path)
        recorded = check_recorded(path, content, stored, own.fingerprint)
        for file, each in split(recorded, stored):
            shard, new = each, content
            if own.fingerprint != fingerprint:
                header = shard.header.model_copy(update={"fingerprint": fingerprint})
                shard = whole.restated(replace(shard, header=header), listed)
            if shard is not each or stored.joined:
                new = encode_table(shard)
            held = there.read(file)
            if held is not None:
                if encode_table(held) == encode_table(shard) or (kept := preferred(held, shard)) is held:
                    continue
                if kept is None:
                    raise UserError(
                        f"{path} and {folder / file.name} hold different records of the same images; merge only one of "
                        "them"
                    )
            write_content(folder / file.name, new)
            copied += 1
    return copied


def _remarks(parts: Sequence[Path], divisions: Mapping[Path, Division]) -> Iterator[str]:
    """Tell apart folders and parts that were given twice, and parts of different divisions."""
    if twice := [str(part) for part, count in Counter(parts).items() if count > 1]:
        yield f"given twice: {first_few(twice)}"
    held: dict[int, list[Path]] = {}
    for part, division in divisions.items():
        for number in _counts(part, division)[0]:
            held.setdefault(number, []).append(part)
    if len(sizes := {division.parts for division in divisions.values()}) > 1:
        counts = " and ".join(map(str, sorted(sizes)))
        yield f"the parts are of different divisions, into {counts}: they overlap"
        return
    for number, folders in sorted(held.items()):
        if len(folders) > 1:
            yield f"part {number} of {min(sizes)} lies in several folders: {first_few([*map(str, folders)])}"


def _lacking(folder: Path, divisions: Mapping[Path, Division]) -> Iterator[Lacking]:
    """Yield the parts of which something is missing, each with the command that computes it."""
    manifest = read_manifest(folder)
    division = manifest.division or next(iter(divisions.values()), None)
    if division is None:
        return
    held, files = _counts(folder, division)
    homes = {number: part for part in divisions for number in _counts(part, division)[0]}
    plan = ["--plan", division.plan_file] if division.plan else []
    for number, count in sorted(files.items()):
        if missing := count - held[number]:
            out = homes.get(number) or folder.with_name(f"{folder.name}-part-{number}")
            words = ["--shard-range", f"{number}/{division.parts}", *plan, "--out", str(out)]
            yield Lacking((number, division.parts), missing, count, (*manifest.command, *words))


def _counts(folder: Path, division: Division) -> tuple[Counter[int], Counter[int]]:
    """Return how many files of each part a folder has, and how many each part has."""
    numbers = read_manifest(folder).numbers
    part_of = part_of_files(numbers, division)
    present = (shard.name for file in present_files(folder, numbers) for shard in file.shards)
    return Counter(part_of[name] for name in present), Counter(part_of.values())


class _There:
    """What the merged folder holds already, shard by shard, also where a compact file is in their place.

    Args:
        folder: that is merged into.
        numbers: of its run.
    """

    def __init__(self, folder: Path, numbers: Numbers) -> None:
        self._folder, self._fingerprint = folder, numbers.fingerprint
        self._compact = {shard.name: file for file in present_files(folder, numbers) for shard in file.joined}
        self._read: dict[PurePosixPath, Recorded] = {}

    def read(self, file: RecordFile) -> Recorded | None:
        """Return what is held of a shard; None where nothing is."""
        if (whole := self._compact.get(file.name)) is None:
            held = (self._folder / file.name).exists()
            return read_recorded(self._folder, file, self._fingerprint) if held else None
        if file.name not in self._read:  # the shards of one cell are asked for one after another
            recorded = read_recorded(self._folder, whole, self._fingerprint)
            self._read = {shard.name: each for shard, each in split(recorded, whole)}
        return self._read[file.name]
