"""A lock that allows one writer per run folder."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from apm_tta.errors import UserError
from apm_tta.files import unwritable, write_whole

LOCK_FILE, OWNER_FILE = "run.lock", "run.owner"
# The loading processes of a killed run notice its end within five seconds, and hold its lock until then.
_PATIENCE_S = 6.0


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Lock ``folder`` for the block. The system releases the lock when this process ends, however it ends.

    Raises:
        UserError: when another process holds the lock, naming that process.
    """
    lock = FileLock(folder / LOCK_FILE)
    owner = folder / OWNER_FILE
    try:
        lock.acquire(timeout=_PATIENCE_S, poll_interval=0.2)
    except Timeout:
        who = "another process"
        with suppress(OSError):
            who = owner.read_text(encoding="utf-8").strip() or who
        raise UserError(
            f"{folder} is being written by {who}; wait for it, choose another --out, or use --force-new"
        ) from None
    except OSError as error:
        raise unwritable(folder, error) from None
    try:
        with suppress(OSError):
            write_whole(owner, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield
    finally:
        with suppress(OSError):
            owner.unlink()
        with suppress(OSError):
            (folder / LOCK_FILE).unlink()  # before it is released: a process that opened it notices that it is gone
        lock.release()
