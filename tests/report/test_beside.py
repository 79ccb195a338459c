"""A row whose prompts are not those of zeroshot names what it is to be compared with."""

from __future__ import annotations

from pathlib import Path

import pytest

from apm_tta.harness.request.run_request import resolve_request
from apm_tta.harness.run import run
from apm_tta.report.run_data import ReportData, read_report_data
from apm_tta.report.write import write_report

FEW = {"views": 2}
SETTINGS = {
    "vte": {"preset": "published", **FEW},
    "zero": {"preset": "published", **FEW},
    "mta": {"templates": "simple7", **FEW},
    "tpt": {"context": "an image of a", **FEW},
    "tps": FEW,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    overrides = {
        "methods": ["zeroshot", "ensemble", *SETTINGS],
        "limit": 3,
        "corruptions": [],
        "settings": SETTINGS,
    }
    return run(resolve_request("demo", overrides, out=tmp_path_factory.mktemp("run") / "run", quiet=True))


@pytest.fixture(scope="module")
def data(folder: Path) -> ReportData:
    return read_report_data(folder)


def test_each_row_names_the_row_with_its_prompts(data: ReportData) -> None:
    beside = dict(zip(data.results["method"], data.results["beside"], strict=True))
    teacher = data.disagreements.set_index("method").loc["mta"]
    own = beside.pop("mta")
    assert beside == {
        "zeroshot": "",
        "ensemble": "",
        "vte": "ensemble",
        "zero": "",  # its sentence is the data set's own
        "tpt": "no row has its prompts",
        "tps": "",
    }
    assert own.startswith("its teacher alone, ")
    shown = float(own.removeprefix("its teacher alone, ").removesuffix(" %"))
    right = teacher["teacher_right"] + teacher["answers"] - teacher["different"]
    assert 0 <= shown <= 100 * right / teacher["answers"]


def test_the_table_shows_it_and_says_what_it_means(folder: Path) -> None:
    text = write_report(folder).text
    assert "| beside " in text
    assert "Beside: these rows have other prompts than zeroshot" in text
    assert "vte is as published (mariodoebler/test-time-adaptation" in text


def test_the_manifest_states_prompts_that_are_not_the_templates(data: ReportData) -> None:
    methods = data.manifest.numbers.methods
    assert methods["tpt"].prompts == ("an image of a {}.",)
    assert [name for name, own in methods.items() if own.prompts] == ["tpt"]
    assert methods["vte"].others["preset"] == "published"
