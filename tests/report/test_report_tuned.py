"""Rows under settings that are not the defaults say so; published numbers say what their authors tuned."""

from __future__ import annotations

from pathlib import Path

import pytest
from records_by_hand import read_plain, write_plain

import apm_tta
from apm_tta.harness.storage.manifest_file import read_manifest
from apm_tta.report.published import published_number
from apm_tta.report.render import latex
from apm_tta.report.results_table import results_table
from apm_tta.report.run_data import ReportData

OPTIONS = {"limit": 2, "corruptions": [], "devices": "cpu", "quiet": True}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> apm_tta.Run:
    settings = {
        "apm": {"iterations": 20, "hidden": [8, 4]},  # 20 is what few has
        "zeroshot": {"templates": "dataset"},
        "vte": {"views": 2, "preset": "published"},
    }
    methods = "zeroshot,apm,apm[learning_rate=0.001],vte,tda,tda[positive_alpha=1]"
    out = tmp_path_factory.mktemp("tuned") / "run"
    return apm_tta.run("demo", methods=methods, settings=settings, out=out, **OPTIONS)


def test_the_manifest_states_what_departs_from_the_defaults_and_from_the_rows_name(run: apm_tta.Run) -> None:
    """Neither the default, nor what a preset sets, nor what stands in brackets."""
    assert {row: {**own} for row, own in run.manifest.tuned.items()} == {
        "apm": {"hidden": [8, 4]},
        "apm[learning_rate=0.001]": {"hidden": [8, 4]},
        "vte": {"views": 2},
    }


def test_tables_and_captions_mark_tuned_rows(run: apm_tta.Run) -> None:
    assert list(run.results["tuned"].fillna("")) == ["", "hidden=[8,4]", "hidden=[8,4]", "views=2", "", ""]
    text = (run.folder / "results.md").read_text()
    assert "| tuned " in text
    assert "Tuned, not the defaults: apm with hidden=" in text
    assert "Tuned, not the defaults: apm with hidden=" in (run.folder / "report.html").read_text()


def test_a_run_by_its_defaults_says_nothing_of_it(tmp_path: Path) -> None:
    run = apm_tta.run("demo", methods="zeroshot", out=tmp_path / "run", **OPTIONS)
    assert run.manifest.tuned == {}
    assert "tuned" not in (run.folder / "run.yaml").read_text() + (run.folder / "results.md").read_text().lower()


def test_a_published_number_that_was_tuned_is_marked(run_folder: Path, data: ReportData) -> None:
    manifest = read_plain(run_folder)
    manifest["numbers"]["dataset"] |= {"name": "imagenet"}
    manifest["numbers"]["teacher"] |= {"name": "RN50:openai", "classifier": "text"}
    write_plain(run_folder, manifest)
    numbers = read_manifest(run_folder).numbers
    found = {name: published_number(numbers, name, "clean") for name in ("tda", "tpt")}
    assert {name: each.tuned for name, each in found.items() if each is not None} == {
        "tda": "views, alpha and beta of the positive cache have one value per data set, chosen on its test images",
        "tpt": "",
    }
    results = data.merged.assign(published_top1=61.35, published_differs="", published_tuned=found["tda"].tuned)  # type: ignore[union-attr]
    table = results_table(results)
    assert {row[table.headers.index("published %")] for row in table.rows} == {"61.4\N{DOUBLE DAGGER}"}
    assert "\N{DOUBLE DAGGER} apm is as tuned by its authors: views, alpha and beta" in table.note
    assert r"61.4\ddag{}" in latex(table, "", "t")
