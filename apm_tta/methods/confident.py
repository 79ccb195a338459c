"""Which views a prediction is sure of: the idea that TPT (arXiv 2209.07511) brought and many methods took over."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar, cast

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def in_full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate so that under autocast too, matrix products inside are those of float32, and halves come in as float32.

    Views are chosen, and votes counted, by differences that bfloat16 rounds away: a logit of 25 to the next eighth.
    """

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        tensors = [argument for argument in args if isinstance(argument, Tensor)]
        precise = [argument.to(_precise(argument)) if isinstance(argument, Tensor) else argument for argument in args]
        with torch.autocast(tensors[0].device.type, enabled=False):
            return cast(Callable[..., R], function)(*precise, **kwargs)

    return wrapped


def entropy(logits: Tensor) -> Tensor:
    r"""Compute the entropy ``(...)``, nats, of the softmax of logits ``(..., C)``.

    .. math:: H(p) = -\sum_c p_c \log p_c
    """
    # Of log-probabilities: a probability that rounds to zero would make 0 * log 0.
    log_probabilities = logits.log_softmax(-1, dtype=_precise(logits))
    return -(log_probabilities.exp() * log_probabilities).sum(-1)


def marginal_entropy(logits: Tensor) -> Tensor:
    r"""Compute the entropy ``(...)``, nats, of the mean probability of N views, from logits ``(..., N, C)``.

    .. math:: H(\bar p), \qquad \bar p = \frac{1}{N} \sum_k p(\cdot \mid \tilde x_k)
    """
    log_mean = logits.log_softmax(-1, dtype=_precise(logits)).logsumexp(-2) - math.log(logits.shape[-2])
    return -(log_mean.exp() * log_mean).sum(-1)


def kept_views(views: int, share: float) -> int:
    """Count how many of so many views a share is: rounded down, as every author does, and at least one."""
    return max(1, int(views * share))


def lowest_entropy(logits: Tensor, share: float) -> Tensor:
    """Return indices ``(..., K)`` of the share of N views that is surest, surest first, from logits ``(..., N, C)``.

    Views of the same entropy keep their order.
    """
    order = entropy(logits).argsort(dim=-1, stable=True)
    return order[..., : kept_views(logits.shape[-2], share)]


def select(values: Tensor, indices: Tensor) -> Tensor:
    """Return rows ``indices`` ``(..., K)`` of ``values`` ``(..., N, D)``, ``(..., K, D)``."""
    return values.take_along_dim(indices[..., None], dim=-2)


def scale_of_views(views: Tensor, logit_scale: Tensor | float) -> Tensor:
    """Return what the cosines of each of the views ``(..., N, F)`` are multiplied by, ``(..., N, 1)``."""
    return torch.as_tensor(logit_scale, dtype=views.dtype, device=views.device).expand(*views.shape[:-1], 1)


def _precise(values: Tensor) -> torch.dtype:
    """Return the type that entropies of ``values`` are computed in: float32 for halves."""
    return torch.promote_types(values.dtype, torch.float32)
