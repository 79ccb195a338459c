"""What the scripts that make ``results/`` share: runs that are resumed, and the files that are kept of them."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from apm_tta.cli import main

TABLES = ("results.csv", "results.md", "results.tex")
"""Numbers alone, without pictures or paths."""

SECONDS_FILE = "seconds.json"


@dataclass(frozen=True)
class Part:
    """One run whose tables are kept.

    Attributes:
        name: of its folder.
        words: of its command, after ``run-bench``.
    """

    name: str
    words: tuple[str, ...]


def run_parts(parts: Sequence[Part], work: Path, folder: Path, kept: Sequence[str]) -> int:
    """Run what is missing of ``parts`` in ``work``, and replace their folders below ``folder`` one by one.

    Args:
        parts: the runs, in their order.
        work: holds the run folders; a part that is there is resumed, and its seconds are added up.
        folder: receives one folder per part, with the kept files and ``SECONDS_FILE``.
        kept: names of the files to keep; those that a run does not have are left out.

    Returns:
        The first exit code of ``run-bench`` other than 0, at which nothing more is run; else 0.
    """
    for part in parts:
        run, clock = work / part.name, work / f"{part.name.replace('/', '-')}-{SECONDS_FILE}"
        before, started = json.loads(clock.read_text()) if clock.is_file() else 0.0, time.monotonic()
        work.mkdir(parents=True, exist_ok=True)
        try:
            if code := main([*part.words, "--out", str(run)]):
                return code
        finally:
            clock.write_text(json.dumps(before + time.monotonic() - started))
        own = folder / part.name
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir(parents=True)
        for name in kept:
            if (run / name).is_file():
                shutil.copy(run / name, own / name)
        shutil.copy(clock, own / SECONDS_FILE)
    return 0
