"""Whether an episodic method answers an image that is its first as it answers it later: asked of user-defined ones.

A method that fits a centre or a scale to the first images that it sees, on itself, its class or in its module, answers
alike within one process, and otherwise in the next: parts of a run would not be one run. One that begins to use what it
kept only after some images is found when a shard ends.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from types import FunctionType, ModuleType
from typing import Any

from apm_tta.errors import UserError
from apm_tta.harness.compute.spot_check import (
    IMAGES,
    differing_answers,
    part_of,
    takes_single_images,
)
from apm_tta.methods import Batch, Method, build_method
from apm_tta.methods.answering import Answers, answer
from apm_tta.sources.method_source import is_package_method


class FreshStart:
    """What user-defined methods were before they had answered anything.

    Args:
        methods: of this process; those of the package are tested instead.
        parameters: of every method, by its name.
    """

    def __init__(self, methods: Iterable[Method[Any]], parameters: Mapping[str, Any]) -> None:
        self._parameters = parameters
        kinds = {type(method) for method in methods if not is_package_method(type(method))}
        classes = {each for kind in kinds for each in kind.__mro__ if issubclass(each, Method)}
        own = [each for each in classes if not is_package_method(each)]
        self._kinds = kinds
        self._earlier: dict[Method[Any], tuple[Batch, Answers]] = {}
        self._namespaces = [*(_Attributes(each) for each in own), *(_Globals(names) for names in _globals(own))]

    def refuse_memory(self, method: Method[Any], batch: Batch, together: Sequence[Answers]) -> None:
        """Refuse a method that answers images of ``batch`` otherwise where each is the first that it sees.

        Args:
            method: of this process.
            batch: of at least two images.
            together: its answers for them.

        Raises:
            UserError: in one line that names the method, an image and what to do.
        """
        if not self._concerns(method):
            return
        given = method.given
        asked = sorted({len(batch) // 2, len(batch) - 1})
        first: list[Answers] = []
        for index in asked:
            with ExitStack() as stack:
                for namespace in self._namespaces:
                    stack.enter_context(namespace.as_before())
                parameters = self._parameters[method.given.row]
                fresh = build_method(method.given.row, given.teacher, given.task, parameters, given.seed)
                first.append(answer(fresh, part_of(batch, slice(index, index + 1), given=True), "first"))
        # All of them: a choice between two views may fall the other way at a tie.
        if len(differing_answers(first, together, asked)) == len(asked):
            image = batch.ids[asked[-1]]
            raise _keeps_something(method, image, "where it is the first that it sees")

    def remember(self, method: Method[Any], batch: Batch, together: Sequence[Answers]) -> None:
        """Keep the answers for the first images of a shard, for ``refuse_late_memory``; arguments as there."""
        if self._concerns(method):
            count = min(IMAGES, len(batch))
            self._earlier[method] = part_of(batch, slice(0, count), given=True), together[0].part(slice(0, count))

    def refuse_late_memory(self, method: Method[Any]) -> None:
        """Refuse a method that answers the first images of a shard otherwise once it has answered the others.

        Raises:
            UserError: in one line that names the method, an image and what to do.
        """
        if method not in self._earlier:
            return
        batch, before = self._earlier.pop(method)
        rows = range(min(len(batch), len(before.teacher)))
        now = [answer(method, part_of(batch, slice(row, row + 1), given=True), "at the end") for row in rows]
        if len(differing_answers(now, [before], rows)) == len(rows):
            raise _keeps_something(method, batch.ids[0], "after it has seen others")

    def _concerns(self, method: Method[Any]) -> bool:
        return type(method) in self._kinds and method.protocol == "episodic" and takes_single_images(method)


def _keeps_something(method: Method[Any], image: str, when: str) -> UserError:
    return UserError(
        f"method {method.given.row} answers image {image} otherwise {when}: it keeps something from image to image, "
        "though it is episodic; prepare what all images need in setup(), or state "
        'protocol = "online" and forget it in reset()'
    )


class _Namespace(ABC):
    """The values that a class or a module holds, as they were when this was made."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self._names = names
        self._before = {name: _copied(value) for name, value in self._values().items()}

    @abstractmethod
    def put(self, name: str, value: Any) -> None:
        """Bind a name."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a name."""

    @contextmanager
    def as_before(self) -> Iterator[None]:
        """Put the values back within the block."""
        now = self._values()
        self._set({name: _copied(value) for name, value in self._before.items()})
        try:
            yield
        finally:
            self._set(now)

    def _values(self) -> dict[str, Any]:
        return {name: value for name, value in self._names.items() if _is_value(name, value)}

    def _set(self, values: dict[str, Any]) -> None:
        current = self._values()
        for name in current.keys() - values.keys():
            self.remove(name)
        for name, value in values.items():
            if name not in current or current[name] is not value:
                self.put(name, value)


class _Attributes(_Namespace):
    def __init__(self, owner: type) -> None:
        self._owner = owner
        super().__init__(vars(owner))

    def put(self, name: str, value: Any) -> None:
        setattr(self._owner, name, value)

    def remove(self, name: str) -> None:
        delattr(self._owner, name)


class _Globals(_Namespace):
    def __init__(self, names: dict[str, Any]) -> None:
        self._globals = names
        super().__init__(names)

    def put(self, name: str, value: Any) -> None:
        self._globals[name] = value

    def remove(self, name: str) -> None:
        del self._globals[name]


def _globals(classes: Iterable[type]) -> list[dict[str, Any]]:
    """Return the global names of the functions of classes: those of a notebook are in no module."""
    functions = [value for each in classes for value in vars(each).values() if isinstance(value, FunctionType)]
    return list({id(function.__globals__): function.__globals__ for function in functions}.values())


def _is_value(name: str, value: Any) -> bool:
    """Return whether it may be something that was kept: no code, and nothing of Python's own."""
    own = name.startswith("__") or name == "_abc_impl"
    return not (own or callable(value) or isinstance(value, ModuleType) or hasattr(value, "__get__"))


def _copied(value: Any) -> Any:
    """Return a container's copy, so that what is added to it later is not in it."""
    return copy(value) if isinstance(value, dict | list | set) else value
