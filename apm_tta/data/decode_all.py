"""Decode every image of a data set, to see whether that is possible and what is remarked of it."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from apm_tta.data.image_files import UnreadImage
from apm_tta.data.layouts import Entry, Layout
from apm_tta.data.twins import Twins
from apm_tta.system.cores import usable_cores

Progress = Callable[[Iterator[Entry], int], Iterable[Entry]]
_IMAGES_AT_ONCE = 512


@dataclass
class Decoded:
    """What was found.

    Attributes:
        problems: one line per image that cannot be decoded.
        remarks: number of images under each remark; see ``ReadImage.remarks``.
        doubts: see ``Twins``.
    """

    problems: list[str] = field(default_factory=list)
    remarks: Counter[str] = field(default_factory=Counter)
    doubts: list[str] = field(default_factory=list)


def decode_all(layout: Layout[Any], entries: Sequence[Entry], progress: Progress) -> Decoded:
    """Read every image; Pillow releases the interpreter's lock while it decodes, so threads are enough.

    Args:
        layout: reads them.
        entries: the images.
        progress: wraps them, given with their number; for a bar.
    """

    def read(entry: Entry) -> tuple[Entry, str, tuple[str, ...] | UnreadImage]:
        try:
            found = layout.read(entry.id)
        except UnreadImage as error:
            return entry, "", error
        return entry, found.sha256, found.remarks

    decoded, twins = Decoded(), Twins()
    remaining = iter(progress(iter(entries), len(entries)))
    with warnings.catch_warnings(record=True) as caught, ThreadPoolExecutor(min(8, usable_cores())) as threads:
        warnings.simplefilter("always")
        while chunk := list(islice(remaining, _IMAGES_AT_ONCE)):
            for entry, sha256, remarks in threads.map(read, chunk):
                if isinstance(remarks, UnreadImage):
                    decoded.problems.append(str(remarks))
                else:
                    decoded.remarks.update(remarks)
                    twins.add(sha256, entry)
    decoded.remarks.update(f"Pillow warns: {' '.join(str(warning.message).split())}" for warning in caught)
    decoded.doubts = twins.doubts()
    return decoded
