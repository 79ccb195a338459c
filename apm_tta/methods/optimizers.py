"""The optimisers of mariodoebler/test-time-adaptation, from which CoTTA, ROID and CMF have theirs here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

Optimizer = Literal["sgd", "adam"]


def new_optimizer(kind: Optimizer, parameters: Iterable[Tensor], rate: float) -> torch.optim.Optimizer:
    """Make Adam, or SGD with Nesterov momentum 0.9, with learning rate ``rate``."""
    if kind == "adam":
        return torch.optim.Adam(parameters, lr=rate)
    return torch.optim.SGD(parameters, lr=rate, momentum=0.9, nesterov=True)
