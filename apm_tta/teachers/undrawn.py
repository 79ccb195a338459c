"""Models made without drawing the weights that a file is about to replace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

_DRAWS = {Tensor.normal_, Tensor.uniform_, init.normal_, init.uniform_, init.kaiming_uniform_}
"""What fills a tensor with random numbers; ``trunc_normal_`` and other initialisers begin with one of these."""


class Undrawn(TorchFunctionMode):
    """A block in which tensors are filled with ones where they would be filled with random numbers.

    To draw the weights of a large model takes seconds. Ones are not zeros, so that a matrix which an architecture
    begins with zeros is still told from others.
    """

    def __torch_function__(
        self, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Carry out any other operation as it is."""
        named = kwargs or {}
        if function not in _DRAWS:
            return function(*args, **named)
        filled: Tensor = args[0] if args else named["tensor"]
        with torch.no_grad():
            return filled.fill_(1)
