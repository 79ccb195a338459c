"""Pack a data set into shards from Python."""

from __future__ import annotations

from pathlib import Path

from apm_tta.api.run_folder import to_path
from apm_tta.data.cards import load_card
from apm_tta.data.data_root import resolve_data_root
from apm_tta.data.dataset import Dataset
from apm_tta.data.pack import PackReport, Progress, pack


def pack_dataset(
    name: str, out: str | Path, data_root: str | Path | None = None, progress: Progress | None = None
) -> PackReport:
    """Write a data set into shards that are read as its tree is, the same as ``run-bench pack``.

    Args:
        name: as ``run-bench list datasets`` prints it.
        out: folder of the shards, which is empty or does not exist.
        data_root: where the set lies, or a folder that holds it under its name; unless given from
            ``APM_TTA_DATA_ROOT``.
        progress: wraps the images of one condition as they pass, with their number; None shows nothing.

    Returns:
        What was written, and where.

    Raises:
        UserError: for a name that does not exist, images that cannot be packed or read, or a folder that is not empty.
    """
    card = load_card(name)
    root = resolve_data_root(card, None if data_root is None else to_path(data_root))
    return pack(Dataset(card, root), to_path(out), progress)
