"""What the scripts that make ``results/`` share: runs that are resumed, and the files that are kept of them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from apm_tta.cli import main

TABLES = ("results.csv", "results.md", "results.tex")
"""Numbers alone, without pictures or paths."""


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
    """Run what is missing of ``parts`` in ``work``, and replace their folders below ``folder``.

    Args:
        parts: the runs, in their order.
        work: holds the run folders; a part that is there is resumed.
        folder: receives one folder per part.
        kept: names of the files to keep; those that a run does not have are left out.

    Returns:
        The first exit code of ``run-bench`` other than 0, at which nothing more is run; else 0.
    """
    for part in parts:
        run = work / part.name
        if code := main([*part.words, "--out", str(run)]):
            return code
        own = folder / part.name
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir(parents=True)
        for name in kept:
            if (run / name).is_file():
                shutil.copy(run / name, own / name)
    return 0
