"""The digest of which images a data set has, and in which classes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from apm_tta.data.layouts.base import Entry
from apm_tta.data.sample import Condition


def add_entries(digest: Any, condition: Condition, entries: Sequence[Entry]) -> None:
    """Add ids and labels under ``condition`` to a hashlib digest: a fingerprint consists of nothing else."""
    digest.update(f"{condition}\n".encode())
    for entry in entries:
        digest.update(f"{entry.id}\t{','.join(map(str, (entry.label, *entry.others)))}\n".encode())


def entries_fingerprint(condition: Condition, entries: Sequence[Entry]) -> str:
    """Compute the fingerprint of the images under one condition."""
    digest = hashlib.sha256()
    add_entries(digest, condition, entries)
    return digest.hexdigest()
