"""Fixtures of tests that plant a mistake in a run of which a right one is known."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from planted import TEACHER, Pictures, draw_pictures

from apm_tta.teachers.embedded import FOLDERS, WEIGHTS


@pytest.fixture(scope="session")
def pictures() -> Pictures:
    return draw_pictures()


@pytest.fixture
def faulty_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return the function that gives the embedded teacher another configuration, and the same weights."""

    def change(model: Mapping[str, Any] | None = None, preprocess: Mapping[str, Any] | None = None) -> None:
        folder = tmp_path / "teacher"
        shutil.copytree(FOLDERS[TEACHER], folder, ignore=shutil.ignore_patterns("resnet", "*.py", "__pycache__"))
        file = folder / "open_clip_config.json"
        content = json.loads(file.read_text(encoding="utf-8"))
        content["model_cfg"] |= model or {}
        content["preprocess_cfg"] |= preprocess or {}
        file.write_text(json.dumps(content), encoding="utf-8")
        monkeypatch.setitem(FOLDERS, TEACHER, folder)
        monkeypatch.setitem(WEIGHTS, TEACHER, folder / WEIGHTS[TEACHER].name)

    return change


@pytest.fixture
def reference(tmp_path: Path) -> Callable[..., Path]:
    """Return the function that writes a table with one number."""

    def write(percent: float, dataset: str = "folder", teacher: str = TEACHER, **more: str) -> Path:
        file = tmp_path / "published.csv"
        columns = {"teacher": teacher, "dataset": dataset, "value": f"{percent:.2f}", **more}
        file.write_text(f"{','.join(columns)}\n{','.join(columns.values())}\n", encoding="utf-8")
        return file

    return write
