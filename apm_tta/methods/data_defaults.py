"""Defaults that a paper chooses by the data set or its family: declared with the parameter, resolved in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, fields, replace
from typing import Any, NamedTuple, TypeVar, cast

from apm_tta.data.cards import card_names, load_card
from apm_tta.data.task import Family, Task
from apm_tta.errors import UserError

T = TypeVar("T")
_NONE = object()


class ByData(NamedTuple):
    """A default with exceptions for a few data sets, or families of them.

    Attributes:
        general: the value for data sets without one of their own.
        families: families with a value of their own, and that value.
        datasets: likewise single data sets, which come before their families.
        stated: field of a data set's card whose value counts before that of its family; empty for none.
    """

    general: Any
    families: tuple[tuple[Family, Any], ...] = ()
    datasets: tuple[tuple[str, Any], ...] = ()
    stated: str = ""

    def value(self, task: Task) -> Any:
        """Return the default for the data set of ``task``.

        Raises:
            UserError: when there is none for it. Exit code 2.
        """
        own = dict(self.datasets)
        if self.stated and task.dataset not in own and task.dataset in card_names():
            of_card = getattr(load_card(task.dataset), self.stated)
        else:
            of_card = None
        by_family = dict(self.families).get(task.family, self.general)
        value = own.get(task.dataset, by_family if of_card is None else of_card)
        if value is _NONE:
            known = ", ".join(name for name, _ in self.datasets)
            raise UserError(f"its authors have no value for {task.dataset or 'these images'}, only for {known}", 2)
        return value

    def __str__(self) -> str:
        """Format the values as in lists of defaults: ``1 (imagenet: 64)``."""
        named: tuple[tuple[str, Any], ...] = (
            *((f"family {name}", value) for name, value in self.families),
            *self.datasets,
        )
        listed = ", ".join(f"{name}: {value}" for name, value in named)
        listed = f"{listed}; where the data set states its {self.stated}, these" if self.stated else listed
        return listed if self.general is _NONE else f"{self.general} ({listed})"


def by_family(
    general: T, exceptions: Mapping[Family, T], datasets: Mapping[str, T] | None = None, stated: str = ""
) -> T:
    """Declare a parameter's default by the family of the data set.

    Only for fields of a method's parameters and for presets: ``resolve_defaults`` replaces it by a plain value before
    the method sees it, which is why the declaration has the type of that value.

    Args:
        general: the value for all that the others do not name.
        exceptions: values of single families; hashable, as dataclasses require of defaults.
        datasets: values of single data sets, by the names of their cards.
        stated: field of the card, such as ``images``, whose value counts before that of the family where there is one.
    """
    return cast(T, ByData(general, tuple(exceptions.items()), tuple((datasets or {}).items()), stated))


def by_dataset(datasets: Mapping[str, T]) -> T:
    """Declare a value for each of some data sets; for others there is none, and they are refused."""
    return cast(T, ByData(_NONE, (), tuple(datasets.items())))


def depends_on_data(field: Field[Any]) -> bool:
    """Return whether the field's default depends on the data set."""
    return isinstance(field.default, ByData)


def resolve_defaults(parameters: T, task: Task) -> T:
    """Return ``parameters`` with every remaining default by data set replaced by the plain value for that of ``task``.

    Raises:
        UserError: naming the parameter that has none. Exit code 2.
    """
    resolved = {}
    for field in fields(cast(Any, parameters)):
        if isinstance(value := getattr(parameters, field.name), ByData):
            try:
                resolved[field.name] = value.value(task)
            except UserError as error:
                raise UserError(f"{field.name}: {error}", exit_code=2) from None
    return cast(T, replace(cast(Any, parameters), **resolved)) if resolved else parameters
