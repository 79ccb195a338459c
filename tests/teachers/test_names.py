"""A name is checked once, and its family is found without loading anything."""

from __future__ import annotations

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
