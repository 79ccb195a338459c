"""Which code runs: its commit, and its content where that is no commit's."""

from __future__ import annotations

import marshal
import sys
from functools import cache
from importlib.util import MAGIC_NUMBER
from pathlib import Path
from types import CodeType

import apm_tta
from apm_tta.errors import UserError
from apm_tta.package_commit import PackageCode, package_code
from apm_tta.package_files import AT_IMPORT, content, files_sha256, stamps

NO_CHANGES = "none"
UNKNOWN = "unknown"
_RESTART = "start Python again (in a notebook: restart the kernel)"
_HEADER = 16
"""Bytes before the code in a file of byte code: magic number, flags, and time and size of its source."""


def commit() -> str:
    """Return the commit of the code that runs, with ``-dirty`` where its files are others; ``unknown`` for none."""
    code = _code()
    if code.commit is None:
        return UNKNOWN
    return code.commit if code.is_commit else f"{code.commit}-dirty"


def uncommitted() -> str:
    """Return the SHA-256 of the code that runs, unless it is exactly that of a commit: then ``none``.

    Of a commit, the integers decide that it raises where it changes numbers; of anything else, its content does. Two
    copies of the same content are the same code, wherever they lie.
    """
    code = _code()
    return NO_CHANGES if code.is_commit else code.sha256


def source_sha256() -> str:
    """Return the SHA-256 of the package's files that can change a number, as they were imported."""
    return _code().sha256


def refuse_edited_code() -> None:
    """Refuse files of the package that are not those that were imported: nobody can say then which code runs.

    Raises:
        UserError: naming one of them.
    """
    package = Path(apm_tta.__file__).parent
    if not package.is_dir() or not AT_IMPORT:
        return
    try:
        now = stamps(package)
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read ({error.strerror})") from None
    for path, before in AT_IMPORT.items():
        if now.get(path) != before:
            raise UserError(f"{path} was edited after it was imported: {_RESTART}")


@cache
def _code() -> PackageCode:
    refuse_edited_code()
    package = Path(apm_tta.__file__).resolve().parent
    code, elsewhere = package_code(package), {}
    for name in sorted(name for name in sys.modules if name.partition(".")[0] == apm_tta.__name__):
        file = getattr(sys.modules[name], "__file__", None)
        if file is not None and package.is_dir():
            path = Path(file).resolve()
            if not path.is_relative_to(package):
                elsewhere[name] = content(str(path))
            _refuse_stale_byte_code(path, getattr(sys.modules[name], "__cached__", None))
    if elsewhere:
        return PackageCode(code.commit, False, files_sha256({**elsewhere, "": code.sha256.encode()}))
    return code


def _refuse_stale_byte_code(source: Path, cached: str | None) -> None:
    """Refuse byte code that Python takes for that of ``source`` by its time and size, though it is not.

    Only byte code that is older than the last change of its source can be; it is compiled again and compared.

    Raises:
        UserError: naming both files.
    """
    try:
        byte_code = None if cached is None else Path(cached)
        if byte_code is None or byte_code.stat().st_mtime_ns > source.stat().st_ctime_ns:
            return
        held = byte_code.read_bytes()
        found = marshal.loads(held[_HEADER:]) if held[:4] == MAGIC_NUMBER else None
        compiled = compile(source.read_bytes(), str(source), "exec", dont_inherit=True, optimize=sys.flags.optimize)
    except (OSError, ValueError, EOFError, TypeError, SyntaxError):  # no byte code, or none that Python would take
        return
    if isinstance(found, CodeType) and found != compiled and _is_taken(held, source):
        raise UserError(
            f"{byte_code} is byte code of another {source.name} of the same time and size: delete it, and {_RESTART}"
        )


def _is_taken(held: bytes, source: Path) -> bool:
    """Return whether Python takes byte code for that of ``source``: by time and size, or unasked."""
    flags = int.from_bytes(held[4:8], "little")
    if flags & 1:
        return not flags & 2
    state = source.stat()
    times = (int.from_bytes(held[8:12], "little"), int.from_bytes(held[12:16], "little"))
    return times == (int(state.st_mtime) & 0xFFFFFFFF, state.st_size & 0xFFFFFFFF)
