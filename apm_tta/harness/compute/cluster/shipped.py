"""This package as it is here, in folders that Ray sends to the nodes of a cluster."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path
from tempfile import TemporaryDirectory

import apm_tta
from apm_tta.package_commit import BUILT_FROM, package_code
from apm_tta.package_files import RESOURCES, package_files
from apm_tta.resources import PUBLISHED


@contextmanager
def shipped_package() -> Iterator[list[str]]:
    """Yield folders for ``py_modules`` of a ``runtime_env``: the package, and what is known of its installation."""
    with TemporaryDirectory(prefix="apm-tta-shipped-") as place:
        yield [str(folder) for folder in copy_package(Path(place))]


def copy_package(place: Path) -> list[Path]:
    """Copy the package into ``place`` as a wheel would install it there.

    Returns:
        The folder of the package, and that of its metadata, without which its version and plugins are unknown.
    """
    package, copied = Path(apm_tta.__file__).parent, place / "apm_tta"
    for name, path in package_files(package).items():
        inside = name.removeprefix("apm_tta/") if name.startswith("apm_tta/") else f"{RESOURCES}/{name}"
        _copy(Path(path), copied / inside)
    shutil.copytree(PUBLISHED, copied / RESOURCES / "results" / "published")
    code = package_code(package)
    if code.is_commit:
        stated = json.dumps({"commit": code.commit, "sha256": code.sha256})
        (copied / RESOURCES / BUILT_FROM).write_text(stated, encoding="utf-8")
    installed = distribution("apm-tta")
    metadata = place / f"apm_tta-{installed.version}.dist-info"
    metadata.mkdir()
    for name in ("METADATA", "entry_points.txt"):
        (metadata / name).write_text(installed.read_text(name) or "", encoding="utf-8")
    return [copied, metadata]


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
