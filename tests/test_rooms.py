"""The plan of the house in ``docs/architecture.md`` is true: each room imports only from those below it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "apm_tta"
PLAN = ROOT / "docs" / "architecture.md"

pytestmark = pytest.mark.skipif(not PLAN.is_file(), reason="the page is part of a checkout, not of the distribution")


def rooms() -> dict[str, int]:
    """Return the rooms of the table by name, each with its row; what it does not name is in the last row."""
    table = PLAN.read_text(encoding="utf-8").partition("| room |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines()[2:]]
    return {name: row for row, cell in enumerate(rows) for name in re.findall(r"`apm_tta/(\w+)(?:\.py|/)`", cell)}


def imported(path: Path) -> Iterator[str]:
    """Yield what a file imports of the package, at its top or in a function: the name below ``apm_tta``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("apm_tta."))
        elif isinstance(node, ast.ImportFrom) and node.module == "apm_tta":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("apm_tta."):
            yield str(node.module).split(".")[1]


def test_every_room_is_in_the_plan() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert folders <= {*rooms()}
    assert {*rooms()} <= folders | {path.stem for path in PACKAGE.glob("*.py")}


def test_each_room_imports_only_from_those_below_it() -> None:
    below = rooms()
    lowest = max(below.values())
    upward = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in PACKAGE.rglob("*.py")
        if path != PACKAGE / "__init__.py"  # what the package offers is the API's
        for name in imported(path)
        if below.get(name, lowest) < below.get(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), lowest)
    }
    assert not upward
    assert len(list(PACKAGE.rglob("*.py"))) > 300, "the files were looked at"
