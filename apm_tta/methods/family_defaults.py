"""Defaults that a paper chooses by the data set's family: declared with the parameter, resolved in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, fields, replace
from typing import Any, NamedTuple, TypeVar, cast

from apm_tta.data.task import Family

T = TypeVar("T")


class ByFamily(NamedTuple):
    """A default with exceptions for a few families of data sets.

    Attributes:
        general: the value for families without one of their own.
        exceptions: families with a value of their own, and that value.
    """

    general: Any
    exceptions: tuple[tuple[Family, Any], ...]

    def value(self, family: Family) -> Any:
        """Return the default for data sets of ``family``."""
        return dict(self.exceptions).get(family, self.general)

    def __str__(self) -> str:
        """Format the values as in lists of defaults: ``1 (imagenet: 64)``."""
        return f"{self.general} ({', '.join(f'{family}: {value}' for family, value in self.exceptions)})"


def by_family(general: T, exceptions: Mapping[Family, T]) -> T:
    """Declare a parameter's default by the family of the data set.

    Only for fields of a method's parameters: ``resolve_family`` replaces it by a plain value before the method sees it,
    which is why the declaration has the type of that value.

    Args:
        general: the value for every family that ``exceptions`` does not name.
        exceptions: values of single families; hashable, as dataclasses require of defaults.
    """
    return cast(T, ByFamily(general, tuple(exceptions.items())))


def is_by_family(field: Field[Any]) -> bool:
    """Return whether the field's default depends on the family of the data set."""
    return isinstance(field.default, ByFamily)


def resolve_family(parameters: T, family: Family) -> T:
    """Return ``parameters`` with every remaining default by family replaced by the plain value for ``family``."""
    resolved = {
        field.name: value.value(family)
        for field in fields(cast(Any, parameters))
        if isinstance(value := getattr(parameters, field.name), ByFamily)
    }
    return cast(T, replace(cast(Any, parameters), **resolved)) if resolved else parameters
