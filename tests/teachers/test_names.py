"""A name is checked once, and its family is found without loading anything."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from apm_tta.errors import UserError
from apm_tta.teachers import TeacherName, load_teacher, names, parse_teacher_name


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("embedded", "embedded"),
        ("timm:whatever", "timm"),
        ("hf-hub:somebody/something", "hf-hub"),
        ("ViT-B-16:openai", "open_clip"),
        ("ViT-B-16", "open_clip"),
    ],
)
def test_a_name_determines_its_family(name: str, family: str) -> None:
    assert parse_teacher_name(name) == TeacherName(name, family)


@pytest.mark.parametrize("name", ["", "ViT-B-1", "open_clip", "open_clip:ViT-B-16"])
def test_a_name_of_no_family_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"unknown teacher '{name}'; there are: embedded") as refused:
        parse_teacher_name(name)
    assert refused.value.exit_code == 2


def test_a_checked_name_is_not_checked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = parse_teacher_name("embedded")
    expected = load_teacher("embedded").identity
    monkeypatch.delattr("apm_tta.teachers.parse_teacher_name")
    monkeypatch.delattr(names, "parse_teacher_name")
    assert load_teacher(checked).identity == expected


def test_a_checked_name_loads_in_a_process_that_checked_none(tmp_path: Path) -> None:
    """Like a worker, this process has registered no family yet."""
    (tmp_path / "name").write_bytes(pickle.dumps(parse_teacher_name("embedded")))
    script = (
        "import pickle, sys; from pathlib import Path; from apm_tta.teachers import load_teacher; "
        "print(load_teacher(pickle.loads(Path(sys.argv[1]).read_bytes())).name)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "name")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "embedded\n"
