"""Open run folders from Python: results per cell, answers per image, reports, comparisons."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa

from apm_tta.api.method import LoadedMethod
from apm_tta.columns import KEY
from apm_tta.data.sample import parse_condition
from apm_tta.devices import resolve_device
from apm_tta.errors import UserError
from apm_tta.harness.compute.rebuild import rebuild_method, rebuild_teacher
from apm_tta.harness.plan import Cell
from apm_tta.harness.request.limits import MOST_ISLANDS
from apm_tta.harness.request.suite import Suite
from apm_tta.harness.storage import merge as storage
from apm_tta.harness.storage.manifest import Manifest
from apm_tta.harness.storage.manifest_file import read_manifest
from apm_tta.harness.storage.records import cell_columns
from apm_tta.harness.storage.run_records import present_files, read_recorded
from apm_tta.method_rows import canonical_row, split_rows
from apm_tta.report import Report, write_report
from apm_tta.report import compare as comparison
from apm_tta.report.ablation import ablate
from apm_tta.report.aggregate import condition_name
from apm_tta.report.cell_answers import condition_files, read_condition
from apm_tta.report.run_data import ReportData, read_report_data
from apm_tta.system.files import not_a_path

_NULLABLE: Mapping[pa.DataType, Any] = {pa.int32(): pd.Int32Dtype()}
"""Classes: an image that could not be read has none, and must not count as wrong."""

_BATCH_SIZE: int = Suite.model_fields["batch_size"].default
"""Of a method of which nothing is recorded yet."""


class Run:
    """One run folder.

    What is read from it is read once; open it again to see what was computed since.

    Args:
        folder: of the run.
        partial: whether the complete cells of an incomplete run are shown.

    Raises:
        UserError: when ``folder`` is not a run folder.
    """

    def __init__(self, folder: str | Path, partial: bool = False) -> None:
        self.folder = to_path(folder)
        self.partial = partial
        self.manifest: Manifest = read_manifest(self.folder)
        self._written: Report | None = None

    @property
    def results(self) -> pd.DataFrame:
        """One row per cell, the columns of ``results.csv``; shares in percent.

        Raises:
            UserError: when the run is incomplete (unless ``partial``), or its records are damaged.
        """
        return self._data.results.copy()

    @property
    def unreadable(self) -> pd.DataFrame:
        """One row per image that could not be read: corruption, severity, id, kind, error."""
        return self._data.damaged.copy()

    @property
    def written(self) -> Report | None:
        """The report that was written last through this object; None where there is none."""
        return self._written

    @cached_property
    def _data(self) -> ReportData:
        return read_report_data(self.folder, self.partial)

    def answers(
        self,
        method: str | Sequence[str] | None = None,
        corruption: str | Sequence[str] | None = None,
        severity: int | Sequence[int] | None = None,
        seed: int | Sequence[int] | None = None,
    ) -> pd.DataFrame:
        """Read the records of some cells, one row per image.

        Args:
            method: one name or several, as a list or a comma-separated string; all unless given, as of the others.
            corruption: one name or several; ``clean`` is none.
            severity: 1 .. 5; 0 is clean.
            seed: of the run.

        Returns:
            The columns of ``records/**/*.parquet`` (``run-bench list columns``), in the order of the run's conditions,
            methods and seeds, each with its images in the order in which they were answered. Classes are nullable
            integers: an image that could not be read has an ``error`` and no ``prediction``.

        Raises:
            UserError: for a value that the run does not have, for cells without records, and for damaged records.

        Example:
            >>> import apm_tta
            >>> run = apm_tta.run("demo", methods=["zeroshot"], corruptions=["fog"], limit=20, quiet=True)
            >>> answers = run.answers(method="zeroshot", corruption="clean")
            >>> answers[["label", "prediction"]].notna().sum().tolist()
            [20, 20]
        """
        wanted = {
            "method": _wanted(_rows(method), list(self.manifest.numbers.methods), "method", self.folder),
            "corruption": _wanted(corruption, list(dict(self._conditions)), "corruption", self.folder),
            "severity": _wanted(severity, sorted({level for _, level in self._conditions}), "severity", self.folder),
            "seed": _wanted(seed, list(self.manifest.numbers.seeds), "seed", self.folder),
        }
        numbers = self.manifest.numbers
        fingerprint = numbers.fingerprint
        tables: list[pa.Table] = []
        for files in condition_files(self.folder, numbers).values():
            chosen = [file for file in files if _is_wanted(file.cell, wanted)]
            read_condition(self.folder, chosen, fingerprint)  # refuses what the report would refuse
            tables += [read_recorded(self.folder, file, fingerprint).table for file in chosen]
        if not tables:
            asked = ", ".join(f"{name} {values}" for name, values in wanted.items())
            raise UserError(f"{self.folder} has no answers for {asked}")
        frame = pa.concat_tables(tables).to_pandas(types_mapper=_NULLABLE.get)
        texts = [name for name in KEY if isinstance(frame[name].dtype, pd.CategoricalDtype)]
        frame[texts] = frame[texts].astype(str)
        return self._ordered(frame)

    def report(
        self,
        partial: bool | None = None,
        islands: int = 0,
        resolution: int | None = None,
        fine: Literal["field", "stride", "shift", "bilinear"] = "bilinear",
        *,
        allow_code: bool = False,
        long: bool = False,
    ) -> Report:
        """Write tables and page into the run folder, the same as ``run-bench report``.

        Args:
            partial: whether an incomplete run is shown too, marked as such; as the run was opened unless given.
            islands: images of the page under which the islands of their APM are drawn; they are fitted again.
            resolution: locations per side of the islands, a multiple of the APM's; None for its own.
            fine: way to features between the locations; see ``run-bench islands``.
            allow_code: whether a teacher ``module:...``, which is code, may be imported and run for these.
            long: whether islands may be drawn that are estimated to take more than ten minutes.

        Returns:
            What was written and where; a notebook shows its tables.

        Raises:
            UserError: when the run is incomplete (unless ``partial``), or the folder cannot be written.
        """
        if type(islands) is not int or not 0 <= islands <= MOST_ISLANDS:
            raise UserError(f"islands {islands!r} is not a whole number from 0 to {MOST_ISLANDS}", exit_code=2)
        shown_partial = self.partial if partial is None else partial
        self._written = write_report(
            self.folder, shown_partial, islands, resolution, fine, allow_code=allow_code, long=long
        )
        return self._written

    def ablation(self, row: str) -> pd.DataFrame:
        """Pair a row with its variants that have one other parameter, the same as ``run-bench report --ablation``.

        Args:
            row: of the run, such as ``apm``.

        Returns:
            The row, then one row per variant: parameter, value, mean top-1 over the conditions, difference with its
            interval and p, share of answers that changed, time.

        Raises:
            UserError: when the run is incomplete, or has no such row or variants.
        """
        if not isinstance(row, str):
            raise UserError(f"{row!r} is not the name of a row", exit_code=2)
        return ablate(self.folder, row).frame

    def load_method(
        self, name: str, seed: int | None = None, device: str = "auto", *, allow_code: bool = False
    ) -> LoadedMethod:
        """Load one of the run's methods as the run had it, to be called on images.

        Args:
            name: of a method of the run.
            seed: one of the run's seeds; the first unless given.
            device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
            allow_code: whether a teacher ``module:...``, which is code, may be imported and run.

        Returns:
            The method, with the run's teacher, classes, template, parameters, crop scale, precision and batch size: for
            the same images and ids it predicts bit for bit what the run recorded, on the same device and threads. The
            batch size is that of the first shard that the run has of it.

        Raises:
            UserError: for a method or a seed that the run does not have; when its teacher or its class list is not
                available here, or came from labelled images.
        """
        numbers = self.manifest.numbers
        chosen_seed = numbers.seeds[0] if seed is None else seed
        name = canonical_row(name) if isinstance(name, str) else name
        _check_known(name, list(numbers.methods), "method", self.folder)
        _check_known(chosen_seed, list(numbers.seeds), "seed", self.folder)
        teacher = rebuild_teacher(self.manifest, resolve_device(device), allow_code)
        method = rebuild_method(self.manifest, name, teacher, chosen_seed)
        return LoadedMethod(method, numbers.precision, self._batch_size(name, chosen_seed), numbers.dataset.reading)

    def _batch_size(self, method: str, seed: int) -> int:
        """Return the size of the batches in which the first shard of a method was answered."""
        numbers = self.manifest.numbers
        for file in present_files(self.folder, numbers):
            if (file.cell.method, file.cell.seed) == (method, seed):
                sizes = read_recorded(self.folder, file, numbers.fingerprint).header.batch_sizes
                return max(sizes, default=_BATCH_SIZE)
        return _BATCH_SIZE

    @property
    def _conditions(self) -> list[tuple[str, int]]:
        conditions = map(parse_condition, self.manifest.numbers.conditions)
        return [(condition.corruption, condition.severity) for condition in conditions]

    def _ordered(self, frame: pd.DataFrame) -> pd.DataFrame:
        numbers = self.manifest.numbers
        names = [condition_name(*pair) for pair in zip(frame["corruption"], frame["severity"], strict=True)]
        places = pd.DataFrame(
            {
                "condition": pd.Series(names).map(list(numbers.conditions).index),
                "method": frame["method"].map(list(numbers.methods).index),
                "seed": frame["seed"].map(list(numbers.seeds).index),
            }
        )
        order = places.sort_values(["condition", "method", "seed"], kind="stable").index
        return frame.loc[order].reset_index(drop=True)

    def __repr__(self) -> str:
        numbers = self.manifest.numbers
        return (
            f"<Run of {numbers.suite} in {self.folder}: {', '.join(numbers.methods)} on {numbers.dataset.name}, "
            f"{len(numbers.conditions)} conditions>"
        )


def open_run(folder: str | Path, partial: bool = False) -> Run:
    """Open an existing run folder.

    Args:
        folder: of the run.
        partial: whether the complete cells of an incomplete run are shown.

    Raises:
        UserError: when ``folder`` is not a run folder.
    """
    return Run(folder, partial)


def compare(run_a: Run | str | Path, run_b: Run | str | Path) -> pd.DataFrame:
    """Compare two runs image by image, the same as ``run-bench compare``.

    Args:
        run_a: a run, or its folder.
        run_b: likewise.

    Returns:
        One row per cell that both have: top-1 of both in percent, ``delta`` (B minus A) with its paired bootstrap
        interval, and McNemar's p, plain and by Holm's correction.

    Raises:
        UserError: when the runs are of other images, or have no cell in common.
    """
    return comparison.compare(_folder(run_a), _folder(run_b))


def merge(parts: Run | str | Path | Sequence[Run | str | Path], out: str | Path) -> Run:
    """Merge the parts of one run into one run folder, the same as ``run-bench merge``.

    Args:
        parts: runs that were computed with ``shard_range``, or their folders; one or several.
        out: folder of the whole run.

    Raises:
        UserError: when the parts are not of one run, or a record is damaged.
    """
    listed: Any = parts if isinstance(parts, Iterable) and not isinstance(parts, str) else [parts]
    folders = [_folder(part) for part in listed]
    if not folders:
        raise UserError("there is no part to merge", exit_code=2)
    storage.merge(_folder(out), folders)
    return Run(_folder(out))


def to_path(value: Any) -> Path:
    """Return a path.

    Raises:
        UserError: for what cannot be one. Exit code 2.
    """
    if not isinstance(value, str | PathLike):
        raise UserError(f"{value!r} is not a path", exit_code=2)
    if reason := not_a_path(os.fspath(value)):
        raise UserError(reason, exit_code=2)
    return Path(value)


def _folder(run: Run | str | Path) -> Path:
    return run.folder if isinstance(run, Run) else to_path(run)


def _wanted(value: Any, known: list[Any], kind: str, folder: Path) -> list[Any]:
    """Return the values asked for, each checked to be one of the run's."""
    if value is None:
        return known
    if isinstance(value, str):
        values: list[Any] = [part.strip() for part in value.split(",")]
    else:
        values = list(value) if isinstance(value, Iterable) else [value]
    for each in values:
        _check_known(each, known, kind, folder)
    return values


def _rows(method: Any) -> Any:
    """Return names of rows as a run spells them; what is no name is left as it is."""
    names = split_rows(method) if isinstance(method, str) else method
    if not isinstance(names, list | tuple):
        return names
    return [canonical_row(each) if isinstance(each, str) else each for each in names]


def _check_known(value: Any, known: list[Any], kind: str, folder: Path) -> None:
    if not isinstance(value, Hashable) or value not in known:
        raise UserError(f"{folder} has no {kind} {value!r}; it has {', '.join(map(str, known))}", exit_code=2)


def _is_wanted(cell: Cell, wanted: Mapping[str, list[Any]]) -> bool:
    columns = cell_columns(cell)
    return all(columns[name] in values for name, values in wanted.items())
