"""``docs/verify.md`` is what its script makes, and its commands still come to what they came to."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "docs" / "verify.py"


def test_the_committed_page_is_what_its_script_makes() -> None:
    """Run ``python docs/verify.py`` if this fails."""
    if not SCRIPT.is_file():
        pytest.skip("docs/ is part of a checkout, not of the source distribution")
    assert runpy.run_path(str(SCRIPT))["page"]() == SCRIPT.with_suffix(".md").read_text(encoding="utf-8")


def test_its_right_run_comes_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run ``python docs/verify.py measure`` if this fails; another processor may round an answer otherwise."""
    if not SCRIPT.is_file():
        pytest.skip("docs/ is part of a checkout, not of the source distribution")
    monkeypatch.chdir(ROOT)
    script = runpy.run_path(str(SCRIPT))
    again, committed = script["printed"](script["COMMANDS"]["inside"]), SCRIPT.with_suffix("") / "inside.txt"
    assert without_accuracy(again) == without_accuracy(committed.read_text(encoding="utf-8"))


def without_accuracy(text: str) -> str:
    return re.sub(r"\d+\.\d\d ", "0.00 ", text)
