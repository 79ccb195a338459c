"""What a setting of a stream states: the order of its images, and how often it shows which condition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, cast

from pydantic import ValidationError

from apm_tta.configuration import Configuration, one_line
from apm_tta.data.sample import Condition
from apm_tta.errors import UserError
from apm_tta.randomness import numpy_generator
from apm_tta.registry import Registry

if TYPE_CHECKING:
    from apm_tta.data.layouts import Entry

    Place = tuple[Condition, Entry]
    """An image and the condition under which the methods see it."""

Reset = Literal["corruption", "dataset", "never"]
USUAL_BATCH = 64
"""Images at once of methods that take any number, where an order depends on it."""

T = TypeVar("T")


class StreamSetting(Configuration):
    """A setting is a frozen model whose fields are its parameters: each becomes an option of the command line.

    A subclass states ``name`` and the field ``description`` of each parameter, and is registered by ``register``. Most
    arrange the images of one condition; what orders several together, or shows one more than once, overrides more.

    Attributes:
        name: as on the command line and in the results table.
        default_reset: where online methods are reset unless the run says otherwise.
    """

    name: ClassVar[str]
    default_reset: ClassVar[Reset] = "corruption"

    def check(self, conditions: Sequence[Condition], reset: Reset | int) -> None:
        """Refuse conditions and resets that the stream cannot have.

        Args:
            conditions: of the run, in its order.
            reset: see ``between_resets``.

        Raises:
            UserError: in one line. Exit code 2.
        """

    def check_images(self, entries: Sequence[Entry], batch: int | None) -> None:
        """Refuse images of one condition that cannot be shown so.

        Args:
            entries: all of them.
            batch: images at once of a method that is to see them; None for any number.

        Raises:
            UserError: in one line. Exit code 2.
        """

    def between_resets(self, conditions: Iterable[Condition], reset: Reset | int) -> list[list[Condition]]:
        """Return the conditions of every stream.

        Args:
            conditions: of the run, in its order.
            reset: at every condition (``corruption``), at every severity (``dataset``: ImageNet-C at one severity is
                what the literature calls a data set), only at the start (``never``), or every so many steps of a
                method, wherever that is in the one stream of all conditions.
        """
        groups: dict[object, list[Condition]] = {}
        for condition in conditions:
            keys: dict[object, object] = {"corruption": condition, "dataset": condition.severity}
            groups.setdefault(keys.get(reset), []).append(condition)
        return list(groups.values())

    def passes(self, conditions: Sequence[Condition]) -> list[Condition]:
        """Return the conditions of one stream as often, and in the order, as they are shown: each once."""
        return list(conditions)

    def order(self, passes: Sequence[tuple[Condition, Sequence[Entry]]], seed: int, batch: int | None) -> list[Place]:
        """Return the images of one stream in its order: pass after pass.

        Args:
            passes: of ``passes``, each with its images in the data set's order.
            seed: of every draw.
            batch: images at once of the methods that see it; None for any number.
        """
        places: list[Place] = []
        earlier: Counter[Condition] = Counter()
        for condition, entries in passes:
            earlier[condition] += 1
            again = f", pass {earlier[condition]}" if earlier[condition] > 1 else ""
            arranged = self.arrange(entries, seed, f"{condition}{again}", batch)
            places += [(condition, entry) for entry in arranged]
        return places

    def arrange(self, entries: Sequence[Entry], seed: int, name: str, batch: int | None) -> list[Entry]:
        """Return the images of one pass in their order: shuffled; ``name`` tells draws of one seed apart."""
        return shuffled(entries, seed, name)

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters by name."""
        return self.model_dump()

    def __str__(self) -> str:
        return " ".join([self.name, *(f"{name}={value}" for name, value in self.parameters.items())])


def shuffled(items: Sequence[T], seed: int, name: str) -> list[T]:
    """Return ``items`` in an order drawn from the seed."""
    order = numpy_generator(seed, name, "order of the stream").permutation(len(items))
    return [items[position] for position in order]


def _admit(name: str, setting: type[StreamSetting], _point: object) -> None:
    """Refuse what is no setting, and a setting that calls itself otherwise.

    Raises:
        UserError: in one line.
    """
    if not (isinstance(setting, type) and issubclass(setting, StreamSetting)):
        raise UserError(f"{setting!r} is not a setting of streams: register a class Mine(StreamSetting)")
    if setting.name != name:
        raise UserError(f"setting {name!r} calls itself {setting.name!r}; give it one name")


SETTINGS: Registry[type[StreamSetting]] = Registry("setting", _admit)
S = TypeVar("S", bound=type[StreamSetting])


def register(setting: S) -> S:
    """Register a setting under its ``name``."""
    return cast(S, SETTINGS.register(setting.name)(setting))


def build_setting(name: str, parameters: Mapping[str, Any] | None = None) -> StreamSetting:
    """Build the setting of that name.

    Args:
        name: of a setting.
        parameters: those that are not to have their defaults, by name.

    Raises:
        UnknownName: listing the settings that exist.
        UserError: for a parameter that the setting does not have, or an impossible value. Exit code 2.
    """
    kind = SETTINGS.get(name)
    for parameter in parameters or {}:
        if parameter not in kind.model_fields:
            others = [other for other in SETTINGS.names() if parameter in SETTINGS.get(other).model_fields]
            option = f"--{parameter.replace('_', '-')}"
            raise UserError(
                f"{option} has no effect: setting {name} has no {parameter}"
                + (f"; --setting {' or '.join(others)} has one" if others else ""),
                exit_code=2,
            )
    try:
        return kind.model_validate(dict(parameters or {}))
    except ValidationError as error:
        raise UserError(f"setting {name}, {one_line(error)}", exit_code=2) from None
