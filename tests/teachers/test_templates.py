from __future__ import annotations

from pathlib import Path

import pytest

from apm_tta.errors import UserError
from apm_tta.teachers import TEMPLATES, read_templates
from apm_tta.teachers.templates import fill_template


def test_templates_by_name() -> None:
    assert read_templates("dataset", "a satellite photo of {}.") == ("a satellite photo of {}.",)
    assert read_templates("openai80", "") == TEMPLATES["openai80"]
    assert TEMPLATES["simple"] == ("a photo of a {}.",)
    assert [len(TEMPLATES[name]) for name in ("openai80", "simple7", "watt8")] == [80, 7, 8]
    assert all(template.count("{}") == 1 for templates in TEMPLATES.values() for template in templates)


def test_templates_from_a_file(tmp_path: Path) -> None:
    """The file is saved by an editor that writes a byte order mark and ends lines with two characters."""
    path = tmp_path / "templates.txt"
    path.write_bytes("﻿a photo of a {}.\r\n\r\n# a comment with {}\r\n  a drawing of a {}.  \r\n".encode())
    assert read_templates(str(path), "") == ("a photo of a {}.", "a drawing of a {}.")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a photo of a {}.\na photo.\n", r"templates.txt, line 2: 'a photo.' must contain \{\} exactly once"),
        (b"\n{} and {}\n", r"line 2: '\{\} and \{\}' must contain \{\} exactly once"),
        (b"a {0.__class__}\n", r"line 1: .* must contain \{\} exactly once"),
        (b"# nothing\n\n", "contains no template; write one per line"),
        (b"\xff\xfe{}", "cannot be read"),
    ],
)
def test_wrong_files_are_refused_by_file_and_line(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "templates.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as refused:
        read_templates(str(path), "")
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["openai81", ".", ""])
def test_unknown_names_are_refused_with_those_that_exist(name: str) -> None:
    with pytest.raises(UserError, match="there are: dataset, simple, simple7, watt8, openai80, or the path of a file"):
        read_templates(name, "")


def test_nothing_but_the_placeholder_is_replaced_in_a_template() -> None:
    assert fill_template("a {} of {0.__class__} {{", "c{}t") == "a c{}t of {0.__class__} {{"
