"""What a class of a method states, what it has where it states nothing, and what is refused."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

import apm_tta
from apm_tta.cli import main
from apm_tta.data.cards import load_card
from apm_tta.data.task import Task
from apm_tta.errors import UnknownName, UserError
from apm_tta.methods import METHODS, Batch, Method, Predictions, build_parameters, register
from apm_tta.methods.base import MethodParameters
from apm_tta.methods.method_check import require_parameters
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


class Short(Method):
    """Answers as the teacher does.

    At no cost.
    """

    name, protocol = "short", "episodic"

    def predict(self, batch: Batch) -> Predictions:
        return Predictions(self.logits(self.features(batch)))


class Undocumented(Short):
    pass


class Stating(Short):
    """Answers as the one above."""

    summary = "said otherwise"


class BelowStating(Stating):
    """Has what the class above states."""


@pytest.fixture
def registered() -> Iterator[Callable[[type[Method]], type[Method]]]:
    """Register methods for one test."""
    before = METHODS.registered()
    yield register
    METHODS._entries.clear()
    METHODS._entries.update(before)


Registers = Callable[[type[Method]], type[Method]]


@pytest.mark.parametrize("method", [Short, Plain])
def test_a_class_that_names_no_parameters_has_templates_alone(method: type[Method], registered: Registers) -> None:
    """Those of the data set unless another name is given, which is checked."""
    registered(method)
    assert asdict(build_parameters(method.name, {})) == {"templates": "dataset"}
    assert build_parameters(method.name, {"templates": "openai80"}).templates == "openai80"
    with pytest.raises(UnknownName, match=f"unknown key of method {method.name} 'steps'; there are: templates"):
        build_parameters(method.name, {"steps": 3})
    with pytest.raises(UserError, match="templates"):
        build_parameters(method.name, {"templates": "nowhere"})


@pytest.mark.parametrize(
    ("method", "summary"),
    [
        (Short, "Answers as the teacher does"),
        (Undocumented, "nothing stated"),
        (Stating, "said otherwise"),
        (BelowStating, "said otherwise"),
    ],
)
def test_the_first_line_of_the_docstring_is_the_summary_unless_it_is_stated(method: type[Method], summary: str) -> None:
    assert (method.summary, method.paper, method.adapts) == (summary, "none", "nothing stated")


def test_a_short_class_is_listed_as_every_other(registered: Registers, capsys: pytest.CaptureFixture[str]) -> None:
    registered(Short)
    assert main(["list", "methods"]) == 0
    listed = (
        "short: Answers as the teacher does (none); episodic; adapts nothing stated\n    defaults: templates=dataset\n"
    )
    assert listed in capsys.readouterr().out


def test_a_class_that_is_defined_again_replaces_the_one_before(registered: Registers) -> None:
    """As a notebook cell that is run again."""
    registered(Short)

    class Again(Short):
        pass

    assert registered(Again) is METHODS.get("short") is Again


@dataclass
class Changeable:
    templates: str = "simple"


@dataclass(frozen=True)
class Untemplated:
    steps: int = 1


def short(**attributes: Any) -> type[Method]:
    """Return a class like ``Short``; None takes an attribute away."""
    stated = {"__module__": __name__, "name": "mine", "protocol": "episodic", "predict": Short.predict, **attributes}
    return type("Mine", (Method,), {name: value for name, value in stated.items() if value is not None})


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (short(name=None), "class Mine states no name; write, for example, name = 'mine'"),
        (short(name=3), "class Mine states no name; write, for example, name = 'mine'"),
        *(
            (
                short(name=name),
                f"class Mine cannot be method {name!r}: a name is made of letters, digits, _, - and ., begins with a "
                "letter, a digit or _, and is not 'all' or 'fast'",
            )
            for name in ("all", "fast", "", "a/b", "..", ".a", "-a", "a b", "a,b", "a=b", "é", "a\n", "../../etc")
        ),
        (
            short(protocol=None),
            'method mine states no protocol; write protocol = "episodic", "online" where it keeps state between '
            'images, or "transductive" where it answers all images together',
        ),
        (
            short(protocol="offline"),
            'method mine states protocol \'offline\'; write protocol = "episodic", "online" where it keeps state '
            'between images, or "transductive" where it answers all images together',
        ),
        (short(predict=None), "method mine does not implement predict (class Mine)"),
        (
            short(Parameters=Changeable),
            "the parameters of method mine can be changed; write @dataclass(frozen=True) above class Changeable",
        ),
        (
            short(Parameters=Untemplated),
            'the parameters of method mine lack templates; write templates: Templates = "dataset" in class Untemplated',
        ),
        *(
            (
                short(Parameters=parameters),
                "method mine does not say what its parameters are: class Mine(Method[...]), with a frozen dataclass in "
                "the brackets",
            )
            for parameters in (dict, SomeParameters(), "SomeParameters", 3)
        ),
    ],
)
def test_a_class_that_lacks_something_is_refused_in_one_line(
    method: type[Method], message: str, registered: Registers
) -> None:
    """By what is wrong and what to write, before its name means anything."""
    with pytest.raises(UserError) as caught:
        registered(method)
    assert str(caught.value) == message
    assert "mine" not in METHODS.names()


@pytest.mark.parametrize("name", ["m", "mine_2", "my-method.v1", "2nd", "_x"])
def test_other_names_are_taken(name: str, registered: Registers) -> None:
    registered(method := short(name=name))
    assert METHODS.get(name) is method


def test_parameters_in_quotes_are_refused_and_do_not_become_the_default(registered: Registers) -> None:
    class Quoted(Short, Method["SomeParameters"]):
        name = "quoted"

    with pytest.raises(UserError, match="method quoted does not say what its parameters are"):
        registered(Quoted)


@pytest.mark.parametrize("thing", [3, "zeroshot", dict, SomeParameters, Short.predict])
def test_what_is_no_method_is_refused(thing: Any, registered: Registers) -> None:
    with pytest.raises(UserError, match=r"is not a method: register a class Mine\(Method\)$|states no name"):
        registered(thing)


def test_a_method_of_the_package_keeps_its_name(registered: Registers) -> None:
    """A cell that calls its method ``mta`` is told to choose another name, and mta stays what it is."""
    mta = METHODS.get("mta")
    with pytest.raises(UserError) as caught:
        registered(short(name="mta"))
    assert str(caught.value) == (
        f"method 'mta' is apm_tta.methods.mta.{mta.__name__} already, and {__name__}.Mine cannot have its name: "
        "choose another name"
    )
    assert METHODS.get("mta") is mta


def test_a_type_that_cannot_be_checked_is_one_line(registered: Registers) -> None:
    """Such as a user-defined class, which pydantic has no rules for."""

    class Unknown:
        pass

    @dataclass(frozen=True)
    class Parameters:
        templates: str = "simple"
        unknown: Unknown = Unknown()  # noqa: RUF009

    Parameters.__dataclass_fields__["unknown"].type = Unknown
    Parameters.__annotations__["unknown"] = Unknown
    registered(short(Parameters=Parameters))
    with pytest.raises(UserError, match=r"^the types of the parameters of method mine cannot be checked") as caught:
        build_parameters("mine", {})
    assert "\n" not in str(caught.value)


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
    for name in ("base", "parameter_types", "view_method", "vte"):
        shutil.copy(Path(apm_tta.__file__).parent / "methods" / f"{name}.py", folder)
    snippet = tmp_path / "snippet.py"
    snippet.write_text(
        "from apm_tta.methods.vte import VTE\n"
        "def share(method: VTE) -> float:\n"
        "    return method.parameters.share\n"
        "def misspelt(method: VTE) -> None:\n"
        "    print(method.parameters.shared)\n"
    )
    modules = [str(folder / f"{name}.py") for name in ("base", "parameter_types", "view_method", "vte")]
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
    parameters = build_parameters("zero", {"share": 0.5})
    assert METHODS.get("zero")(embedded_teacher, TASK, parameters, 0).parameters is parameters
