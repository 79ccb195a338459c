"""Atomic files: complete or absent, whenever the process is killed."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from apm_tta.errors import UserError

PARTIAL = ".partial"
"""Suffix of a file that is being written; a file left with it belongs to a writer that was killed."""

_LONGEST_PATH, _LONGEST_NAME = 4000, 255
"""In bytes, as file systems have it."""

_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EISDIR}
"""What file systems answer that do not know how to sync a folder, or anything."""
_NO_READING = {errno.EACCES, errno.EPERM}
"""What they answer where a folder may be written into and not listed: it cannot be synced then."""
_IN_PLACE = {errno.EBUSY, errno.EXDEV}
"""What they answer where a file cannot be replaced: a container may have been given that single file."""


def write_whole(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically, and create its folders.

    The content is written to a temporary name and synced, the file is renamed, and the folder is synced. A link is
    followed, and a file that is replaced keeps its permissions; what is no regular file is not replaced.

    Raises:
        OSError: when the file cannot be written.
    """
    path = _target(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The random name keeps two processes, on one machine or two, from writing into each other's temporary file.
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        _write(temporary, content)
        with suppress(OSError):  # there is none to replace, or the file system has no permissions
            temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        try:
            temporary.replace(path)
        except OSError as error:
            if error.errno not in _IN_PLACE or not path.is_file():
                raise
            _write(path, content)
            temporary.unlink()
    except BaseException:
        with suppress(OSError):
            temporary.unlink()  # on a full disk it would take up space that is needed
        raise
    if os.name == "posix":  # elsewhere a folder cannot be opened, and the rename must do
        _sync_folder(path.parent)


def _target(path: Path) -> Path:
    """Return where a link leads, and otherwise ``path``.

    Raises:
        OSError: when what is there is no regular file.
    """
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        return path.resolve() if path.is_symlink() else path
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if not stat.S_ISREG(kind):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return path.resolve() if path.is_symlink() else path


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        try:
            os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in _NO_SYNC:
                raise


def _sync_folder(path: Path) -> None:
    try:
        folder = os.open(path, os.O_RDONLY)
    except OSError as error:
        if error.errno not in _NO_READING | _NO_SYNC:
            raise
        return
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(folder)


OTHER_FOLDER = "name another folder with --out"
MAKE_ROOM = "make it writable, and run the same command again"
"""Advice where a command has no other place to write to."""


def write_file(path: Path, content: bytes, advice: str = OTHER_FOLDER) -> None:
    """Write a file that a user requested, atomically.

    Raises:
        UserError: naming the file, why it cannot be written, and ``advice``.
    """
    try:
        write_whole(path, content)
    except OSError as error:
        raise unwritable(path, error, advice) from error


def write_output(path: Path, content: bytes) -> None:
    """Write what a user named as the place of an output: a file as ``write_file`` does, a pipe or a device directly.

    Raises:
        UserError: naming it, and why it cannot be written.
    """
    try:
        if (number := _own_stream(path)) is not None:
            _write_all(os.dup(number), content)
        elif _is_stream(path):
            _write_all(os.open(path, os.O_WRONLY), content)
        else:
            write_whole(path, content)
    except OSError as error:
        raise unwritable(path, error, MAKE_ROOM) from error


_STREAMS = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}


def _own_stream(path: Path) -> int | None:
    """Return the number of a file that this process was started with: opened anew it would begin at its start."""
    text = os.path.abspath(path)  # noqa: PTH100  links are not followed
    for folder in ("/dev/fd/", "/proc/self/fd/"):
        if text.startswith(folder) and text.removeprefix(folder).isdecimal():
            return int(text.removeprefix(folder))
    return _STREAMS.get(text)


def _is_stream(path: Path) -> bool:
    try:
        kind = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(kind) or stat.S_ISCHR(kind)


def _write_all(descriptor: int, content: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def unwritable(path: Path, error: OSError, advice: str = OTHER_FOLDER) -> UserError:
    """Return the one-line error of a failed write, after which there may be room again."""
    return UserError(f"{path} cannot be written ({error.strerror or error})", advice=advice, passing=True)


def read_regular(path: Path) -> bytes:
    """Return the content of a file; of a pipe or a device, which may never end, nothing is read.

    Raises:
        OSError: when it cannot be read, or is no regular file.
    """
    require_regular(path)
    return path.read_bytes()


def require_regular(path: Path) -> None:
    """Refuse what would be waited for when it is opened, such as a pipe.

    Raises:
        OSError: when there is nothing, or no regular file.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is not a file", str(path))


def not_a_path(text: str | bytes) -> str:
    """Return why ``text`` cannot be the path of a file or folder; empty where it can."""
    path = os.fsencode(text)
    shown = os.fsdecode(path[:40])
    if not path.strip():
        return f"{shown!r} is not a path; write one, such as results/mine"
    if b"\0" in path:
        return f"{shown!r} is not a path: it has a character of code 0"
    if len(path) > _LONGEST_PATH or max(map(len, path.split(b"/"))) > _LONGEST_NAME:
        return f"{shown!a}... is too long for a path"
    return ""


def is_file(path: Path) -> bool:
    """Return whether there is a file of that name; what cannot be a name, such as one too long, is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
