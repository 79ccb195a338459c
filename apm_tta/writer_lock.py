"""One writer a run folder."""

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
# Loading processes of a run that was killed notice it within five seconds, and hold its lock until then.
_PATIENCE_S = 6.0


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Holds ``folder`` for the block. The system lets go of it when this process ends, however it ends.

    Raises:
        UserError: when another process holds it, naming that one.
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
            f"{folder} is being written by {who}; wait for it, or choose another --out, or --force-new"
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
            (folder / LOCK_FILE).unlink()  # while it is held: whoever opened it before sees that it is gone
        lock.release()
