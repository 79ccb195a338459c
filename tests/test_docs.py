"""The committed pages are what their scripts make, and pictures have the numbers of their files."""

from __future__ import annotations

import importlib
import json
import runpy
from pathlib import Path

import pandas as pd
import pytest
import torch
from docs_scripts import docs_script
from small_settings import NEED_SUPPORT

from apm_tta.cli import main
from apm_tta.harness.compute.measure import count_flops
from apm_tta.method_rows import is_variant, method_of, split_rows
from apm_tta.methods import METHODS

ROOT = Path(__file__).resolve().parent.parent


def test_the_committed_page_of_methods_is_what_the_code_makes() -> None:
    """Run ``python docs/make.py`` if this fails."""
    page = docs_script("make")["page"]()
    assert page == (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")


def test_the_committed_page_of_data_sets_is_what_the_cards_make() -> None:
    """Run ``python docs/make.py`` if this fails."""
    page = docs_script("make")["datasets_page"]()
    assert page == (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")


def test_the_committed_page_of_where_data_sets_come_from_is_what_the_cards_make() -> None:
    """Run ``python docs/make.py`` if this fails."""
    page = docs_script("make")["data_page"]()
    assert page == (ROOT / "docs" / "data.md").read_text(encoding="utf-8")


def test_the_committed_page_of_versions_is_what_its_table_makes() -> None:
    """Run ``python docs/versions.py`` if this fails."""
    page = docs_script("versions")["page"]()
    assert page == (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")


def test_the_committed_page_of_scale_is_what_its_costs_make() -> None:
    """Run ``python docs/scale.py`` if this fails."""
    script = docs_script("scale")
    made = script["page"](script["read_costs"](), script["read_feeding"]())
    assert made == (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


def test_the_committed_page_of_patches_is_what_its_costs_make() -> None:
    """Run ``python docs/patches.py`` if this fails."""
    script = docs_script("patches")
    assert script["page"](script["read_costs"]()) == (ROOT / "docs" / "patches.md").read_text(encoding="utf-8")


def test_the_readme_fits_a_screen_or_two() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120
    assert max(map(len, lines)) <= 120
    assert (ROOT / "README.md").stat().st_size <= 8_000
    first = "\n".join(lines[:40])
    assert "![" in first
    assert "run-bench demo" in first
    assert "\npython -m pip install tox && tox" in first


@pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="docs/ is part of a checkout")
def test_the_picture_and_the_table_of_the_readme_are_what_the_results_make() -> None:
    """Run ``python docs/overview.py`` if this fails."""
    script = docs_script("overview")
    found = script["numbers"]()
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.partition(script["BEGIN"])[2].partition(script["END"])[0].strip() == script["section"](found)
    assert script["digest_of_picture"]() == script["digest"](found)


@pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="docs/ is part of a checkout")
def test_the_page_of_performance_has_the_committed_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    ratios = importlib.import_module("benchmarks.ratios")
    text = ratios.SECTION_PAGE.read_text(encoding="utf-8")
    section = text.partition(ratios.BEGIN)[2].partition(ratios.END)[0].strip()
    assert section == ratios.section_of_ratios(json.loads(ratios.BASELINE.read_text()))


@pytest.mark.parametrize("name", ["FIELD", "ENCODER"])
def test_the_committed_flops_of_few_patches_are_those_counted(name: str) -> None:
    """Run ``python docs/patches.py measure`` if this fails."""
    script = docs_script("patches")
    costs = [cost for cost in script["read_costs"]() if cost.model == script[name] and cost.patches <= 4]
    assert {cost.patches for cost in costs} == {1, 4}
    model, image = script["build"](script[name], torch.device("cpu"))
    for cost in costs:
        with count_flops() as counter:
            features = script["forward"](model, image, cost.patches, cost.chunk)
        assert features.shape[1] == cost.patches + (name == "ENCODER")
        assert f"{counter.get_total_flops() / 1e9:.6g}" == f"{cost.gflop:.6g}"


def test_peak_memory_of_a_linear_layer_is_that_of_its_output() -> None:
    script = docs_script("patches")
    layer, inputs = torch.nn.Linear(1000, 500), torch.randn(64, 1000)
    with torch.no_grad():
        peak = script["peak_megabytes"](lambda: layer(inputs), torch.device("cpu"))
        peak_of_two = script["peak_megabytes"](lambda: layer(inputs).relu(), torch.device("cpu"))
    assert peak == 4 * 64 * 500 / 1e6
    assert peak_of_two == 2 * peak


def test_every_method_of_the_embedded_results_is_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    if not (ROOT / "docs").is_dir():
        pytest.skip("docs/ is part of a checkout, not of the source distribution")
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    runs = pd.concat([pd.read_csv(file) for file in (ROOT / "results" / "embedded").glob("*/*/results.csv")])
    methods = set(map(method_of, runs["method"]))
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    scripts = runpy.run_path(str(ROOT / "scripts" / "make_embedded_results.py"))
    made = [part.words for part in scripts["parts"]() if (ROOT / "results" / "embedded" / part.name).is_dir()]
    requested = {row for words in made for row in split_rows(words[words.index("--methods") + 1])}
    fast = {name for name in METHODS.names() if METHODS.get(name).fast} if "fast" in requested else set()
    assert methods == (set(map(method_of, requested - {"fast"})) | fast) - NEED_SUPPORT
    assert all(f"\n## {name}\n" in page for name in methods)


def test_the_committed_page_of_fields_is_what_its_measurements_make() -> None:
    """Run ``python docs/field.py`` if this fails."""
    script = docs_script("field")
    assert set(script["measurements"]()) == set(script["VARIANTS"])
    assert script["page"]() == (ROOT / "docs" / "field.md").read_text(encoding="utf-8")


def test_pictures_of_islands_have_the_numbers_of_their_files() -> None:
    """Run ``python docs/pictures.py`` if this fails."""
    script = docs_script("pictures")
    text = (ROOT / "docs" / "islands-and-field.md").read_text(encoding="utf-8")
    section = text.partition(script["BEGIN"])[2].partition(script["END"])[0].strip()
    assert section == script["section"]()
    images = [line.partition("](")[2].rstrip(")") for line in section.splitlines() if line.startswith("![")]
    assert len(images) == len(script["COMMANDS"])
    assert all((ROOT / "docs" / path).is_file() for path in images)


def test_islands_of_the_page_are_reproduced_by_their_command(tmp_path: Path) -> None:
    """Run the cheapest command; its numbers are those committed, up to the rounding of another processor."""
    script = docs_script("pictures")
    arguments = script["COMMANDS"]["token"].split()[1:-1]
    assert main([*arguments, str(tmp_path), "--animation", "none"]) == 0
    committed, repeated = (
        pd.read_csv(folder / "fit.csv") for folder in (ROOT / "docs" / "pictures" / "token", tmp_path)
    )
    pd.testing.assert_frame_equal(committed, repeated, rtol=1e-3, atol=1e-4)


def test_the_committed_page_of_streams_is_what_its_measurements_make() -> None:
    """Run ``python docs/streams.py`` if this fails."""
    script = docs_script("streams")
    numbers = pd.read_csv(ROOT / "docs" / "streams.csv")
    assert script["page"](numbers) == (ROOT / "docs" / "streams.md").read_text(encoding="utf-8")
    assert set(numbers["method"]) == {
        name for name in METHODS.names() if METHODS.get(name).fast and name not in NEED_SUPPORT
    }


def test_the_fast_methods_are_those_above_50_images_per_second_in_the_embedded_results() -> None:
    files = list((ROOT / "results" / "embedded").glob("*/*/results.csv"))
    if not files:
        pytest.skip("results/ is part of a checkout and of the source distribution")
    runs = pd.concat([pd.read_csv(file) for file in files])
    undisturbed = runs[runs["times_disturbed"].isna()].groupby(["method", "teacher"])["images_per_s"].median().unstack()
    # Over `embedded`, as `Method.fast` says; over the other teacher where that was not measured, or does not work.
    rates = undisturbed["embedded"].fillna(undisturbed["embedded-resnet"]).dropna()
    rates = rates[[not is_variant(name) for name in rates.index]]
    assert {str(name) for name in rates.index[rates > 50]} == {name for name in rates.index if METHODS.get(name).fast}


@pytest.mark.parametrize("name", ["islands", "fine_field", "dream_quality", "forgetting"])
def test_pages_of_scores_are_what_their_numbers_make(name: str) -> None:
    """Run ``python docs/NAME.py`` if this fails."""
    script = docs_script(name)
    assert script["page"]() == (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
