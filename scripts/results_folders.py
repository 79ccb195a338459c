"""What the scripts that make ``results/`` share: runs that are resumed, and the files that are kept of them."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from apm_tta.api.run_folder import open_run
from apm_tta.cli import main

TABLES = ("results.csv", "results.md", "results.tex")
"""Numbers alone, without pictures or paths."""

SECONDS_FILE = "seconds.json"

CHANGED_FILE = "changed.csv"
"""Of every method, the share of answers in percent that are other than those of ``zeroshot``."""


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

    The working directory becomes ``work``, so that no text states where on this machine the runs lie.

    Args:
        parts: the runs, in their order, with a row ``zeroshot`` each.
        work: holds the run folders; a part that is there is resumed, and its seconds are added up.
        folder: receives one folder per part, with the kept files, ``SECONDS_FILE`` and ``CHANGED_FILE``.
        kept: names of the files to keep; those that a run does not have are left out.

    Returns:
        The first exit code of ``run-bench`` other than 0, at which nothing more is run; else 0.
    """
    folder = folder.resolve()
    work.mkdir(parents=True, exist_ok=True)
    os.chdir(work)
    for part in parts:
        run, clock = Path(part.name), Path(f"{part.name.replace('/', '-')}-{SECONDS_FILE}")
        before, started = json.loads(clock.read_text()) if clock.is_file() else 0.0, time.monotonic()
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
                write_without_place(run / name, own / name)
        shutil.copy(clock, own / SECONDS_FILE)
        changed_answers(run).to_csv(own / CHANGED_FILE, index=False, float_format="%.4f", lineterminator="\n")
    return 0


def write_without_place(file: Path, copy: Path) -> None:
    """Copy a text, which names files below the working directory as they were named when its run was requested."""
    copy.write_text(file.read_text(encoding="utf-8").replace(f"{Path.cwd()}/", ""), encoding="utf-8")


def changed_answers(run: Path) -> pd.DataFrame:
    """Return for every method of a run the share of its answers that are other than those of the row ``zeroshot``."""
    answers = open_run(run).answers()
    cell = ["corruption", "severity", "seed", "id"]
    plain = answers[answers["method"] == "zeroshot"].set_index(cell)["prediction"]
    rows = []
    for method, own in answers.groupby("method", sort=False):
        prediction = own.set_index(cell)["prediction"]
        rows.append({"method": method, "changed": 100 * float((prediction != plain[prediction.index]).mean())})
    return pd.DataFrame(rows)
