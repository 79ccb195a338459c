"""The folder for pictures and their numbers."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import get_args

from apm_tta.data.files import list_folder, looking_into
from apm_tta.data.files.output_folders import PICTURES
from apm_tta.data.image_files.names import is_image_name
from apm_tta.errors import UserError
from apm_tta.islands.animation import Format
from apm_tta.system.files import unwritable, write_file
from apm_tta.wording import first_few


class PictureFolder:
    """A folder that receives files completely or not at all, and lists them.

    Args:
        out: the folder; None for a new one below the current folder.
        kind: what is drawn, part of the new folder's name.

    Raises:
        UserError: when it cannot be created, or holds images of others, before anything is computed.
    """

    def __init__(self, out: Path | None, kind: str) -> None:
        self.path = out or Path("results") / kind / datetime.now().strftime("%Y%m%d-%H%M%S")
        self.files: list[str] = []
        existing = next(path for path in (self.path, *self.path.absolute().parents) if path.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            raise UserError(f"{self.path} cannot be written: {existing} is not a writable folder; choose another --out")
        if foreign := _images_of_others(self.path):
            raise UserError(
                f"{self.path} holds images of others ({first_few(foreign)}), among which pictures would be taken for "
                "images: name another folder with --out"
            )

    def write(self, name: str, content: bytes) -> None:
        """Write one file, replacing any of the same name; pictures are named as in ``PICTURES``.

        Raises:
            UserError: when it cannot be written.
        """
        assert not is_image_name(name) or Path(name).stem in PICTURES
        write_file(self.path / name, content)
        self.files.append(name)

    def remove_animations(self, name: str) -> None:
        """Remove the animations of an earlier call: they would be taken for those of the picture just written.

        Raises:
            UserError: when one of them cannot be removed.
        """
        assert name in PICTURES
        for path in (self.path / f"{name}.{kind}" for kind in get_args(Format)):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise unwritable(path, error) from None

    def __str__(self) -> str:
        return f"{self.path} ({', '.join(self.files)})"


def _images_of_others(folder: Path) -> list[str]:
    """Return the images in a folder that no command for pictures has written."""
    with looking_into("none"):
        names = list_folder(folder)[1] if folder.is_dir() else []
    return [name for name in names if is_image_name(name) and Path(name).stem not in PICTURES]
