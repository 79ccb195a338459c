"""Where a data set lies: one rule for every command."""

from __future__ import annotations

import os
from pathlib import Path

from apm_tta.data.cards import DatasetCard
from apm_tta.data.layouts import LAYOUTS

VARIABLE = "APM_TTA_DATA_ROOT"
"""The environment variable that names the data root where no command line does."""


def resolve_data_root(card: DatasetCard, data_root: Path | None) -> Path | None:
    """Decide below which folder a data set is looked for.

    Args:
        card: of the data set.
        data_root: what was asked for explicitly, with ``--data-root``; it always counts.

    Returns:
        ``data_root``; else None for a set that the package carries, since the environment is for sets that lie
        somewhere; else what ``APM_TTA_DATA_ROOT`` says, an empty value counting as unset; else None.

    Raises:
        UnknownName: when the card's layout does not exist.
    """
    if data_root is not None:
        return data_root
    if LAYOUTS.get(card.layout).carried:
        return None
    named = os.environ.get(VARIABLE, "")
    return Path(named) if named else None
