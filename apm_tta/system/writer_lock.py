"""A lock that allows one writer per folder."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from apm_tta.errors import UserError
from apm_tta.system.files import read_regular, require_regular, unwritable, write_whole

LOCK_FILE, OWNER_FILE = "run.lock", "run.owner"
"""Those of a run's folder; see ``stem``."""
# The processes of a killed run notice its end at once, unless they are in the middle of something.
_PATIENCE_S = 6.0
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
"""What network mounts, and file systems in user space, answer to a request for a lock."""


@contextmanager
def only_writer(
    folder: Path, advice: str = "wait for it, choose another --out, or use --force-new", stem: str = "run"
) -> Iterator[list[str]]:
    """Lock ``folder`` for the block. The system releases the lock when this process ends, however it ends.

    Args:
        folder: that is written into.
        advice: what to do where another process holds the lock.
        stem: of the names of the two files; hidden where the folder is not this program's own.

    Yields:
        What is to be noted: that the file system has no locks, so that only a writer on this machine is noticed.

    Raises:
        UserError: when another process holds the lock, naming that process.
    """
    owner, place = folder / f"{stem}.owner", folder / f"{stem}.lock"
    lock = FileLock(place)
    try:
        locks = _has_locks(place)
        if locks:
            lock.acquire(timeout=_PATIENCE_S, poll_interval=0.2)
        elif (who := _owner(owner)) and _is_running_here(who):
            raise _held(folder, who, advice)
    except Timeout:
        raise _held(folder, _owner(owner) or "another process", advice) from None
    except OSError as error:
        raise unwritable(folder, error) from None
    try:
        with suppress(OSError):
            write_whole(owner, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield (
            []
            if locks
            else [
                f"the file system of {folder} has no locks: nothing but you keeps a second machine from writing into it"
            ]
        )
    finally:
        for path in (owner, place):  # before it is released: who has opened it notices that it is gone
            with suppress(OSError):
                path.unlink()
        lock.release()


@dataclass(frozen=True)
class Writer:
    """The process that a folder names as its writer.

    Attributes:
        name: process and machine.
        running: whether it lives; None where it is of another machine, so that nobody can tell here.
    """

    name: str
    running: bool | None

    def __str__(self) -> str:
        return self.name


def writer_of(folder: Path, stem: str = "run") -> Writer | None:
    """Return who writes into a folder, or was killed while it did; None where nobody is named. No lock is touched.

    Args:
        folder: that may be locked.
        stem: see ``only_writer``.
    """
    name = _owner(folder / f"{stem}.owner")
    return Writer(name, _is_alive(name)) if name else None


def _held(folder: Path, who: str, advice: str) -> UserError:
    return UserError(f"{folder} is being written by {who}", advice=advice)


def _owner(path: Path) -> str:
    try:
        return read_regular(path).decode(errors="replace").strip()
    except OSError:
        return ""


def _is_running_here(who: str) -> bool:
    """Return whether it is another living process of this machine; of another machine nobody can tell."""
    return bool(_is_alive(who)) and who.split()[1] != str(os.getpid())


def _is_alive(who: str) -> bool | None:
    """Return whether a process lives; None where it is not of this machine."""
    match who.split():
        case ["process", number, "on", machine] if machine == socket.gethostname() and number.isdecimal():
            try:
                os.kill(int(number), 0)
            except PermissionError:
                return True
            except (OSError, OverflowError):
                return False
            return True
    return None


def _has_locks(path: Path) -> bool:
    """Return whether the file system knows locks at all.

    Raises:
        OSError: when the file cannot be opened.
    """
    if os.name != "posix":
        return True
    import fcntl

    if path.exists():
        require_regular(path)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in _NO_LOCKS
    return True
