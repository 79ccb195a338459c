"""Where a data set lies: one rule for all commands."""

from __future__ import annotations

import os
from pathlib import Path

from apm_tta.data.cards import DatasetCard
from apm_tta.data.layouts import LAYOUTS

VARIABLE = "APM_TTA_DATA_ROOT"
"""The environment variable that names the data root when the command line does not."""


def resolve_data_root(card: DatasetCard, data_root: Path | None) -> Path | None:
    """Decide below which folder to look for a data set.

    Args:
        card: of the data set.
        data_root: the folder requested explicitly with ``--data-root``; it always takes precedence.

    Returns:
        ``data_root``; else None for a data set that the package carries, since the environment variable is for sets
        outside it; else the value of ``APM_TTA_DATA_ROOT``, where an empty value counts as unset; else None.

    Raises:
        UnknownName: when the card's layout does not exist.
    """
    if data_root is not None:
        return data_root
    if LAYOUTS.get(card.layout).carried:
        return None
    value = os.environ.get(VARIABLE, "")
    return Path(value) if value else None
