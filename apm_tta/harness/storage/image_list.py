"""``images.sha256``: what the images of a run are, one line per image, as ``sha256sum --check`` reads it."""

from __future__ import annotations

from pathlib import Path

from apm_tta.data.image_digests import UNREADABLE, ImageDigests, parse_digests
from apm_tta.data.layouts.images import first_few
from apm_tta.errors import UserError
from apm_tta.files import write_file
from apm_tta.harness.storage.manifest import Numbers

IMAGES_FILE = "images.sha256"
READ_FOLDER = "images"
"""Of a set with more images than are hashed beforehand: likewise, one file per shard or stream and condition."""
_FIELD = "dataset.images_sha256: "


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
        found = parse_digests((folder / IMAGES_FILE).read_bytes(), numbers.dataset.images)
    except (OSError, ValueError):
        return None
    return found if found.sha256 == numbers.dataset.images_sha256 else None


def keep_read_images(path: Path, content: bytes) -> None:
    """Write the digests of images that were read, or compare them with those of an earlier time.

    Raises:
        UserError: when an image is not what it was, naming it; when the file cannot be written.
    """
    if not path.exists():
        write_file(path, content)
        return
    now = parse_digests(content, 0)
    try:
        before = parse_digests(path.read_bytes(), 0)
    except (OSError, ValueError):
        raise UserError(f"{path} is damaged; remove it to go on without what it says of images read before") from None
    if differing := before.differing(now):
        raise UserError(f"{first_few(differing)} of {path} are not what they were when they were read before")


def with_images(lines: list[str], there: ImageDigests | None, now: ImageDigests | None) -> list[str]:
    """Name the images beside the digest of all of them, among the lines in which two runs differ."""
    return [f"{line} ({_named(there, now)})" if line.startswith(_FIELD) else line for line in lines]


def _named(there: ImageDigests | None, now: ImageDigests | None) -> str:
    if there is None or now is None:
        return f"which images differ is not known: {IMAGES_FILE} is missing or damaged"
    differing = there.differing(now)
    unreadable = [each for each in differing if UNREADABLE in (there.by_id[each], now.by_id[each])]
    others = [each for each in differing if each not in set(unreadable)]
    parts = []
    if others:
        parts.append(f"other content under the same name: {first_few(others)}")
    if unreadable:
        parts.append(f"could not be read in one of them: {first_few(unreadable)}")
    return "; ".join(parts) or "other names"
