"""The methods page says what the code says."""

from __future__ import annotations

import runpy
from pathlib import Path

import pandas as pd
import pytest
import torch

from apm_tta.cli import main
from apm_tta.harness.compute.measure import counted_flops

ROOT = Path(__file__).resolve().parent.parent


def test_the_committed_page_is_what_the_code_makes() -> None:
    """Else run ``python docs/make.py``."""
    if not (ROOT / "docs").is_dir():
        pytest.skip("docs/ is part of a checkout, not of the source distribution")
    made = runpy.run_path(str(ROOT / "docs" / "make.py"))["page"]()
    assert made == (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")


def test_the_committed_page_of_scale_is_what_its_costs_make() -> None:
    """Else run ``python docs/scale.py``."""
    if not (ROOT / "docs").is_dir():
        pytest.skip("docs/ is part of a checkout, not of the source distribution")
    own = runpy.run_path(str(ROOT / "docs" / "scale.py"))
    assert own["page"](own["read_costs"]()) == (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


def test_the_committed_page_of_patches_is_what_its_costs_make() -> None:
    """Else run ``python docs/patches.py``."""
    if not (ROOT / "docs").is_dir():
        pytest.skip("docs/ is part of a checkout, not of the source distribution")
    own = runpy.run_path(str(ROOT / "docs" / "patches.py"))
    assert own["page"](own["read_costs"]()) == (ROOT / "docs" / "patches.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["FIELD", "ENCODER"])
def test_the_committed_flops_of_few_patches_are_what_is_counted(name: str) -> None:
    """Else run ``python docs/patches.py measure``."""
    if not (ROOT / "docs").is_dir():
        pytest.skip("docs/ is part of a checkout, not of the source distribution")
    own = runpy.run_path(str(ROOT / "docs" / "patches.py"))
    costs = [cost for cost in own["read_costs"]() if cost.model == own[name] and cost.patches <= 4]
    assert {cost.patches for cost in costs} == {1, 4}
    model, image = own["build"](own[name], torch.device("cpu"))
    for cost in costs:
        with counted_flops() as counter:
            features = own["forward"](model, image, cost.patches, cost.chunk)
        assert features.shape[1] == cost.patches + (name == "ENCODER")
        assert f"{counter.get_total_flops() / 1e9:.6g}" == f"{cost.gflop:.6g}"


def test_peak_memory_of_a_linear_layer_is_its_output_s() -> None:
    if not (ROOT / "docs").is_dir():
        pytest.skip("docs/ is part of a checkout, not of the source distribution")
    own = runpy.run_path(str(ROOT / "docs" / "patches.py"))
    layer, inputs = torch.nn.Linear(1000, 500), torch.randn(64, 1000)
    with torch.no_grad():
        peak = own["peak_megabytes"](lambda: layer(inputs), torch.device("cpu"))
        twice = own["peak_megabytes"](lambda: layer(inputs).relu(), torch.device("cpu"))
    assert peak == 4 * 64 * 500 / 1e6
    assert twice == 2 * peak


def test_every_method_of_the_embedded_results_stands_on_the_page() -> None:
    if not (ROOT / "docs").is_dir():
        pytest.skip("docs/ is part of a checkout, not of the source distribution")
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    methods = {line.split(",")[5] for line in (ROOT / "results/embedded/results.csv").read_text().splitlines()[1:]}
    assert len(methods) == 12
    assert all(f"\n## {name}\n" in page for name in methods)


def test_the_committed_page_of_fields_is_what_its_measurements_make() -> None:
    """Else run ``python docs/field.py``."""
    if not (ROOT / "docs").is_dir():
        pytest.skip("docs/ is part of a checkout, not of the source distribution")
    own = runpy.run_path(str(ROOT / "docs" / "field.py"))
    assert set(own["found"]()) == set(own["VARIANTS"])
    assert own["page"]() == (ROOT / "docs" / "field.md").read_text(encoding="utf-8")


def test_the_readme_s_pictures_have_the_numbers_of_their_files() -> None:
    """Else run ``python docs/pictures.py``."""
    if not (ROOT / "docs").is_dir():
        pytest.skip("docs/ is part of a checkout, not of the source distribution")
    own = runpy.run_path(str(ROOT / "docs" / "pictures.py"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition(own["BEGIN"])[2].partition(own["END"])[0].strip()
    assert section == own["section"]()
    shown = [line.partition("](")[2].rstrip(")") for line in section.splitlines() if line.startswith("![")]
    assert len(shown) == len(own["COMMANDS"])
    assert all((ROOT / path).is_file() for path in shown)


def test_the_readme_s_islands_are_made_again_by_their_command(tmp_path: Path) -> None:
    """The cheapest of its pictures: as the committed numbers, but for what another processor's last bits change."""
    if not (ROOT / "docs").is_dir():
        pytest.skip("docs/ is part of a checkout, not of the source distribution")
    own = runpy.run_path(str(ROOT / "docs" / "pictures.py"))
    words = own["COMMANDS"]["token"].split()[1:-1]
    assert main([*words, str(tmp_path), "--animation", "none"]) == 0
    committed, again = (pd.read_csv(folder / "fit.csv") for folder in (ROOT / "docs" / "pictures" / "token", tmp_path))
    pd.testing.assert_frame_equal(committed, again, rtol=1e-3, atol=1e-4)
