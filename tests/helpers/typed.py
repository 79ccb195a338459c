"""A shell at a terminal: what stands on its command line after keys were pressed."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

PATIENCE_S = 120.0
_BEGINNING, _TAB = "\x01", "\t"


def completed_lines(
    shell: Sequence[str], setup: str, lines: Sequence[str], environment: Mapping[str, str]
) -> list[str]:
    """Type each line, press Tab behind it, and return what stands there then.

    The line is not carried out: ``echo`` and a mark are typed before it.

    Args:
        shell: its command.
        setup: what is typed first.
        lines: begun command lines.
        environment: of the shell.
    """
    keyboard, terminal = pty.openpty()
    process = subprocess.Popen(shell, stdin=terminal, stdout=terminal, stderr=terminal, env=environment, close_fds=True)
    os.close(terminal)
    try:
        _type(keyboard, f"{setup}\n")
        found = []
        for number, line in enumerate(lines):
            _type(keyboard, f"{line}{_TAB}{_BEGINNING}echo '<{number}'\\> \n")
            found.append(_read_until(keyboard, rf"\n<{number}> ([^\r\n]*)"))
        return found
    finally:
        os.close(keyboard)
        process.kill()
        process.wait()


def command_folder(folder: Path, python: str) -> Path:
    """Make a folder with the command ``run-bench`` alone, and return it."""
    script = folder / "run-bench"
    script.write_text(f"#!{python}\nfrom apm_tta.cli import console\nconsole()\n")
    script.chmod(0o755)
    return folder


def _type(keyboard: int, text: str) -> None:
    os.write(keyboard, text.encode())


def _read_until(keyboard: int, pattern: str) -> str:
    shown, until = "", time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if select.select([keyboard], [], [], 1.0)[0]:
            shown += os.read(keyboard, 65536).decode(errors="replace")
            if match := re.search(pattern, shown.replace("\r", "")):
                return match[1]
    raise TimeoutError(shown)
