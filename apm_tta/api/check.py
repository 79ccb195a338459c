"""Check a data set on disk from Python."""

from __future__ import annotations

from pathlib import Path

from apm_tta.api.run_folder import to_path
from apm_tta.data.cards import load_card
from apm_tta.data.check import CheckReport, check
from apm_tta.data.data_root import resolve_data_root
from apm_tta.data.decode_all import Progress


def check_dataset(
    name: str, data_root: str | Path | None = None, deep: bool = False, progress: Progress | None = None
) -> CheckReport:
    """Compare a data set on disk with its card, the same as ``run-bench check``.

    Args:
        name: as ``run-bench list datasets`` prints it.
        data_root: where it lies, or a folder that holds it under its name; unless given from ``APM_TTA_DATA_ROOT``.
        deep: whether every image is decoded, and published digests are compared.
        progress: wraps the images of a deep check as they pass, with their number; None shows nothing.

    Returns:
        What was found and expected; ``passed`` tells whether a run can use it, ``lines()`` is what the command prints.

    Raises:
        UserError: for a name that does not exist, or a place that cannot be read.

    Example:
        >>> import apm_tta
        >>> apm_tta.check_dataset("fashion-mnist").passed
        True
    """
    card = load_card(name)
    root = resolve_data_root(card, None if data_root is None else to_path(data_root))
    return check(card, root, deep, progress or (lambda entries, _total: entries))
