"""Hash the images of a data set as they are stored, in several threads, each once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from apm_tta.data.digest_index import DigestIndex
from apm_tta.data.files import Stamp, stamp_of
from apm_tta.data.image_digests import UNREADABLE, ImageDigests
from apm_tta.data.image_files import UnreadImage
from apm_tta.data.layouts import Layout
from apm_tta.system.cores import usable_cores

Advance = Callable[[int], object]
"""Take the number of images that were hashed since the last call."""

_IMAGES_AT_ONCE = 256
_MOST_THREADS = 8


def hash_images(
    layout: Layout[Any], ids: Sequence[str], images: int, cache: Path | None = None, advance: Advance | None = None
) -> ImageDigests:
    """Hash images as they are stored; none is decoded.

    Args:
        layout: reads them.
        ids: of the images to hash.
        images: how many there are in all.
        cache: folder of the index that spares files which have not changed; None to read every file.
        advance: is called now and then, in this thread; for a bar.

    Raises:
        OutOfReach: where too many images in a row could not be reached.
    """
    index = None if cache is None else DigestIndex(cache, layout.place)
    by_id: dict[str, str] = {}
    threads = ThreadPoolExecutor(min(_MOST_THREADS, usable_cores()))
    try:
        for hashed in threads.map(lambda chunk: _hash(layout, index, chunk), _chunks(layout.reading_order(ids))):
            by_id.update(hashed)
            if advance is not None:
                advance(len(hashed))
    finally:
        threads.shutdown(cancel_futures=True)
    if index is not None:
        index.save()
    return ImageDigests(by_id, images)


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (ids[start : start + _IMAGES_AT_ONCE] for start in range(0, len(ids), _IMAGES_AT_ONCE))


def _hash(layout: Layout[Any], index: DigestIndex | None, ids: Sequence[str]) -> dict[str, str]:
    return {sample_id: _digest(layout, index, sample_id) for sample_id in ids}


def _digest(layout: Layout[Any], index: DigestIndex | None, sample_id: str) -> str:
    path = None if index is None else layout.file_of(sample_id)
    try:
        if index is None or path is None:
            return layout.stored(sample_id).sha256
        before = _stamp(path)
        if before is None:
            return layout.stored(sample_id).sha256
        if (known := index.digest_of(path, before)) is not None:
            return known
        started = time.time_ns()
        digest = layout.stored(sample_id).sha256
        if _stamp(path) == before:
            index.add(path, before, started, digest)
        return digest
    except UnreadImage:
        return UNREADABLE


def _stamp(path: Path) -> Stamp | None:
    try:
        return stamp_of(path)
    except OSError:
        return None
