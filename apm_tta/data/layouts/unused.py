"""The files of a tree from which no image is read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from apm_tta.data.files import scan_folder, walk
from apm_tta.data.files.output_folders import is_output
from apm_tta.data.image_files.names import is_image_name
from apm_tta.wording import pluralise

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
        """Count the files of a class folder's own folders, and images hidden by their own name or a folder's.

        Links to folders are not followed.
        """

        def cannot_read(error: OSError) -> None:
            self.add("in folders that cannot be read", [f"{Path(error.filename).relative_to(place).as_posix()}/*"])

        for root, folders, files in walk(folder, cannot_read):
            for name in sorted(folders):
                if name.startswith("."):
                    self._add_hidden(place, Path(root, name))
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            start = Path(root).relative_to(place).as_posix()
            hidden = [name for name in sorted(files) if name.startswith(".")]
            self.add("hidden", [f"{start}/{name}" for name in hidden if _is_hidden_image(name)])
            if Path(root) != folder:
                seen = sorted(set(files) - set(hidden))
                self.add("in folders below a class folder", [f"{start}/{name}" for name in seen])

    def add_passed_over(self, place: Path, folder: Path | None = None) -> None:
        """Count what is taken for no class folder of a folder: this program's own output, hidden folders with images.

        Links to folders are followed.

        Args:
            place: where the tree starts; paths are below it.
            folder: the folder that is looked into; ``place`` where it is left out.
        """
        start = folder or place
        for name, is_folder in scan_folder(start):
            path = start / name
            if not is_folder:
                hidden = name.startswith(".") and _is_hidden_image(name)
                self.add("hidden", [path.relative_to(place).as_posix()] if hidden else [])
            elif name.startswith("."):
                self._add_hidden(place, path)
            elif is_output(path):
                self.add("in folders that this program has written", _files_below(place, path))

    def _add_hidden(self, place: Path, folder: Path) -> None:
        images = [name for name in _files_below(place, folder) if _is_hidden_image(name.rpartition("/")[2])]
        self.add("hidden", images)

    def line(self, place: Path) -> str:
        """State what is not used below ``place`` in one line; empty for nothing."""
        total = self.counts.total()
        if not total:
            return ""
        parts = [f"{count:,} {reason} ({self.first[reason]})" for reason, count in self.counts.items()]
        parts = [part.encode(errors="backslashreplace").decode() for part in parts]  # a name may be no text
        return f"{pluralise(total, 'file')} below {place} {'is' if total == 1 else 'are'} not used: {', '.join(parts)}"


def _files_below(place: Path, folder: Path) -> list[str]:
    """Return the files below a folder, sorted, as paths below ``place``; those in a folder above it are none."""
    if place.resolve().is_relative_to(folder.resolve()):
        return []
    found = (Path(root, name) for root, _, files in walk(folder) for name in files)
    return sorted(path.relative_to(place).as_posix() for path in found)


def _is_hidden_image(name: str) -> bool:
    """Return whether a hidden file is an image; those that macOS leaves beside every file are none."""
    return not name.startswith(_RESOURCE_FORK) and is_image_name(name)
