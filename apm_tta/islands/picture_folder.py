"""The folder that pictures and their numbers go into."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from apm_tta.errors import UserError
from apm_tta.files import write_file


class PictureFolder:
    """Writes files whole or not at all, and remembers which.

    Args:
        out: the folder; None for a new one below the current folder.
        kind: what is drawn, in the new folder's name.

    Raises:
        UserError: when it cannot be made, before anything is computed.
    """

    def __init__(self, out: Path | None, kind: str) -> None:
        self.path = out or Path("results") / kind / datetime.now().strftime("%Y%m%d-%H%M%S")
        self.files: list[str] = []
        there = next(path for path in (self.path, *self.path.absolute().parents) if path.exists())
        if not there.is_dir() or not os.access(there, os.W_OK):
            raise UserError(f"{self.path} cannot be written: {there} is no folder to write into; name another --out")

    def write(self, name: str, content: bytes) -> None:
        """Writes one file, in place of one of that name.

        Raises:
            UserError: when it cannot be written.
        """
        write_file(self.path / name, content)
        self.files.append(name)

    def __str__(self) -> str:
        return f"{self.path} ({', '.join(self.files)})"
