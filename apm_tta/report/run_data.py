"""The numbers behind the tables and figures of one run, as data frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from apm_tta.data.sample import CLEAN, FOREIGN
from apm_tta.errors import UserError
from apm_tta.harness.storage.division import to_complete
from apm_tta.harness.storage.manifest import Manifest, Numbers
from apm_tta.harness.storage.manifest_file import read_manifest
from apm_tta.harness.storage.record_header import RecordHeader
from apm_tta.harness.storage.records import cell_columns
from apm_tta.harness.storage.run_records import RecordFile, rows_of_run
from apm_tta.harness.storage.times import read_times
from apm_tta.report.aggregate import condition_name, merge_seeds
from apm_tta.report.cell_answers import CELL, Answers, condition_files, positions, read_condition, read_foreign
from apm_tta.report.cells import RESULT_NAMES, cell_rows, foreign_columns
from apm_tta.report.remarks import Remarks
from apm_tta.report.sampled_images import MOST, SampledImage, sample_images
from apm_tta.report.sites import Sites, sites_of
from apm_tta.report.statistics import reliability
from apm_tta.report.timings import complete_times, timing_notes
from apm_tta.report.trust import trust_means
from apm_tta.wording import first_few, pluralise

_CALIBRATION_COLUMNS = [*CELL, "bin_low", "bin_high", "count", "confidence", "accuracy"]


@dataclass(frozen=True)
class ReportData:
    """The report data of one run; shares are in percent, and what was not measured is NaN.

    Attributes:
        run: the run folder.
        manifest: the content of ``run.yaml``.
        results: one row per cell, ``RESULT_NAMES``, in the order of the manifest's conditions, methods and seeds.
        iterations: accuracy and agreement after 0 .. T iterations, for every method that iterates, by group of
            conditions (``clean``, ``domains``, ``severity s``): group, method, iteration, top1, agreement; over all
            seeds.
        fits: for the same groups and methods: first_loss, last_loss, last_cosine.
        calibration: bins of confidence by cell: the cell, bin_low, bin_high, count, confidence, accuracy; in 0 .. 1.
        disagreements: by method: answers, different (from its teacher's), and method_right and teacher_right among the
            different ones.
        damaged: images that could not be read: corruption, severity, id, kind, error.
        samples: images with every method's answers with the first seed, by condition: at least one of each, and of all
            together no more than ``sampled_images.MOST`` unless there are more conditions.
        missing: descriptions of what an incomplete run lacks, cell by cell; empty for a complete one.
        sites: where the cells of ``results`` were computed.
        remarks: sentences on what was remarked while their images were read and answered.
        timing_notes: sentences on when and where the times were measured; see ``timings.timing_notes``.
    """

    run: Path
    manifest: Manifest
    results: pd.DataFrame
    iterations: pd.DataFrame
    fits: pd.DataFrame
    calibration: pd.DataFrame
    disagreements: pd.DataFrame
    damaged: pd.DataFrame
    samples: dict[str, list[SampledImage]]
    missing: list[str]
    sites: Sites
    remarks: list[str]
    timing_notes: list[str]

    @cached_property
    def merged(self) -> pd.DataFrame:
        """The results with all seeds of a cell in one row; see ``merge_seeds``. Not to be changed."""
        return merge_seeds(self.results)

    @cached_property
    def trust(self) -> pd.DataFrame:
        """What tells by method whether accuracy is paid with trust; see ``trust_means``. Not to be changed."""
        return trust_means(self.results, len(self.manifest.numbers.conditions))

    @property
    def seeds(self) -> list[int]:
        """Return the seeds of the run."""
        return list(self.manifest.numbers.seeds)

    @property
    def methods(self) -> list[str]:
        """Return the names of the methods in the order of the table."""
        return list(self.manifest.numbers.methods)


def read_report_data(run: Path, partial: bool = False) -> ReportData:
    """Read a run's records, condition by condition, and compute the numbers of its report.

    Args:
        run: the run folder.
        partial: whether the complete cells are reported where others are missing or incomplete.

    Raises:
        UserError: when ``run`` is not a run folder, or lacks cells (unless ``partial``); when records are damaged, or
            are not those that the manifest names.
    """
    manifest = read_manifest(run)
    numbers = manifest.numbers
    times = read_times(run, numbers)
    gathered = _Gathered(run, manifest)
    for condition, files in condition_files(run, numbers).items():
        gathered.add(condition, files)
    missing = gathered.all_missing()
    if missing and not partial:
        conditions = len(numbers.conditions) + (numbers.foreign is not None)
        cells = conditions * len(numbers.methods) * len(numbers.seeds)
        raise UserError(
            f"{run} is incomplete: it lacks {len(missing)} of {pluralise(cells, 'cell')} ({first_few(missing, '; ')})",
            advice=f"{to_complete(run, manifest.division)}, or use report --partial to show the complete cells",
        )
    rows, row_headers = gathered.rows, gathered.row_headers
    if not rows:
        raise UserError(f"{run} has no complete cell to show", advice=to_complete(run, manifest.division))
    complete_times(rows, row_headers, times)
    results = _ordered(pd.DataFrame(rows, columns=RESULT_NAMES), numbers)
    shown = [condition_name(*pair) for pair in zip(results["corruption"], results["severity"], strict=True)]
    damaged = pd.DataFrame(gathered.damaged, columns=["corruption", "severity", "id", "kind", "error"])
    return ReportData(
        run=run,
        manifest=manifest,
        results=results,
        iterations=gathered.groups.iterations(numbers),
        fits=gathered.groups.fits(numbers),
        calibration=_ordered(pd.DataFrame(gathered.calibration, columns=_CALIBRATION_COLUMNS), numbers),
        disagreements=gathered.groups.disagreements(numbers),
        damaged=damaged.drop_duplicates(ignore_index=True),
        samples=gathered.samples,
        missing=missing,
        sites=sites_of(gathered.headers),
        remarks=gathered.remarks.sentences({name: numbers.dataset.images_under(name) for name in shown}),
        timing_notes=timing_notes(run, rows, row_headers, times),
    )


class _Gathered:
    """What is gathered condition by condition, so that the answers of none stay in memory.

    Args:
        run: the run folder.
        manifest: manifest of the run.

    Raises:
        UserError: see ``read_report_data``.
    """

    def __init__(self, run: Path, manifest: Manifest) -> None:
        self._run, self._manifest, numbers = run, manifest, manifest.numbers
        self.rows: list[dict[str, Any]] = []
        self.row_headers: list[tuple[RecordHeader, ...]] = []
        self.headers: list[tuple[str, RecordHeader]] = []
        self.calibration: list[dict[str, Any]] = []
        self.damaged: list[dict[str, Any]] = []
        self.samples: dict[str, list[SampledImage]] = {}
        self.groups, self.remarks = _Groups(), Remarks()
        self._missing: list[str] = []
        self._expected_rows = {_cell_key(cell_columns(cell)): rows for cell, rows in rows_of_run(numbers).items()}
        self._foreign = read_foreign(run, numbers)
        self._seen = {(str(FOREIGN), *pair) for pair in self._foreign}
        for (method, _), cell in self._foreign.items():
            self._add_damaged(cell)
            self.headers += [(method, header) for header in cell.headers]

    def add(self, condition: str, files: Sequence[RecordFile]) -> None:
        """Read the cells of a condition, and compute their rows.

        Raises:
            UserError: see ``read_report_data``.
        """
        numbers = self._manifest.numbers
        cells = read_condition(self._run, files, numbers.fingerprint)
        self._missing += [
            f"{lacking} of {self._wanted(cell)} images of {_cell_name(cell.cell)}"
            for cell in cells
            if (lacking := self._lacking(cell)) > 0
        ]
        self._seen |= {_cell_key(cell.cell) for cell in cells}
        complete = [cell for cell in cells if self._lacking(cell) <= 0]
        _refuse_other_images(self._run, complete)
        self.samples[condition] = _samples(cells, numbers)
        rows = cell_rows(complete, self._manifest)
        self.rows += rows
        self.row_headers += [cell.headers for cell in complete]
        for cell, row in zip(complete, rows, strict=True):
            method, seed = cell.cell["method"], cell.cell["seed"]
            if condition == str(CLEAN) and (method, seed) in self._foreign:
                row |= foreign_columns(cell, self._foreign[method, seed], self._manifest)
            self._add_damaged(cell)
            if not _counts_votes(numbers, method):
                self.calibration += [{**cell.cell, **row} for row in reliability(cell.confidence, cell.right)]
            self.groups.add(cell)
            self.remarks.add(cell)
            self.headers += [(method, header) for header in cell.headers]

    def all_missing(self) -> list[str]:
        """Describe what an incomplete run lacks; to be called after the last condition."""
        numbers = self._manifest.numbers
        return self._missing + [
            f"all of {condition}, {method}, seed {seed}"
            for condition in (*numbers.conditions, *([] if numbers.foreign is None else [str(FOREIGN)]))
            for method in numbers.methods
            for seed in numbers.seeds
            if (condition, method, seed) not in self._seen
        ]

    def _wanted(self, cell: Answers) -> int:
        return self._expected_rows[_cell_key(cell.cell)]

    def _lacking(self, cell: Answers) -> int:
        return self._wanted(cell) - len(cell) - len(cell.damaged)

    def _add_damaged(self, cell: Answers) -> None:
        condition = {"corruption": cell.cell["corruption"], "severity": cell.cell["severity"]}
        self.damaged += [{**condition, **row} for row in cell.damaged]


def _samples(cells: Sequence[Answers], numbers: Numbers) -> list[SampledImage]:
    """Choose the images of a condition that are shown, with the answers of the methods with the first seed."""
    order = list(numbers.methods)
    own = [cell for cell in cells if len(cell) and cell.cell["seed"] == numbers.seeds[0]]
    own.sort(key=lambda cell: order.index(cell.cell["method"]))
    return sample_images(own, max(1, MOST // len(numbers.conditions)))


class _Groups:
    """Sums over the conditions of a group, so that no condition has to stay in memory."""

    def __init__(self) -> None:
        self._right: dict[tuple[str, int], np.ndarray[Any, Any]] = {}
        self._same: dict[tuple[str, int], np.ndarray[Any, Any]] = {}
        self._images: Counter[tuple[str, int]] = Counter()
        self._fits: dict[tuple[str, int], list[dict[str, float]]] = {}
        self._differing: dict[str, Counter[str]] = {}

    def add(self, cell: Answers) -> None:
        method, severity = cell.cell["method"], cell.cell["severity"]
        key = (method, severity)
        different = cell.prediction != cell.teacher_prediction
        counts = self._differing.setdefault(method, Counter())
        counts["answers"] += len(cell)
        counts["different"] += int(different.sum())
        counts["method_right"] += int((different & cell.right).sum())
        counts["teacher_right"] += int((different & cell.hits(cell.teacher_prediction)).sum())
        if cell.iterations is None:
            return
        right = cell.hits(cell.iterations).sum(0)
        same = (cell.iterations == cell.teacher_prediction[:, None]).sum(0)
        self._right[key] = self._right.get(key, 0) + right
        self._same[key] = self._same.get(key, 0) + same
        self._images[key] += len(cell)
        self._fits.setdefault(key, []).append(cell.fit)

    def iterations(self, numbers: Numbers) -> pd.DataFrame:
        rows = [
            {
                "group": _group_name(severity, numbers),
                "method": method,
                "iteration": iteration,
                "top1": 100 * self._right[method, severity][iteration] / self._images[method, severity],
                "agreement": 100 * self._same[method, severity][iteration] / self._images[method, severity],
            }
            for method, severity in self._keys(numbers)
            for iteration in range(len(self._right[method, severity]))
        ]
        return pd.DataFrame(rows, columns=["group", "method", "iteration", "top1", "agreement"])

    def fits(self, numbers: Numbers) -> pd.DataFrame:
        names = ["first_loss", "last_loss", "last_cosine"]
        rows = [
            {
                "group": _group_name(severity, numbers),
                "method": method,
                **{name: float(np.mean([fit[name] for fit in self._fits[method, severity]])) for name in names},
            }
            for method, severity in self._keys(numbers)
        ]
        return pd.DataFrame(rows, columns=["group", "method", *names])

    def disagreements(self, numbers: Numbers) -> pd.DataFrame:
        names = ["answers", "different", "method_right", "teacher_right"]
        rows = [
            {"method": method, **{name: self._differing[method][name] for name in names}}
            for method in numbers.methods
            if method in self._differing
        ]
        return pd.DataFrame(rows, columns=["method", *names])

    def _keys(self, numbers: Numbers) -> list[tuple[str, int]]:
        order = list(numbers.methods)
        return sorted(self._right, key=lambda key: (order.index(key[0]), key[1]))


def _counts_votes(numbers: Numbers, method: str) -> bool:
    """Return whether the method's confidences are shares of votes: not probabilities, so they have no calibration."""
    return numbers.methods[method].votes


def _group_name(severity: int, numbers: Numbers) -> str:
    return f"severity {severity}" if severity else "clean" if str(CLEAN) in numbers.conditions else "domains"


def _cell_key(cell: dict[str, Any]) -> tuple[str, str, int]:
    return condition_name(cell["corruption"], cell["severity"]), cell["method"], cell["seed"]


def _cell_name(cell: dict[str, Any]) -> str:
    condition, method, seed = _cell_key(cell)
    return f"{condition}, {method}, seed {seed}"


def _refuse_other_images(run: Path, answers: list[Answers]) -> None:
    """Refuse cells of one condition with different images or labels: they are compared image by image."""
    for cell in answers[1:]:
        first = answers[0]
        alike = cell.images is first.images and cell.further is None and first.further is None
        if alike and (cell.label == first.label).all():
            continue
        pair = f"{run}: {_cell_name(cell.cell)} and {_cell_name(first.cell)}"
        unshared = [
            *cell.images.filter(pa.array(positions(cell.images, first.images) < 0)).to_pylist(),
            *first.images.filter(pa.array(positions(first.images, cell.images) < 0)).to_pylist(),
        ]
        if unshared:
            raise UserError(f"{pair} are of different images, such as {min(unshared)}")
        if (image := find_differing_label(cell, first)) is not None:
            raise UserError(f"{pair} have different labels for image {image}")


def find_differing_label(one: Answers, other: Answers) -> str | None:
    """Return the first image for which two cells have different labels; None where there is none."""
    places = positions(one.ids, other.ids)
    differing = (places >= 0) & (one.label != other.label[places])
    if differing.any():
        return str(one.ids[int(differing.argmax())].as_py())
    further = [{} if each.further is None else each.further.by_id(each.ids) for each in (one, other)]
    shared = further[0].keys() & further[1].keys()
    return next((str(image) for image in sorted(shared) if further[0][image] != further[1][image]), None)


def _ordered(rows: pd.DataFrame, numbers: Numbers) -> pd.DataFrame:
    """Sort rows into the order of the manifest's conditions, methods and seeds."""
    conditions, methods = list(numbers.conditions), list(numbers.methods)
    names = [condition_name(*pair) for pair in zip(rows["corruption"], rows["severity"], strict=True)]
    order = np.lexsort(
        (
            [numbers.seeds.index(seed) for seed in rows["seed"]],
            [methods.index(name) for name in rows["method"]],
            [conditions.index(name) for name in names],
        )
    )
    return rows.iloc[order].reset_index(drop=True)
