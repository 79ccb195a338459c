"""The model of what a method may return; anything else would become a wrong number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor

from apm_tta.device_copies import host_copies
from apm_tta.errors import UserError
from apm_tta.methods.base import Predictions

_COSINE_SLACK = 0.01
"""By how much bfloat16 may round a cosine past 1."""

_INTEGERS = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8)


@dataclass(frozen=True)
class _Form:
    """What one field holds: a tensor of B rows.

    Attributes:
        kind: ``numbers``: finite, as float32; ``classes``: 0 .. C - 1.
        columns: ``classes``: C; ``iterations``: T + 1, the same in every field; ``none``: it has one dimension.
    """

    kind: Literal["numbers", "classes"]
    columns: Literal["classes", "iterations", "none"]


_MODEL = {
    "logits": _Form("numbers", "classes"),
    "iteration_classes": _Form("classes", "iterations"),
    "losses": _Form("numbers", "iterations"),
    "cosines": _Form("numbers", "iterations"),
    "target_classes": _Form("classes", "none"),
}
assert [field.name for field in fields(Predictions)] == list(_MODEL)


def validated(
    predictions: Any, method: str, ids: Sequence[str], classes: int, beside: Sequence[Tensor] = ()
) -> tuple[Predictions, list[Tensor]]:
    """Return what a method answered as the harness keeps it: on the CPU, with memory of its own, in records' types.

    Args:
        predictions: whatever the method returned.
        method: its name.
        ids: of the B images.
        classes: C.
        beside: other tensors that are wanted on the CPU: a GPU is waited for once.

    Returns:
        The predictions, and copies of ``beside``.

    Raises:
        UserError: in one line with the method's name for anything that does not fit ``Predictions``: type, shape,
            device, values that are not finite in float32, classes that do not exist, cosines beyond 1, iterations that
            end in another class than the highest logit's.
    """
    try:
        formed = _Shapes(ids, classes).whole(predictions)
        names = [name for name in _MODEL if getattr(formed, name) is not None]
        copies = host_copies([*(getattr(formed, name) for name in names), *beside])
        answered = Predictions(**dict(zip(names, copies, strict=False)))
        _Values(ids, classes).check(answered)
    except _Invalid as error:
        raise UserError(f"method {method} answered {error}") from None
    return answered, copies[len(names) :]


class _Invalid(Exception):
    """What is wrong, as the end of a sentence."""


@dataclass
class _Shapes:
    """The form of the fields."""

    ids: Sequence[str]
    classes: int
    iterations: int | None = None

    def whole(self, predictions: Any) -> Predictions:
        if not isinstance(predictions, Predictions):
            raise _Invalid(f"{_named(predictions)}, not Predictions(logits)")
        return Predictions(
            **{
                name: self._field(name, form, getattr(predictions, name))
                for name, form in _MODEL.items()
                if name == "logits" or getattr(predictions, name) is not None
            }
        )

    def _field(self, name: str, form: _Form, value: Any) -> Tensor:
        if not isinstance(value, Tensor):
            raise _Invalid(f"{name} of type {_named(value)}, not a tensor")
        if value.layout != torch.strided or value.device.type == "meta":
            raise _Invalid(f"{name} as a tensor of {value.device.type} with layout {value.layout}; it must hold values")
        fits = value.is_floating_point() if form.kind == "numbers" else value.dtype in _INTEGERS
        if not fits:
            wanted = "floating-point numbers" if form.kind == "numbers" else "integers"
            raise _Invalid(f"{name} of {value.dtype}; they must be {wanted}")
        expected, found = self._shape(form, value), tuple(value.shape)
        if found != expected:
            raise _Invalid(f"{name} of shape {found}, not {expected}")
        return value.detach().to(torch.float32 if form.kind == "numbers" else torch.int64)

    def _shape(self, form: _Form, value: Tensor) -> tuple[int, ...]:
        count = len(self.ids)
        if form.columns == "none":
            return (count,)
        if form.columns == "classes":
            return (count, self.classes)
        if self.iterations is None and value.ndim == 2:
            self.iterations = max(1, value.shape[1])
        return (count, self.iterations or 1)


@dataclass
class _Values:
    """The values of the fields."""

    ids: Sequence[str]
    classes: int

    def check(self, predictions: Predictions) -> None:
        for name, form in _MODEL.items():
            value = getattr(predictions, name)
            if value is not None:
                self._possible(name, form, value)
        self._cosines(predictions)
        self._last_iteration(predictions)

    def _possible(self, name: str, form: _Form, value: Tensor) -> None:
        valid = value.isfinite() if form.kind == "numbers" else (value >= 0) & (value < self.classes)
        if not bool(valid.all()):
            meaning = "not finite" if form.kind == "numbers" else f"not classes from 0 to {self.classes - 1}"
            raise _Invalid(f"{name} that are {meaning}, first for image {self._first(valid)}")

    def _cosines(self, checked: Predictions) -> None:
        if checked.cosines is None:
            return
        possible = checked.cosines.abs() <= 1 + _COSINE_SLACK
        if not bool(possible.all()):
            raise _Invalid(f"cosines beyond 1, first for image {self._first(possible)}")

    def _last_iteration(self, checked: Predictions) -> None:
        if checked.iteration_classes is None or not self.ids:
            return
        # By value: of equal logits either class may be the method's own choice.
        last = checked.logits.gather(1, checked.iteration_classes[:, -1:])
        agreed = last == checked.logits.amax(1, keepdim=True)
        if not bool(agreed.all()):
            raise _Invalid(
                f"iteration_classes that end in another class than its highest logit, first for image "
                f"{self._first(agreed)}"
            )

    def _first(self, valid: Tensor) -> str:
        return self.ids[int((~valid.flatten(1).all(1) if valid.ndim > 1 else ~valid).nonzero()[0])]


def _named(value: Any) -> str:
    return "None" if value is None else f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
