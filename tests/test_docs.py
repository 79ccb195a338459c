"""The methods page says what the code says."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

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


def test_every_method_of_the_embedded_results_stands_on_the_page() -> None:
    if not (ROOT / "docs").is_dir():
        pytest.skip("docs/ is part of a checkout, not of the source distribution")
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    methods = {line.split(",")[5] for line in (ROOT / "results/embedded/results.csv").read_text().splitlines()[1:]}
    assert len(methods) == 12
    assert all(f"\n## {name}\n" in page for name in methods)
