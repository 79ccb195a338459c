"""``images.sha256``: what the images of a run are, one line per image, as ``sha256sum --check`` reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from apm_tta.data.image_digests import UNREADABLE, ImageDigests, parse_digests
from apm_tta.data.normal_forms import composed
from apm_tta.errors import UserError
from apm_tta.harness.storage.manifest import Numbers
from apm_tta.system.files import read_regular, write_file
from apm_tta.wording import first_few

IMAGES_FILE = "images.sha256"
READ_FOLDER = "images"
"""Of a set with more images than are hashed beforehand: likewise, one file per shard or stream and condition."""
_CONTENT, _ENTRIES = "dataset.images_sha256", "dataset.fingerprint"
_UNKNOWN = f"which images differ is not known: {IMAGES_FILE} is missing or damaged"


def write_image_list(folder: Path, digests: ImageDigests) -> None:
    """Write the list, unless it is there as it should be.

    Raises:
        UserError: when the folder cannot be written.
    """
    path = folder / IMAGES_FILE
    if not path.is_file() or path.read_bytes() != digests.content:
        write_file(path, digests.content)


def read_image_list(folder: Path, numbers: Numbers) -> ImageDigests | None:
    """Return the list of a run's images; None where it is missing or not the one that the run's numbers are of."""
    try:
        found = parse_digests(read_regular(folder / IMAGES_FILE), numbers.dataset.images)
    except (OSError, ValueError):
        return None
    return found if found.sha256 == numbers.dataset.images_sha256 else None


def keep_read_images(path: Path, content: bytes) -> None:
    """Write the digests of images that were read, or compare them with those of an earlier time.

    Raises:
        UserError: when an image is not what it was, naming it; when the file cannot be written.
    """
    if not path.exists():
        write_file(path, content, advice="")
        return
    try:
        now = parse_digests(content, 0)
        before = parse_digests(read_regular(path), 0)
    except (OSError, ValueError):
        raise UserError(f"{path} is damaged; remove it to go on without what it says of images read before") from None
    if differing := before.differing(now):
        raise UserError(
            f"{first_few(differing)} of {path} are not what they were when they were read before; bring them back, "
            "or remove that file if it is what was damaged"
        )
    if new := now.by_id.keys() - before.by_id.keys():  # which could not be read then
        both = {**before.by_id, **{sample_id: now.by_id[sample_id] for sample_id in new}}
        write_file(path, ImageDigests(both, len(both)).content)


def with_images(lines: list[str], there: ImageDigests | None, now: ImageDigests | None) -> list[str]:
    """Name the images beside the digests of all of them, among the lines in which two runs differ."""
    named: dict[str, Callable[[ImageDigests, ImageDigests], str]] = {_CONTENT: _content, _ENTRIES: _entries}
    return [
        f"{line} ({name(there, now) if there is not None and now is not None else _UNKNOWN})"
        if (name := named.get(line.partition(": ")[0])) is not None
        else line
        for line in lines
    ]


def _entries(there: ImageDigests, now: ImageDigests) -> str:
    gone, new = sorted(there.by_id.keys() - now.by_id.keys()), sorted(now.by_id.keys() - there.by_id.keys())
    if gone and {*map(composed, gone)} == {*map(composed, new)}:
        return f"names in another Unicode normal form: {first_few(new)}; copy them as they were"
    parts = [f"{first_few(ids)} only {where}" for ids, where in ((gone, "there"), (new, "now")) if ids]
    return "; ".join(parts) or "other labels or another order of the same images"


def _content(there: ImageDigests, now: ImageDigests) -> str:
    differing = there.differing(now)
    unreadable = [each for each in differing if UNREADABLE in (there.by_id[each], now.by_id[each])]
    others = [each for each in differing if each not in set(unreadable)]
    parts = []
    if others:
        parts.append(f"other content under the same name: {first_few(others)}")
    if unreadable:
        parts.append(f"could not be read in one of them: {first_few(unreadable)}")
    return "; ".join(parts) or "none of one name"
