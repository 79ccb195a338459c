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

import apm_tta
from apm_tta.errors import UnknownName, UserError
from apm_tta.harness.compute.sendable_error import sendable

ARGUMENTS: dict[Any, Any] = {str: "some text", int: 7, Iterable[str]: ["b", "a"]}


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
    return kind(*(ARGUMENTS[hints[name]] for name in list(inspect.signature(own[0].__init__).parameters)[1:]))


def test_all_of_them_are_found() -> None:
    names = {kind.__name__ for kind in exceptions()}
    assert {"UserError", "UnknownName", "TestedInSupport", "DamagedImage", "Terminated", "WrongArray"} <= names


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
    ours = sendable(OursOfThisCell("one line", exit_code=3))
    assert isinstance(ours, UserError)
    assert (type(ours), str(ours), ours.exit_code) == (UserError, "one line", 3)
