"""What libraries count on and a container need not have: a home, a user's name, a folder for temporary files."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from apm_tta.system.cores import bound_cores, usable_cores

NO_HOME = "there is no home folder, so that no cache outlives this run; HOME or APM_TTA_CACHE names a place for it"
_NOWHERE = Path(os.devnull)
"""Nothing can be created below it, which libraries know how to live with."""
_SHARED_MEMORY = Path("/dev/shm")

_made: set[str] = set()


def complete_environment() -> None:
    """Give this process, and those that it starts, what is missing; folders that are made go with it."""
    _find_temporary_folder()
    if _home() is None:
        os.environ["HOME"] = str(_new_folder())
        _made.add("HOME")
        # Who has no home has no name either; libraries name their folders after it.
        os.environ.setdefault("LOGNAME", "nobody")
    home = _home()
    if "MPLCONFIGDIR" not in os.environ and (home is None or not _is_writable(home)):
        os.environ["MPLCONFIGDIR"] = str(_new_folder())  # matplotlib would warn, and leave a folder behind


def instruct_libraries() -> None:
    """Tell libraries, before they are imported, how many threads this process may use, and whether to show bars.

    They know of the cores that a process is bound to, but not of quotas. What the user has set stays.
    """
    if (cores := usable_cores()) < bound_cores():
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def home_was_missing() -> bool:
    """Return whether ``complete_environment`` has given this process its home."""
    return "HOME" in _made


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:
        return None


def _is_writable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _find_temporary_folder() -> None:
    """Use shared memory where only the current folder is left: what appears in that may be taken for images."""
    try:
        found: Path | None = Path(tempfile.gettempdir())
    except OSError:
        found = None
    if found in (None, Path.cwd()) and "TMPDIR" not in os.environ and _is_writable(_SHARED_MEMORY):
        os.environ["TMPDIR"] = tempfile.tempdir = str(_SHARED_MEMORY)


def _new_folder() -> Path:
    try:
        folder = tempfile.mkdtemp(prefix="run-bench-")
    except OSError:
        return _NOWHERE / "run-bench"
    atexit.register(_remove, folder, os.getpid())
    return Path(folder)


def _remove(folder: str, process: int) -> None:
    if os.getpid() == process:
        with suppress(OSError):
            shutil.rmtree(folder)
