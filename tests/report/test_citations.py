"""``run-bench cite`` prints exactly what a run used, and everything that can be used has an entry."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import bibtexparser
import pytest
import yaml
from records_by_hand import read_plain, write_plain

from apm_tta.cli import main
from apm_tta.data.cards import card_names, load_card
from apm_tta.methods import METHODS, Batch, Method, Predictions, register
from apm_tta.report.citations import MADE, of_dataset, of_method, of_teacher, read_entries
from apm_tta.resources import SUITES
from apm_tta.teachers.embedded import FOLDERS

PACKAGE = Path(load_card.__code__.co_filename).parents[1]
ROOT = PACKAGE.parent
FILES = ["apm_tta/papers.bib", "apm_tta/methods/papers.bib", "apm_tta/teachers/papers.bib", "datasets/papers.bib"]
ARXIV = re.compile(r"arXiv (\d{4}\.\d{4,5})")


def parsed(text: str) -> dict[str, dict[str, str]]:
    """Return the entries of BibTeX by their keys, as a parser reads them."""
    library = bibtexparser.parse_string(text)
    assert not library.failed_blocks
    return {entry.key: {field.key: field.value for field in entry.fields} for entry in library.entries}


@pytest.mark.parametrize("name", METHODS.names())
def test_every_method_has_one_entry_that_lies_here(name: str) -> None:
    (entry,) = of_method(name)
    assert entry in read_entries(PACKAGE / "methods" / "papers.bib")


def test_every_data_set_has_an_entry_with_what_its_card_states() -> None:
    without = [name for name in card_names() if not of_dataset(name)]
    assert without == ["folder"], "which may hold anything"
    for name in {*card_names()} - {"folder"}:
        citation, entries = load_card(name).citation, of_dataset(name)
        found = {entry.fields["eprint"] for entry in entries if "eprint" in entry.fields}
        assert found == set(ARXIV.findall(citation)), name
        for entry in entries:
            assert re.search(rf"\b{entry.fields['year']}\b", citation), name
            surname = re.sub(r"[{},]", "", entry.fields["author"].split(" and ")[0].rpartition(",")[0])
            assert surname in citation, name
    assert of_dataset(MADE)


def test_every_teacher_of_a_suite_has_an_entry_unless_the_package_carries_it() -> None:
    teachers = {yaml.safe_load(path.read_text())["teacher"] for path in SUITES.glob("*.yaml")}
    for name in teachers:
        assert of_teacher(name) or name in FOLDERS


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("embedded", set()),
        ("ViT-B-16:openai", {"ilharco2021openclip", "radford2021clip"}),
        ("ViT-B-32:laion2b_s34b_b79k", {"ilharco2021openclip", "cherti2023scaling", "schuhmann2022laion5b"}),
        ("ViT-B-16-SigLIP:webli", {"ilharco2021openclip", "zhai2023siglip"}),
        ("timm:vit_base_patch16_224.mae", {"wightman2019timm", "he2022mae"}),
        ("hf-hub:somebody/something", {"ilharco2021openclip"}),
        ("torchvision:resnet50.IMAGENET1K_V1", {"torchvision2016"}),
        ("robustbench:Standard", {"croce2021robustbench"}),
        ("MyNetwork", set()),
    ],
)
def test_a_teacher_is_cited_with_its_library_and_its_weights(name: str, keys: set[str]) -> None:
    assert {entry.key for entry in of_teacher(name)} == keys


@pytest.mark.parametrize("file", FILES)
def test_every_entry_parses_and_is_the_one_home_of_its_paper(file: str) -> None:
    path = ROOT / file if (ROOT / file).is_file() else PACKAGE / "_resources" / file
    entries = parsed(path.read_text(encoding="utf-8"))
    own = read_entries(path)
    assert list(entries) == [entry.key for entry in own], "the pattern that splits the file reads what a parser does"
    for entry in own:
        assert entries[entry.key] == entry.fields
        assert {"title", "author", "year"} <= entry.fields.keys()
    for field in ("title", "eprint"):
        values = [entry.fields[field] for entry in own if field in entry.fields]
        assert len(values) == len(set(values))


def test_a_paper_that_stands_in_two_files_is_the_same_in_both() -> None:
    found: dict[str, dict[str, str]] = {}
    for path in ("methods", "teachers"):
        for entry in read_entries(PACKAGE / path / "papers.bib"):
            plain = {name: value for name, value in entry.fields.items() if name != "teachers"}
            assert found.setdefault(entry.key, plain) == plain


def cited(run: Path, capsys: pytest.CaptureFixture[str], **changes: Any) -> tuple[set[str], str]:
    """Return the keys that are cited of a run whose manifest is changed so, and what is printed."""
    manifest = read_plain(run)
    for name, value in changes.items():
        manifest["numbers"][name] |= value
    write_plain(run, manifest)
    assert main(["cite", str(run)]) == 0
    text = capsys.readouterr().out
    return set(parsed(text)), text


def test_a_run_is_cited_with_all_that_it_used_and_nothing_else(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys, text = cited(run_folder, capsys)
    assert keys == {"apm-tta", "radford2021clip", "modi2024apm", "xiao2017fashion", "hendrycks2019benchmarking"}
    assert parsed(text)["apm-tta"]["version"] == "0.1.0"
    assert "%" not in text
    assert "sets = " not in text


def test_stored_corruptions_are_those_of_the_data_set(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys, _ = cited(
        run_folder,
        capsys,
        dataset={"name": "imagenet-c-bar", "corruptions": "stored"},
        revisions={"corruptions": {}},
        teacher={"name": "ViT-B-16:openai"},
    )
    assert keys == {"apm-tta", "radford2021clip", "modi2024apm", "mintun2021interaction", "ilharco2021openclip"}


def test_what_has_no_entry_is_named(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, text = cited(run_folder, capsys, dataset={"name": "folder"}, teacher={"name": "MyNetwork"})
    assert [line for line in text.splitlines() if line.startswith("%")][1:] == [
        "% data set folder",
        "% teacher MyNetwork",
    ]


def test_a_method_of_another_package_is_cited_by_the_number_that_it_states(
    run_folder: Path, capsys: pytest.CaptureFixture[str], nothing_stays_registered: None
) -> None:
    @register
    class Mine(Method):
        name = "mine"
        protocol = "episodic"
        paper = "arXiv 2999.00001"

        def predict(self, batch: Batch) -> Predictions:
            raise NotImplementedError

    methods = read_plain(run_folder)["numbers"]["methods"]
    keys, text = cited(run_folder, capsys, methods={"mine": methods["zeroshot"], "gone": methods["zeroshot"]})
    assert "mine" in keys
    assert parsed(text)["mine"]["eprint"] == "2999.00001"
    assert "% method gone, which is not installed here" in text
