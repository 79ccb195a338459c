"""Merging parts of one run, computed separately, into one run folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from apm_tta.data.image_digests import ImageDigests, parse_digests
from apm_tta.errors import UserError
from apm_tta.harness.storage.image_list import (
    READ_FOLDER,
    keep_read_images,
    read_image_list,
    with_images,
    write_image_list,
)
from apm_tta.harness.storage.manifest import MANIFEST_FILE, Manifest, Numbers, differences, refuse_other_run
from apm_tta.harness.storage.manifest_file import read_manifest, write_manifest
from apm_tta.harness.storage.merged_images import MergedImages, preferred
from apm_tta.harness.storage.records import encode_table, read_content, write_content
from apm_tta.harness.storage.run_folder import make_folder, remove_if_empty, remove_leftovers
from apm_tta.harness.storage.run_records import check_recorded, present_files
from apm_tta.system.files import read_regular
from apm_tta.system.writer_lock import only_writer


def merge(out: Path, parts: Sequence[Path]) -> int:
    """Copy the records of ``parts`` into ``out``, checking each against its digest.

    A folder that already holds a part of this run is extended; nothing in it is overwritten, but for rows without an
    answer that a part has.

    Returns:
        The number of files that were copied.

    Raises:
        UserError: when a part is not a run folder, or holds a different run than the first, naming every field that
            differs; when a record is damaged, or two parts hold different records of the same images.
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
    folder = make_folder(out, first.numbers.suite)
    try:
        with only_writer(folder):
            if (folder / MANIFEST_FILE).exists():
                whole = _held(folder, list(zip(parts, manifests, images, strict=True)))
            else:
                write_manifest(folder, first)
            present_files(folder, whole.numbers)
            remove_leftovers(folder)
            for listed in images:
                if listed is not None and listed.sha256 == whole.numbers.dataset.images_sha256:
                    write_image_list(folder, listed)
            for part in parts:
                _copy_read_images(part, folder)
            return sum(
                _copy(part, manifest.numbers, listed, folder, whole)
                for part, manifest, listed in zip(parts, manifests, images, strict=True)
            )
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
    copied = 0
    fingerprint = whole.numbers.fingerprint
    for file in present_files(part, own):
        path, target = part / file.name, folder / file.name
        content = read_content(path)
        recorded = check_recorded(path, content, file, own.fingerprint)
        if own.fingerprint != fingerprint:
            header = recorded.header.model_copy(update={"fingerprint": fingerprint})
            recorded = whole.restated(replace(recorded, header=header), listed)
            content = encode_table(recorded)
        if not target.exists():
            write_content(target, content)
            copied += 1
            continue
        held_content = read_content(target)
        held = check_recorded(target, held_content, file, fingerprint)
        if held_content == content or (kept := preferred(held, recorded)) is held:
            continue
        if kept is None:
            raise UserError(f"{path} and {target} hold different records of the same images; merge only one of them")
        write_content(target, content)
        copied += 1
    return copied
