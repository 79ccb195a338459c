"""The folders with files that are not code: dataset cards, suites, published numbers."""

from __future__ import annotations

import os
from pathlib import Path

from apm_tta.errors import UnknownName

_PACKAGE = Path(__file__).parent
# A wheel carries them inside the package; a checkout has them at its root.
_ROOT = _PACKAGE / "_resources" if (_PACKAGE / "_resources").is_dir() else _PACKAGE.parent

DATASETS = _ROOT / "datasets"
SUITES = _ROOT / "benchmarks" / "suites"
PUBLISHED = _ROOT / "results" / "published"


def yaml_names(folder: Path) -> list[str]:
    """Return the names of the YAML files in ``folder``, sorted."""
    # A set is compared with every card: paths would take ten times as long as names, and a pattern for ``glob`` more.
    with os.scandir(folder) as found:
        return sorted(item.name.removesuffix(".yaml") for item in found if item.name.endswith(".yaml"))


def yaml_path(folder: Path, kind: str, name: str) -> Path:
    """Return the path of the YAML file for ``name`` in ``folder``.

    Args:
        folder: folder with YAML files.
        kind: what the files describe, for the error message.
        name: name of the file, without its suffix.

    Raises:
        UnknownName: listing the names that exist.
    """
    if name not in (names := yaml_names(folder)):
        raise UnknownName(kind, name, names)
    return folder / f"{name}.yaml"
