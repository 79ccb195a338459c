"""Defaults that a paper chooses by the family of the data set: declared with the parameter, resolved in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, fields, replace
from typing import Any, NamedTuple, TypeVar, cast

from apm_tta.data.task import Family

T = TypeVar("T")


class ByFamily(NamedTuple):
    """A default for every data set but those of a few families.

    Attributes:
        general: the value where the family has none of its own.
        exceptions: families with a value of their own, and that value.
    """

    general: Any
    exceptions: tuple[tuple[Family, Any], ...]

    def value(self, family: Family) -> Any:
        """Return the default for data sets of ``family``."""
        return dict(self.exceptions).get(family, self.general)

    def __str__(self) -> str:
        """Write the values as lists of defaults show them: ``1 (imagenet: 64)``."""
        return f"{self.general} ({', '.join(f'{family}: {value}' for family, value in self.exceptions)})"


def by_family(general: T, exceptions: Mapping[Family, T]) -> T:
    """Declare a parameter's default by the family of the data set.

    For fields of a method's parameters alone: ``resolve_family`` puts a plain value in its place before the method sees
    it, which is why the declaration has the type of that value.

    Args:
        general: for every family that ``exceptions`` does not name.
        exceptions: values of single families; hashable, as dataclasses want their defaults.
    """
    return cast(T, ByFamily(general, tuple(exceptions.items())))


def is_by_family(field: Field[Any]) -> bool:
    """Return whether the field's default depends on the family of the data set."""
    return isinstance(field.default, ByFamily)


def resolve_family(parameters: T, family: Family) -> T:
    """Return ``parameters`` with a plain value wherever the default for the family was left in place."""
    resolved = {
        field.name: value.value(family)
        for field in fields(cast(Any, parameters))
        if isinstance(value := getattr(parameters, field.name), ByFamily)
    }
    return cast(T, replace(cast(Any, parameters), **resolved)) if resolved else parameters
