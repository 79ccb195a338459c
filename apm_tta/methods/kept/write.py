"""A method's values as JSON and tensors."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from apm_tta.errors import UserError
from apm_tta.methods.kept.places import CODE, Constants, optimizer_parts

if TYPE_CHECKING:
    from apm_tta.methods.base import Method


class Writer:
    """Turns values into plain ones: ``None``, numbers and texts are themselves, all else is ``{kind: content}``.

    Attributes:
        tensors: those that were found, by their number as text, on the CPU.
    """

    def __init__(self, method: Method[Any]) -> None:
        self._row = method.given.row
        self._constants = Constants(method)
        self.tensors: dict[str, Tensor] = {}

    def plain(self, value: Any, path: str) -> Any:
        """Return a value as JSON holds it.

        Args:
            value: to be stored.
            path: where it stands, for the message.

        Raises:
            UserError: when it cannot be stored.
        """
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"float": repr(value)}
        if value in self._constants or isinstance(value, (nn.Module, *CODE)):
            raise self._refusal(value, path)
        if isinstance(value, Tensor):
            number = str(len(self.tensors))
            self.tensors[number] = value.detach().cpu().clone().contiguous()
            return {"tensor": number}
        if isinstance(value, torch.Generator):
            return {"generator": self.plain(value.get_state(), path)}
        if isinstance(value, torch.optim.Optimizer):
            moments, settings = optimizer_parts(value)
            return {"optimizer": [self.plain(moments, path), self.plain(settings, path)]}
        if type(value) in (list, tuple, deque):
            return {type(value).__name__: [self.plain(child, path) for child in value]}
        if isinstance(value, dict):
            return {"dict": [[self.plain(key, path), self.plain(child, path)] for key, child in value.items()]}
        if type(value) in (set, frozenset):
            return {type(value).__name__: [self.plain(child, path) for child in value]}
        if hasattr(value, "_fields") or is_dataclass(value) or hasattr(value, "__dict__"):
            kind = type(value)
            parts = value._asdict() if hasattr(value, "_fields") else vars(value)
            named = [[name, self.plain(child, f"{path}/{name}")] for name, child in parts.items()]
            return {"object": [f"{kind.__module__}:{kind.__qualname__}", named]}
        raise self._refusal(value, path)

    def _refusal(self, value: Any, path: str) -> UserError:
        place = path.strip("/").replace("/", ".")
        return UserError(
            f"method {self._row} keeps {place}, a {type(value).__name__}, from image to image, which cannot be stored; "
            "keep tensors, numbers and texts, in lists, dictionaries or objects"
        )
