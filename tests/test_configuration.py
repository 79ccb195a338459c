"""YAML files are read as typed data, or refused in one line that names the file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from apm_tta.configuration import Configuration, one_line, read_configuration, read_yaml
from apm_tta.errors import UserError


class Recipe(Configuration):
    """The type that the files below are read as."""

    name: str
    minutes: Annotated[int, Field(gt=0)]
    steps: tuple[str, ...] = ()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recipe.yaml"


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_configuration(path, Recipe)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_good_file_is_read_with_its_defaults_and_types(path: Path) -> None:
    path.write_text("name: crêpe\nminutes: 20\n", encoding="utf-8")
    assert read_configuration(path, Recipe) == Recipe(name="crêpe", minutes=20, steps=())
    path.write_text("name: x\nminutes: 1\nsteps: [mix, fry]\n")
    assert read_configuration(path, Recipe).steps == ("mix", "fry")


def test_a_configuration_cannot_be_changed(path: Path) -> None:
    recipe = Recipe(name="x", minutes=1)
    with pytest.raises(ValidationError, match="frozen"):
        recipe.minutes = 2  # type: ignore[misc]


def test_an_unknown_key_is_named(path: Path) -> None:
    path.write_text("name: x\nminutes: 1\nminuts: 2\n")
    assert "minuts" in refusal(path)


def test_every_invalid_field_is_named_with_its_error(path: Path) -> None:
    path.write_text("minutes: 0\nsteps: [a, [b]]\n")
    message = refusal(path)
    assert "name: Field required" in message
    assert "minutes: Input should be greater than 0" in message
    assert "steps.1: Input should be a valid string" in message


@pytest.mark.parametrize("text", ["- a\n- b\n", "", "just text", "3", "# only a comment\n"])
def test_a_file_that_is_not_a_mapping_is_refused(path: Path, text: str) -> None:
    path.write_text(text)
    assert "mapping" in refusal(path)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"name: [unclosed\nminutes: 1\n", id="unclosed"),
        pytest.param(b"name: x\n\tminutes: 1\n", id="tab"),
        pytest.param(b"name: caf\xe9\n", id="not-utf-8"),
        pytest.param(b"name: \x07\n", id="control-character"),
        pytest.param(b"name: x\nminutes: 1\nminutes: 2\n", id="a-key-twice"),
        pytest.param(b"[" * 5000, id="nested-without-end"),
        pytest.param(b"name: !!python/object/apply:os.getcwd []\n", id="python-object"),
        pytest.param(
            b"name: 2001-13-45\n",
            id="date-that-does-not-exist",
        ),
    ],
)
def test_a_file_that_is_not_yaml_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert "cannot be read as YAML" in refusal(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for place in (tmp_path / "nowhere.yaml", tmp_path):
        with pytest.raises(UserError, match="cannot be read as YAML") as caught:
            read_yaml(place)
        assert str(place) in str(caught.value)


def test_any_number_of_errors_is_one_line() -> None:
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate({"minutes": "soon", "spoons": 3})
    assert one_line(caught.value).count("; ") == 2
    assert "\n" not in one_line(caught.value)
