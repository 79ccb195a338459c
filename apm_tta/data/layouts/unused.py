"""The files of a tree from which no image is read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from apm_tta.data.layouts.images import is_image_name, pluralise
from apm_tta.output_folders import is_output

_RESOURCE_FORK = "._"


@dataclass
class Unused:
    """The files that are not used, counted by the reason, each with the first of them.

    Attributes:
        counts: number of files by reason.
        first: the first file by reason, its path below the folder where the tree starts.
    """

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, files: Sequence[str]) -> None:
        """Count files that are not used for one reason."""
        if files:
            self.counts[reason] += len(files)
            self.first.setdefault(reason, files[0])

    def add_by_suffix(self, folder: str, names: Iterable[str]) -> None:
        """Count files of a folder whose names are not those of images."""
        start = "" if folder == "." else f"{folder}/"
        for name in names:
            suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122  one Path per file would dominate
            self.add(f"with the suffix {suffix}" if suffix else "without a suffix", [f"{start}{name}"])

    def add_below(self, place: Path, folder: Path) -> None:
        """Count the files of a class folder's own folders, and images whose names begin with a dot.

        Links to folders are not followed, and what this program has written is passed over.
        """

        def cannot_read(error: OSError) -> None:
            self.add("in folders that cannot be read", [f"{Path(error.filename).relative_to(place).as_posix()}/*"])

        for root, folders, files in os.walk(folder, onerror=cannot_read):
            kept = sorted(name for name in folders if not name.startswith(".") and not is_output(Path(root, name)))
            folders[:] = kept
            start = Path(root).relative_to(place).as_posix()
            hidden = [name for name in sorted(files) if name.startswith(".")]
            self.add("hidden", [f"{start}/{name}" for name in hidden if _is_hidden_image(name)])
            if Path(root) != folder:
                seen = sorted(set(files) - set(hidden))
                self.add("in folders below a class folder", [f"{start}/{name}" for name in seen])

    def line(self, place: Path) -> str:
        """State what is not used below ``place`` in one line; empty for nothing."""
        total = self.counts.total()
        if not total:
            return ""
        parts = [f"{count:,} {reason} ({self.first[reason]})" for reason, count in self.counts.items()]
        return f"{pluralise(total, 'file')} below {place} {'is' if total == 1 else 'are'} not used: {', '.join(parts)}"


def _is_hidden_image(name: str) -> bool:
    """Return whether a hidden file is an image; those that macOS leaves beside every file are none."""
    return not name.startswith(_RESOURCE_FORK) and is_image_name(name)
