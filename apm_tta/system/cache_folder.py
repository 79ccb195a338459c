"""Where this program keeps what outlives a run."""

from __future__ import annotations

import os
from pathlib import Path

from apm_tta.system.environment import NO_HOME, complete_environment, home_was_missing


def default_cache() -> Path:
    """Return ``$APM_TTA_CACHE``, else ``apm-tta`` in ``$XDG_CACHE_HOME``, else in ``~/.cache``."""
    if own := os.environ.get("APM_TTA_CACHE"):
        return Path(own)
    complete_environment()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "apm-tta"


def cache_doubts() -> list[str]:
    """Say in a line why nothing will be found in the cache the next time; nothing where it can be used."""
    folder = default_cache()
    if home_was_missing() and "APM_TTA_CACHE" not in os.environ and "XDG_CACHE_HOME" not in os.environ:
        return [NO_HOME]
    nearest = next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))  # noqa: PTH110  one that may not be looked at counts as absent
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
        return []
    return [f"the cache {folder} cannot be written, so that nothing is kept in it; APM_TTA_CACHE names another place"]
