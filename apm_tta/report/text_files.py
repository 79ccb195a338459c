"""Files of text that a report leaves."""

from __future__ import annotations

from pathlib import Path

from apm_tta.errors import UserError
from apm_tta.files import write_whole


def write_text(path: Path, text: str) -> None:
    """Writes ``text``, whole or not at all.

    Raises:
        UserError: when it cannot be written.
    """
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror or error})") from None
