"""Every exception of this package reaches the process that asked, with its line, its exit code and its type."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Iterable
from typing import Any, get_type_hints

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st

import apm_tta
from apm_tta.errors import UnknownName, UserError
from apm_tta.harness.compute.sendable_error import sendable

ARGUMENTS: dict[Any, Any] = {str: "some text", int: 7, float: 1.5, Iterable[str]: ["b", "a"]}


def exceptions() -> list[type[BaseException]]:
    """Return every exception class that a module of this package defines."""
    found = []
    for module in pkgutil.walk_packages(apm_tta.__path__, "apm_tta."):
        if not module.name.endswith("__main__"):
            for value in vars(importlib.import_module(module.name)).values():
                if isinstance(value, type) and issubclass(value, BaseException) and value.__module__ == module.name:
                    found.append(value)
    return found


def made(kind: type[BaseException]) -> BaseException:
    """Return one, constructed with an argument of the right type for each parameter that its constructor names."""
    own = [base for base in kind.__mro__ if "__init__" in vars(base) and base.__module__.startswith("apm_tta")]
    if not own:
        return kind("some text")
    hints = get_type_hints(own[0].__init__)
    return kind(*(ARGUMENTS[hints[name]] for name in _positional(own[0])))


def _positional(kind: type) -> list[str]:
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]  # type: ignore[misc]
    return [parameter.name for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY]


def test_all_of_them_are_found() -> None:
    names = {kind.__name__ for kind in exceptions()}
    assert {"UserError", "UnknownName", "TestedInSupport", "DamagedImage", "Stopped", "WrongArray"} <= names


@pytest.mark.parametrize("kind", exceptions(), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "through",
    [
        *(lambda error, protocol=protocol: pickle.loads(pickle.dumps(error, protocol)) for protocol in range(2, 6)),
        lambda error: pickle.loads(cloudpickle.dumps(error)),
        copy.copy,
        copy.deepcopy,
    ],
)
def test_an_exception_survives_the_way_to_another_process(kind: type[BaseException], through: Any) -> None:
    error = made(kind)
    error.note = "kept"  # type: ignore[attr-defined]
    found = through(error)
    assert type(found) is kind
    assert str(found) == str(error) != ""
    assert found.args == error.args
    assert vars(found) == vars(error)
    assert getattr(found, "exit_code", None) == getattr(error, "exit_code", None)


def test_an_unknown_name_still_lists_those_that_exist() -> None:
    found = pickle.loads(pickle.dumps(UnknownName("fruit", "plum", ["pear", "apple"])))
    assert isinstance(found, UserError)
    assert str(found) == "unknown fruit 'plum'; there are: apple, pear"
    assert found.exit_code == 2


def test_an_exception_that_cannot_be_sent_becomes_its_line() -> None:
    """A worker process would be lost with it otherwise; its class, of a notebook cell, is known to nobody else."""

    class OfThisCell(Exception):
        pass

    class OursOfThisCell(UserError):
        pass

    plain = ValueError("two\nlines")
    assert sendable(plain) is plain
    found = sendable(OfThisCell("two\nlines"))
    assert (type(found), str(found)) == (UserError, "OfThisCell: two lines")
    ours = sendable(OursOfThisCell("one line", exit_code=3, advice="do this", passing=True))
    assert isinstance(ours, UserError)
    assert (type(ours), str(ours), ours.exit_code, ours.passing) == (UserError, "one line; do this", 3, True)


@given(problem=st.text(), advice=st.lists(st.text(), max_size=2))
def test_whatever_a_message_quotes_it_is_one_line_that_a_terminal_only_shows(problem: str, advice: list[str]) -> None:
    error = UserError(problem)
    for words in advice:
        error.advise(words)
    line = str(error)
    assert line.splitlines() in ([line], []), "no separator of lines of any alphabet"
    assert line.encode().decode() == line
    assert not {"\x1b", "\x00", "\x9b", "\u202e", "\u2066"} & {*line}


def test_advice_is_kept_apart_from_the_problem_and_joined_to_one_line() -> None:
    error = UserError("out of memory", advice="try a smaller batch")
    error.advise("what is finished is kept")
    assert str(error) == "out of memory; try a smaller batch; what is finished is kept"
    assert error.args == ("out of memory",)
