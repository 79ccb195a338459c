"""The SHA-256 of every image of a run, by which what is answered is what was asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

MOST_HASHED = 200_000
"""Images that are hashed before the first answer; of a larger set, a sample is."""

SAMPLE = 1_000
"""Images of the sample of a larger set: those whose id has the lowest SHA-256."""

UNREADABLE = "0" * 64
"""In place of the digest of an image whose bytes could not be read."""


@dataclass(frozen=True)
class ImageDigests:
    """Digests of images as they are stored, by id.

    Attributes:
        by_id: hexadecimal SHA-256, or ``UNREADABLE``: what a run's images are, from its beginning on.
        images: how many there are, those included that were not hashed.
        since: likewise, of images without an answer, which may have been repaired: what they are now. It is no part of
            what a run is; its records state the content of such an image beside the answer.
    """

    by_id: Mapping[str, str]
    images: int
    since: Mapping[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every image was hashed."""
        return len(self.by_id) == self.images

    @property
    def unreached(self) -> list[str]:
        """The ids of the images whose bytes could not be read when they were last hashed."""
        return [each for each, digest in {**self.by_id, **self.since}.items() if digest == UNREADABLE]

    def expected(self, sample_id: str) -> str | None:
        """Return the digest that an image must have when it is read; None where it may have any."""
        digest = self.since.get(sample_id) or self.by_id.get(sample_id)
        return None if digest == UNREADABLE else digest

    def is_other(self, sample_id: str, digest: str) -> bool:
        """Return whether ``by_id`` does not state this content of an image that it lists."""
        return self.by_id.get(sample_id, digest) != digest

    @cached_property
    def content(self) -> bytes:
        """The lines of ``sha256sum``, sorted by id: below the folder of the images, ``--check`` reads them."""
        lines = [_line(sample_id, digest) for sample_id, digest in sorted(self.by_id.items())]
        return "".join(lines).encode(errors="surrogateescape")

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of ``content``: of every image's id and bytes."""
        return hashlib.sha256(self.content).hexdigest()

    def differing(self, other: ImageDigests) -> list[str]:
        """Return the ids that both have, with another digest, in order."""
        return sorted(
            sample_id for sample_id, digest in self.by_id.items() if other.by_id.get(sample_id, digest) != digest
        )


def parse_digests(content: bytes, images: int) -> ImageDigests:
    """Return what ``ImageDigests.content`` was made of.

    Raises:
        ValueError: when it is not such lines.
    """
    found = {}
    for line in content.decode(errors="surrogateescape").split("\n")[:-1]:
        escaped = line.startswith("\\")
        digest, separator, sample_id = line.removeprefix("\\").partition("  ")
        if len(digest) != 64 or not separator:
            raise ValueError(f"not a line of digest and name: {line[:80]!r}")
        found[_unescaped(sample_id) if escaped else sample_id] = digest
    return ImageDigests(found, images)


def ids_to_hash(ids: Iterable[str]) -> tuple[list[str], int]:
    """Return the ids that are hashed before the first answer, and how many images there are; ids may be repeated."""
    distinct = list(dict.fromkeys(ids))
    if len(distinct) <= MOST_HASHED:
        return distinct, len(distinct)
    key = {sample_id: hashlib.sha256(sample_id.encode(errors="surrogateescape")).digest() for sample_id in distinct}
    return sorted(distinct, key=key.__getitem__)[:SAMPLE], len(distinct)


def _line(sample_id: str, digest: str) -> str:
    """Write a line as ``sha256sum`` does, which marks an escaped name at the start of its line."""
    escaped = sample_id.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if escaped == sample_id else chr(92)}{digest}  {escaped}\n"


def _unescaped(name: str) -> str:
    pieces = name.split("\\\\")
    return "\\".join(piece.replace("\\n", "\n").replace("\\r", "\r") for piece in pieces)
