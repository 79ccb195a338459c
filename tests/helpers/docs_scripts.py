"""The scripts that make pages of ``docs/``, which are part of a checkout and not of the source distribution."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def docs_script(name: str) -> dict[str, Any]:
    """Return what ``docs/NAME.py`` defines, or skip the test where it is not there."""
    if not DOCS.is_dir():
        pytest.skip("docs/ is part of a checkout, not of the source distribution")
    return runpy.run_path(str(DOCS / f"{name}.py"))
