"""Every published row says which of our runs compares with it, and that run is what the row is of."""

from __future__ import annotations

import csv
import runpy
import shlex
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from apm_tta.api.run import resolve
from apm_tta.commands.suites import SuiteCommand
from apm_tta.configuration import read_yaml
from apm_tta.data.task import Task
from apm_tta.errors import UserError
from apm_tta.harness.request.run_request import RunRequest
from apm_tta.method_rows import canonical_row, method_of
from apm_tta.methods.apm import APMParameters
from apm_tta.methods.data_defaults import resolve_defaults
from apm_tta.report.published import published_table
from apm_tta.report.published_rows import (
    TABLES,
    PublishedRow,
    conditions,
    published_rows,
    read_rows,
    sentences,
    sources,
)
from apm_tta.report.published_runs import NONE, run_of
from apm_tta.resources import PUBLISHED
from apm_tta.teachers import parse_teacher_name

ROOT = Path(__file__).resolve().parents[2]
ROWS = published_rows()


@cache
def commands(row: PublishedRow) -> list[list[str]]:
    said = run_of(row)
    return [] if said.startswith(NONE) else [shlex.split(each) for each in said.split("; ")]


@cache
def request_of(suite: str, words: tuple[str, ...]) -> RunRequest:
    with SuiteCommand(suite).make_context(suite, list(words)) as context:
        given: dict[str, Any] = {**context.params}
    for name in ("dry_run", "json"):
        given.pop(name)
    return resolve(suite, given)


def values_of(request: RunRequest, row: str) -> dict[str, Any]:
    """Return the parameters of a row as it runs on the request's data set."""
    card, parameters = request.card, request.parameters[row]
    task = Task(("a", "b"), card.template, card.family, (0.08, 1.0), card.name)
    fit = asdict(parameters.fit()) if isinstance(parameters, APMParameters) else {}
    return {**asdict(resolve_defaults(parameters, task)), **fit}


def test_the_committed_tables_say_what_the_code_says() -> None:
    """Run ``python scripts/make_published_runs.py`` if this fails."""
    script = ROOT / "scripts" / "make_published_runs.py"
    if not script.is_file():
        pytest.skip("scripts/ is part of a checkout and of the source distribution")
    table = runpy.run_path(str(script))["table"]
    for name in TABLES:
        assert table(name) == (PUBLISHED / name).read_text(encoding="utf-8")
        with (PUBLISHED / name).open(newline="", encoding="utf-8") as file:
            assert all(line["run"] for line in csv.DictReader(file))


def test_every_command_runs_the_rows_teacher_method_and_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is resolved of it, before weights or images are there, is what the row is of."""
    monkeypatch.chdir(ROOT)
    seen = 0
    for row in ROWS:
        for dataset, (program, suite, *words) in zip(row.datasets, commands(row), strict=False):
            assert program == "run-bench"
            if suite == "verify":
                assert words == [row.teacher, dataset]
                continue
            place = words.index("--teacher")
            assert parse_teacher_name(words[place + 1]).name == row.teacher
            request = request_of(suite, (*words[:place], *words[place + 2 :]))  # one for all teachers
            assert request.card.name == dataset
            assert request.conditions == conditions(request.card, row.protocol)
            assert request.suite.subset == row.protocol.subset
            if row.ours.row != "zeroshot":  # whose answers no stream changes
                assert (request.suite.setting, request.suite.seeds) == (
                    row.protocol.setting,
                    row.protocol.seeds or (0,),
                )
            assert request.suite.limit == 0
            assert request.suite.methods == (canonical_row(row.ours.row),)
            assert_protocol(request, row)
            seen += 1
    assert seen > 195


def assert_protocol(request: RunRequest, row: PublishedRow) -> None:
    """Check that the request's parameters are those of ``protocols.yaml``, but for what authors tuned for each set."""
    (name,) = request.suite.methods
    values, protocol = values_of(request, name), read_yaml(PUBLISHED / "protocols.yaml").get(method_of(name), {})
    expected = dict(protocol.get("parameters", {}))
    if row.protocol.templates is not None and "templates" in expected:
        del expected["templates"]
        assert sentences(values["templates"]) == sentences(row.protocol.templates)
    for parameter, accepted in expected.items():
        assert parameter in values
        if "tuned" not in protocol or not parameter.startswith("positive_"):
            assert values[parameter] in (accepted if isinstance(accepted, list) else [accepted]), (row, parameter)


def test_rows_without_a_run_say_why() -> None:
    reasons = {run_of(row) for row in ROWS if not commands(row)}
    assert all(len(reason) > len(NONE) + 10 for reason in reasons)
    named = {row.method for row in ROWS if row.ours.none}
    assert named == {"coop", "cocoop", "difftpt", "otpt"}


def test_a_table_of_ours_shows_no_number_of_other_images_as_the_same() -> None:
    """What ``published_number`` finds is of clean images."""
    table = published_table()
    assert not set(table["dataset"]) & {"imagenet-c", "cifar100-c", "cifar10-c"}
    assert {"fgvc_aircraft", "oxford_pets", "stanford_cars", "imagenet-v2-matched-frequency"} <= set(table["dataset"])


def test_the_tables_hold_the_shared_rows(shared: Path) -> None:
    """As they were handed on: source, teacher, method, set, metric and value."""
    own = {(row.source, row.published_teacher, row.method, row.published_set, row.metric, row.value) for row in ROWS}
    for name in ("tta_published.csv", "more.csv"):
        with (shared / "published" / name).open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
        assert lines
        for line in lines:
            assert (*(line[key] for key in ("source", "teacher", "method", "dataset", "metric", "value")),) in own


def test_every_source_and_name_of_the_protocols_occurs_in_a_table() -> None:
    """A misspelt one would never be found."""
    assert set(sources().sources) <= {row.source for row in ROWS}
    assert set(sources().teachers) <= {row.published_teacher for row in ROWS}
    assert set(sources().methods) <= {row.method for row in ROWS}
    assert set(sources().sets) <= {row.published_set for row in ROWS}
    for source, by_set in sources().sources.items():
        names = {name for row in ROWS if row.source == source for name in (row.published_set, *row.datasets)}
        assert set(by_set) - {"all"} <= names, source


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no row"),
        ("teacher,dataset\nt,d\n", "no column value"),
        ("dataset,value\nd,5\n", "no column teacher"),
        ("teacher,dataset,value\nt,d,much\n", "line 2: 'much' is not a percentage"),
        ("teacher,dataset,value\nt,d,101\n", "line 2: '101' is not a percentage"),
        ("teacher,dataset,value,images\nt,d,5,few\n", "line 2: images"),
        ("teacher,dataset,value,severity\nt,d,5,9\n", "line 2: severity"),
    ],
)
def test_what_is_no_table_is_refused(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "published.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=said) as caught:
        read_rows(file)
    assert caught.value.exit_code == 2


def test_digits_as_printed_tell_the_rounding(tmp_path: Path) -> None:
    file = tmp_path / "published.csv"
    file.write_text("teacher,dataset,top5\nt,d,63.0\nt,d,63\nt,d,63.00\n", encoding="utf-8")
    rows = read_rows(file)
    assert [row.rounding for row in rows] == pytest.approx([0.05, 0.5, 0.005])
    assert {row.metric for row in rows} == {"top5"}
