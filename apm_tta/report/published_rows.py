"""The rows of ``results/published/``: numbers from papers and benchmarks, with what each is of."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from apm_tta.configuration import Configuration, one_line, read_configuration
from apm_tta.data.cards import DatasetCard
from apm_tta.data.sample import CLEAN, Condition
from apm_tta.errors import UserError
from apm_tta.harness.request.suite import load_suite
from apm_tta.resources import PUBLISHED, SUITES, yaml_names
from apm_tta.teachers.templates import read_templates

TABLES = ("tta_published.csv", "zero_shot_clip_benchmark.csv")
TEMPLATES = PUBLISHED / "templates"
_BENCHMARK = "open_clip's zero-shot benchmark"
_Count = Annotated[int, Field(gt=0)]


class Protocol(Configuration):
    """What a published number is of, as far as it is not what our runs do unless told otherwise.

    Attributes:
        images: number of images under one condition.
        classes: number of classes.
        split: which part of the set that is, in words.
        other_classes: how its classes are named, in words, where that is not as the card has them.
        names: ``underscored`` where spaces in class names are underscores.
        templates: name of templates, or of a file in ``TEMPLATES``; None for the method's own.
        severity: of the corruptions over which the number is the mean; None for clean images.
        subset: name of a list of images in ``apm_tta.data.named_subsets``; None for all images.
        setting: order of the stream.
        seeds: seeds over which the number is the mean.
    """

    images: _Count | None = None
    classes: _Count | None = None
    split: str = ""
    other_classes: str = ""
    names: Literal["card", "underscored"] = "card"
    templates: str | None = None
    severity: Annotated[int, Field(ge=1, le=5)] | None = None
    subset: str | None = None
    setting: str = "iid"
    seeds: tuple[int, ...] = ()


class Ours(Configuration):
    """What a published method is here.

    Attributes:
        row: the row of a run; empty where there is none.
        none: why there is none.
    """

    row: str = ""
    none: str = ""


class Sources(Configuration):
    """The content of ``sources.yaml``; see the comments there."""

    teachers: dict[str, str]
    sets: dict[str, tuple[str, ...]]
    methods: dict[str, Ours]
    sources: dict[str, dict[str, dict[str, Any]]]


@dataclass(frozen=True)
class PublishedRow:
    """One published number.

    Attributes:
        source: the paper or table that it comes from.
        published_teacher: name of the teacher there.
        method: name of the method there.
        published_set: name of the data set there.
        metric: ``top1``, ``top5``, ``error`` or ``ece``.
        value: in percent, as printed.
        protocol: what it is of.
    """

    source: str
    published_teacher: str
    method: str
    published_set: str
    metric: str
    value: str
    protocol: Protocol

    @property
    def teacher(self) -> str:
        """Our name of the teacher."""
        return sources().teachers.get(self.published_teacher, self.published_teacher)

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names of our cards; several where the number is the mean over sets."""
        return sources().sets.get(self.published_set, (self.published_set,))

    @property
    def ours(self) -> Ours:
        """What the method is here."""
        return sources().methods.get(self.method, Ours(row=self.method))

    @property
    def rounding(self) -> float:
        """Half a unit of the last printed digit, in percentage points."""
        return 0.5 * 0.1 ** len(self.value.partition(".")[2])


@cache
def sources() -> Sources:
    """Read ``sources.yaml``."""
    return read_configuration(PUBLISHED / "sources.yaml", Sources)


@cache
def published_rows() -> tuple[PublishedRow, ...]:
    """Return every row of the package's tables."""
    return tuple(row for name in TABLES for row in read_rows(PUBLISHED / name))


def read_rows(path: Path) -> list[PublishedRow]:
    """Read a table of published numbers.

    Its columns are ``teacher``, ``dataset`` and ``value``, or the name of a metric in place of the latter; where they
    are there, ``source``, ``method``, ``metric``, and fields of ``Protocol``. Others are ignored.

    Raises:
        UserError: when it cannot be read, lacks one of the columns, or has a value that is no percentage. Exit code 2.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"published numbers {path} cannot be read: {error}", exit_code=2) from None
    if not lines:
        raise UserError(f"published numbers {path} has no row", exit_code=2)
    columns = {name for name in lines[0] if name}
    value = next((name for name in ("value", "top1", "top5", "error") if name in columns), "value")
    if missing := sorted({"teacher", "dataset", value} - columns):
        raise UserError(f"published numbers {path} has no column {', '.join(missing)}", exit_code=2)
    return [_row(path, number, value, line) for number, line in enumerate(lines, 2)]


def conditions(card: DatasetCard, protocol: Protocol) -> tuple[Condition, ...]:
    """Return the conditions that a number of this set is the mean over: the corruptions of the set's own suite."""
    if protocol.severity is None:
        return (CLEAN,)
    names = load_suite(card.name).corruptions if card.stored_corruptions and card.name in yaml_names(SUITES) else ()
    return tuple(Condition(name, protocol.severity) for name in names)


def sentences(name: str, own: str = "{}") -> tuple[str, ...]:
    """Return templates by name: a file in ``TEMPLATES``, or what ``read_templates`` knows.

    Args:
        name: of the templates.
        own: the data set's, which ``dataset`` stands for.

    Raises:
        UserError: when nothing has that name. Exit code 2.
    """
    file = TEMPLATES / name
    return read_templates(str(file) if file.is_file() else name, own)


def _row(path: Path, number: int, column: str, line: Mapping[str, str | None]) -> PublishedRow:
    given = {name: (text or "").strip() for name, text in line.items() if name}
    text = given[column]
    try:
        percent = float(text)
    except ValueError:
        percent = -1.0
    if not 0 <= percent <= 100:
        raise UserError(f"{path}, line {number}: {text!r} is not a percentage from 0 to 100, such as 66.73", 2)
    source = given.get("source") or (_BENCHMARK if path == PUBLISHED / TABLES[1] else path.name)
    names = (given["dataset"], *sources().sets.get(given["dataset"], ()))
    known = sources().sources.get(source, {})
    fields = {**known.get("all", {}), **{k: v for name in names for k, v in known.get(name, {}).items()}}
    fields |= {name: given[name] for name in Protocol.model_fields if given.get(name) and name != "seeds"}
    try:
        protocol = Protocol.model_validate(fields)
    except ValidationError as error:
        raise UserError(f"{path}, line {number}: {one_line(error)}", exit_code=2) from None
    method = given.get("method") or ("ensemble" if path == PUBLISHED / TABLES[1] else "zeroshot")
    metric = given.get("metric") or (column if column != "value" else "top1")
    return PublishedRow(source, given["teacher"], method, given["dataset"], metric, text, protocol)
