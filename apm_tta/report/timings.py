"""The times in the rows of ``results.csv``: measured again where they were, marked where something else ran."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from apm_tta.columns import CLOCKED
from apm_tta.harness.quietness import disturbance
from apm_tta.harness.storage.record_header import RecordHeader
from apm_tta.harness.storage.times import MethodTimes, Times
from apm_tta.report.beside import ZEROSHOT
from apm_tta.report.sites import join_distinct
from apm_tta.report.table import is_unknown
from apm_tta.wording import for_shell, pluralise

ENOUGH = 100
"""Single images that a 95th percentile is of, at least."""
SLOW_MS = 1000.0
"""A method that takes longer than this for one image is timed on fewer of them."""

MARK = "\N{DAGGER}"
MARKED = (
    f"{MARK} Something else ran on the machine meanwhile: no measure of the method, and left out of charts and ratios "
    "(times_disturbed in results.csv says by what it is known); run-bench time RUN measures times again."
)
"""The note of every table with marked times."""
RATIO = (
    "Time / zeroshot: of an image in its batch, where both were timed on the same hardware with nothing else running; "
    "it carries over between machines of one kind only."
)
"""The note of every table with the ratio."""

_NAN = float("nan")


def latencies(milliseconds: npt.NDArray[np.float64]) -> dict[str, float]:
    """Return the columns of the times of single images; the 95th percentile only of enough of them."""
    count = len(milliseconds)
    return {
        "latency_ms_p50": float(np.quantile(milliseconds, 0.5)) if count else _NAN,
        "latency_ms_p95": float(np.quantile(milliseconds, 0.95)) if count >= ENOUGH else _NAN,
        "latency_images": count,
    }


def complete_times(
    rows: Sequence[dict[str, Any]], headers: Sequence[Sequence[RecordHeader]], again: Times | None
) -> None:
    """Put in times that were measured again, mark those of a disturbed machine, and compare the others with zero-shot.

    Args:
        rows: of ``results.csv``, which are changed.
        headers: of the files of each row.
        again: see ``read_times``.
    """
    fastest = _fastest(headers)
    for row, own in zip(rows, headers, strict=True):
        measured = None if again is None else again.methods.get(row["method"])
        if measured is not None and again is not None:
            row |= _measured_again(measured, again)
        else:
            row["times_disturbed"] = join_distinct(
                disturbance(each.clocks, fastest[each.site.hardware]) for each in own if each.clocks is not None
            )
    keys = ("corruption", "severity", "seed")
    zeroshot = {tuple(row[key] for key in keys): row for row in rows if row["method"] == ZEROSHOT}
    for row in rows:
        reference = zeroshot.get(tuple(row[key] for key in keys))
        if reference is None or row["times_disturbed"] or reference["times_disturbed"]:
            continue
        if row["measured_on"] == reference["measured_on"]:
            row["time_vs_zeroshot"] = reference["images_per_s"] / row["images_per_s"]


def is_disturbed(results: pd.DataFrame) -> pd.Series[bool]:
    """Return of every row whether its times are marked."""
    return results["times_disturbed"].fillna("").astype(bool)


def marked(name: str, value: Any, text: str, disturbed: bool) -> str:
    """Mark the text of a value where it is a time, and something else ran on the machine."""
    return f"{text}{MARK}" if disturbed and name in CLOCKED and not is_unknown(value) else text


def timing_notes(
    run: Path, rows: Sequence[dict[str, Any]], headers: Sequence[Sequence[RecordHeader]], again: Times | None
) -> list[str]:
    """Say which times were measured again and where, which are marked, and of which it is not known.

    Args:
        run: the run folder.
        rows: the result of ``complete_times``.
        headers: of the files of each row.
        again: see ``read_times``.
    """
    sentences = []
    if again is not None:
        few = [f"{name} of {len(each.latencies_ms)}" for name, each in again.methods.items() if _is_short(each)]
        sentences.append(
            f"Times, memory and FLOPs were measured again by run-bench time, {again.site.started}, on "
            f"{again.site.hardware}, method by method and the same for all conditions"
            + (f"; a single image takes more than a second, so latency is of fewer: {', '.join(few)}." if few else ".")
        )
    cells = pluralise(len(rows), "cell")
    command = for_shell(["run-bench", "time", run])
    if disturbed := sum(bool(row["times_disturbed"]) for row in rows):
        sentences.append(
            f"Times of {disturbed} of {cells} are marked {MARK}: something else ran on the machine meanwhile. On a "
            f"machine that does nothing else, {command} measures them again, without answering the set again."
        )
    measured = set() if again is None else set(again.methods)
    unknown = sum(
        row["method"] not in measured and any(each.clocks is None for each in own)
        for row, own in zip(rows, headers, strict=True)
    )
    if unknown:
        sentences.append(
            f"Whether something else ran on the machine was not recorded for {unknown} of {cells}, whose times are "
            "shown as they are."
        )
    return sentences


def _fastest(headers: Sequence[Sequence[RecordHeader]]) -> dict[str, float]:
    """Return the shortest time of the reference on every kind of hardware."""
    fastest: dict[str, float] = {}
    for own in headers:
        for each in own:
            if each.clocks is not None:
                hardware = each.site.hardware
                fastest[hardware] = min(each.clocks.fastest_ms, fastest.get(hardware, float("inf")))
    return fastest


def _measured_again(measured: MethodTimes, again: Times) -> dict[str, Any]:
    milliseconds = np.array(measured.latencies_ms, dtype=np.float64)
    batch = float(np.median(measured.batch_ms)) if measured.batch_ms else _NAN
    return {
        **latencies(milliseconds),
        **({"latency_ms_p95": float(np.quantile(milliseconds, 0.95))} if _is_short(measured) else {}),
        "images_per_s": 1000 * measured.batch_size / batch,
        "peak_memory_mb": _NAN if measured.peak_memory_mb is None else measured.peak_memory_mb,
        "gflop_per_image": _NAN if measured.gflop is None else measured.gflop,
        "measured_on": again.site.hardware,
        "batch_size": str(measured.batch_size),
        "times_disturbed": disturbance(measured.clocks, again.fastest_ms),
    }


def _is_short(measured: MethodTimes) -> bool:
    """Return whether there are few single images because one of them takes more than a second."""
    count = len(measured.latencies_ms)
    return 0 < count < ENOUGH and float(np.median(measured.latencies_ms)) > SLOW_MS
