"""Merging parts of one run, computed separately, into one run folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from apm_tta.data.image_digests import ImageDigests
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
from apm_tta.harness.storage.records import encode_table, read_content, write_content
from apm_tta.harness.storage.run_folder import make_folder, remove_if_empty, remove_leftovers
from apm_tta.harness.storage.run_records import check_recorded, present_files
from apm_tta.writer_lock import only_writer


def merge(out: Path, parts: Sequence[Path]) -> int:
    """Copy the records of ``parts`` into ``out``, checking each against its digest.

    A folder that already holds a part of this run is extended; nothing in it is overwritten.

    Returns:
        The number of files that were copied.

    Raises:
        UserError: when a part is not a run folder, or holds a different run than the first, naming every field that
            differs; when a record is damaged, or two parts hold different records of the same images.
    """
    manifests = [read_manifest(part) for part in parts]
    first = manifests[0]
    images = [read_image_list(part, manifest.numbers) for part, manifest in zip(parts, manifests, strict=True)]
    for part, manifest, listed in zip(parts[1:], manifests[1:], images[1:], strict=True):
        if differing := differences(first.numbers, manifest.numbers):
            reasons = "; ".join(with_images(differing, images[0], listed))
            raise UserError(f"{part} is not a part of the run in {parts[0]} ({reasons})")
    folder = make_folder(out, first.numbers.suite)
    try:
        with only_writer(folder):
            merged = _merged(folder, first, images[0])
            present_files(folder, merged.numbers)
            remove_leftovers(folder)
            for listed in images:
                if listed is not None:
                    write_image_list(folder, listed)
            for part in parts:
                _copy_read_images(part, folder)
            return sum(
                _copy(part, manifest.numbers, folder, merged.numbers)
                for part, manifest in zip(parts, manifests, strict=True)
            )
    finally:
        remove_if_empty(folder)


def _merged(folder: Path, first: Manifest, images: ImageDigests | None) -> Manifest:
    """Return the manifest of the run in ``folder``; where there is none yet, write that of the first part."""
    if not (folder / MANIFEST_FILE).exists():
        write_manifest(folder, first)
        return first
    merged = read_manifest(folder)
    listed = read_image_list(folder, merged.numbers)
    refuse_other_run(folder, merged.numbers, first.numbers, lambda lines: with_images(lines, listed, images))
    return merged


def _copy_read_images(part: Path, folder: Path) -> None:
    """Copy the digests of images that were hashed as they were read, where two parts read the same images alike.

    Raises:
        UserError: when an image is not the same in two parts, naming it.
    """
    for path in sorted((part / READ_FOLDER).rglob("*.sha256")):
        keep_read_images(folder / path.relative_to(part), path.read_bytes())


def _copy(part: Path, own: Numbers, folder: Path, whole: Numbers) -> int:
    """Copy the records of a part; those of the same run as another version states it carry its fingerprint then."""
    copied = 0
    for file in present_files(part, own):
        path, target = part / file.name, folder / file.name
        content = read_content(path)
        recorded = check_recorded(path, content, file, own.fingerprint)
        if own.fingerprint != whole.fingerprint:
            header = recorded.header.model_copy(update={"fingerprint": whole.fingerprint})
            content = encode_table(replace(recorded, header=header))
        if not target.exists():
            write_content(target, content)
            copied += 1
            continue
        held = read_content(target)
        check_recorded(target, held, file, whole.fingerprint)
        if held != content:
            raise UserError(f"{path} and {target} hold different records of the same images; merge only one of them")
    return copied
