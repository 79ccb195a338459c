"""What a class of a method states, and what is found out for it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

import apm_tta
from apm_tta.data.cards import load_card
from apm_tta.data.task import Task
from apm_tta.errors import UserError
from apm_tta.methods import METHODS, Batch, Method, Predictions, build_parameters, register
from apm_tta.methods.base import MethodParameters, require_parameters
from apm_tta.teachers import Teacher

TASK = Task(load_card("fashion-mnist").class_list.names)
P = TypeVar("P", bound=MethodParameters)


@dataclass(frozen=True)
class SomeParameters:
    templates: str = "simple"
    steps: int = 2


@dataclass(frozen=True)
class OtherParameters(SomeParameters):
    steps: int = 5


class Plain(Method[P]):
    """All that a method must have but its parameters."""

    name = "plain"
    protocol = "episodic"
    summary, paper, adapts = "of a test", "none", "nothing"

    def predict(self, batch: Batch) -> Predictions:
        return Predictions(self.logits(self.features(batch)))


class InBrackets(Plain[SomeParameters]):
    pass


class Inherits(InBrackets):
    pass


class Stated(InBrackets):
    Parameters = OtherParameters


class WithoutBrackets(Method):
    name = "without brackets"
    protocol = "episodic"
    summary, paper, adapts = "of a test", "none", "nothing"
    Parameters = OtherParameters

    def predict(self, batch: Batch) -> Predictions:
        return Predictions(self.logits(self.features(batch)))


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        (InBrackets, SomeParameters),
        (Inherits, SomeParameters),
        (Stated, OtherParameters),
        (WithoutBrackets, OtherParameters),
    ],
)
def test_the_type_of_the_parameters_is_what_the_class_states(method: type[Method], parameters: type) -> None:
    assert require_parameters(method) is method.Parameters is parameters


def test_a_class_that_says_nowhere_what_its_parameters_are_is_refused() -> None:
    class Nothing(Plain):  # type: ignore[type-arg]
        name = "nothing said"

    with pytest.raises(UserError, match=r"^method nothing said does not say what its parameters are: .*Nothing") as no:
        register(Nothing)
    assert "\n" not in str(no.value)
    assert "nothing said" not in METHODS.names()


def test_setup_comes_last_and_has_everything(embedded_teacher: Teacher) -> None:
    seen: dict[str, Any] = {}

    class Prepared(InBrackets):
        def setup(self) -> None:
            seen.update(vars(self))

    method = Prepared(embedded_teacher, TASK, SomeParameters(), 7, 1000)
    assert vars(method) == seen
    names = ("teacher", "task", "classes", "parameters", "seed", "memory")
    assert [seen[name] for name in names] == [embedded_teacher, TASK, TASK.classes, SomeParameters(), 7, 1000]
    assert seen["templates"] == ("a photo of a {}.",)
    assert seen["class_weights"].shape == (10, embedded_teacher.feature_dim)


def test_only_the_base_has_a_constructor() -> None:
    own = [METHODS.get(name) for name in METHODS.names()]
    assert [kind.name for kind in own if kind.__init__ is not Method.__init__] == []


def test_every_method_has_a_revision() -> None:
    revisions = [METHODS.get(name).revision for name in METHODS.names()]
    assert all(type(revision) is int and revision >= 1 for revision in revisions)
    assert Method.revision == 1


def test_methods_of_the_package_have_parameters_of_a_name_of_their_own() -> None:
    names = [METHODS.get(name).Parameters.__name__ for name in METHODS.names()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"\w+Parameters", name) for name in names)


def test_a_parameter_that_does_not_exist_is_a_type_error(tmp_path: Path) -> None:
    """Checked by mypy alone, on the base and a method; what these import is not followed, which takes minutes."""
    # Copied: among installed packages mypy would take a library's module for one of ours that hides it.
    folder = tmp_path / "apm_tta" / "methods"
    folder.mkdir(parents=True)
    for name in ("__init__", "methods/__init__"):
        (tmp_path / "apm_tta" / f"{name}.py").touch()
    for name in ("base", "view_method", "vte"):
        shutil.copy(Path(apm_tta.__file__).parent / "methods" / f"{name}.py", folder)
    snippet = tmp_path / "snippet.py"
    snippet.write_text(
        "from apm_tta.methods.vte import VTE\n"
        "def share(method: VTE) -> float:\n"
        "    return method.parameters.share\n"
        "def misspelt(method: VTE) -> None:\n"
        "    print(method.parameters.shared)\n"
    )
    modules = [str(folder / f"{name}.py") for name in ("base", "view_method", "vte")]
    options = ["--strict", "--follow-imports=skip", "--config-file=", "--no-error-summary", f"--cache-dir={tmp_path}"]
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *modules, str(snippet)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    found = [line for line in checked.stdout.splitlines() if Path(line.split(":")[0]).name == "snippet.py"]
    assert len(found) == 1, checked.stdout + checked.stderr
    assert re.search(r':5: error: "VTEParameters" has no attribute "shared"', found[0])


def test_a_constructed_method_keeps_what_was_asked_for(embedded_teacher: Teacher) -> None:
    parameters = build_parameters("vte", {"share": 0.5})
    assert METHODS.get("vte")(embedded_teacher, TASK, parameters, 0).parameters is parameters
