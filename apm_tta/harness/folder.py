"""The folder that a run leaves: made, checked, and what is still missing in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from apm_tta.errors import UserError
from apm_tta.files import PARTIAL
from apm_tta.harness.manifest import MANIFEST_FILE
from apm_tta.harness.plan import Shard, Stream, Work


def make_folder(out: Path | None, suite: str) -> Path:
    """The run folder: ``out``, or a new one below the current folder.

    Raises:
        UserError: when it cannot be written, or holds something that is no run.
    """
    folder = out or _new_folder(Path("results") / suite)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f"writable{PARTIAL}"
        probe.touch()
        probe.unlink()
        others = [path for path in folder.iterdir() if path.suffix != PARTIAL]
        foreign = bool(others) and not (folder / MANIFEST_FILE).exists()
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); name another folder with --out") from None
    if foreign:
        raise UserError(f"{folder} holds files that are no run; nothing is overwritten: name another folder with --out")
    return folder


def unfinished(shards: Sequence[Shard], streams: Sequence[Stream], folder: Path) -> list[Work]:
    """What lacks a record: shards with the cells that they lack, streams with all their cells."""
    lacking = (
        replace(shard, cells=tuple(cell for cell in shard.cells if not (folder / shard.file_of(cell)).exists()))
        for shard in shards
    )
    broken = (
        stream for stream in streams if not all((folder / stream.file_of(cell)).exists() for cell in stream.cells)
    )
    return [*(shard for shard in lacking if shard.cells), *broken]


def _new_folder(parent: Path) -> Path:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder, again = parent / stamp, 1
    while folder.exists():
        again += 1
        folder = parent / f"{stamp}-{again}"
    return folder
