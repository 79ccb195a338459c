"""Selection of confident views, introduced by TPT (arXiv 2209.07511) and adopted by many methods."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar, cast

import torch
from torch import Tensor

from apm_tta.precision import full_precision

P = ParamSpec("P")
R = TypeVar("R")

_LOGITS_AT_ONCE = 2**18
"""Of views on a CPU, 1 MiB: what is computed of more together no longer fits its caches."""


def in_full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function to compute matrix products in float32, and take halves as float32, even under autocast.

    Views are selected, and votes counted, by differences that bfloat16 rounds away: it rounds a logit of 25 to eighths.
    """

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        tensors = [argument for argument in args if isinstance(argument, Tensor)]
        precise = [argument.to(_precise(argument)) if isinstance(argument, Tensor) else argument for argument in args]
        with full_precision(tensors[0].device.type):
            return cast(Callable[..., R], function)(*precise, **kwargs)

    return wrapped


def entropy(logits: Tensor) -> Tensor:
    r"""Compute the entropy ``(...)``, nats, of the softmax of logits ``(..., C)``.

    .. math:: H(p) = -\sum_c p_c \log p_c
    """
    # From log-probabilities: a probability that rounds to zero would yield 0 * log 0.
    log_probabilities = logits.log_softmax(-1, dtype=_precise(logits))
    return -(log_probabilities.exp() * log_probabilities).sum(-1)


def marginal_entropy(logits: Tensor) -> Tensor:
    r"""Compute the entropy ``(...)``, nats, of the mean probability of N views, from logits ``(..., N, C)``.

    .. math:: H(\bar p), \qquad \bar p = \frac{1}{N} \sum_k p(\cdot \mid \tilde x_k)
    """
    log_mean = logits.log_softmax(-1, dtype=_precise(logits)).logsumexp(-2) - math.log(logits.shape[-2])
    return -(log_mean.exp() * log_mean).sum(-1)


def number_kept(views: int, share: float) -> int:
    """Return the number of views to keep: their ``share`` rounded down, as in all authors' code, at least one."""
    return max(1, int(views * share))


def lowest_entropy(logits: Tensor, share: float) -> Tensor:
    """Return indices ``(..., K)`` of the most confident ``share`` of N views, best first, from logits ``(..., N, C)``.

    Views of equal entropy keep their order. Nothing is differentiated.
    """
    order = _entropy_of_values(logits.detach()).argsort(dim=-1, stable=True)
    return order[..., : number_kept(logits.shape[-2], share)]


def confident_views(views: Tensor, class_weights: Tensor, logit_scale: Tensor | float, share: float) -> Tensor:
    """Return what ``lowest_entropy`` returns for the logits of views ``(..., N, F)``, without holding all of these.

    The class weights are ``(C, F)``; the scale is one for all, or one per view, ``(..., N, 1)``.
    """

    def of(some: Tensor, scales: Tensor) -> tuple[Tensor]:
        return (_entropy_of_values(scales * some @ class_weights.T),)

    (entropies,) = by_images(of, views, logit_scale, len(class_weights))
    order: Tensor = entropies.argsort(dim=-1, stable=True)
    return order[..., : number_kept(views.shape[-2], share)]


def _entropy_of_values(logits: Tensor) -> Tensor:
    r"""Compute ``entropy`` with half the exponentials, which are most of its time; for a gradient it is no quicker.

    .. math:: H = \log Z - \frac{1}{Z} \sum_c e^{d_c} d_c, \qquad d = \ell - \max_c \ell_c, \qquad Z = \sum_c e^{d_c}
    """
    below = logits.to(_precise(logits)) - logits.amax(-1, keepdim=True)
    powers = below.exp()
    total = powers.sum(-1)
    mean: Tensor = torch.linalg.vecdot(powers, below) / total
    return total.log() - mean


def select(values: Tensor, indices: Tensor) -> Tensor:
    """Return the rows ``indices`` ``(..., K)`` of ``values`` ``(..., N, D)`` as ``(..., K, D)``."""
    return values.take_along_dim(indices[..., None], dim=-2)


def view_scales(views: Tensor, logit_scale: Tensor | float) -> Tensor:
    """Return the factors ``(..., N, 1)`` that turn cosines of the views ``(..., N, F)`` into logits."""
    return torch.as_tensor(logit_scale, dtype=views.dtype, device=views.device).expand(*views.shape[:-1], 1)


def by_images(
    compute: Callable[[Tensor, Tensor], tuple[Tensor, ...]], views: Tensor, logit_scale: Tensor | float, classes: int
) -> list[Tensor]:
    """Apply a function of views and scales to any number of images: on a CPU, to so many at once as fit its caches.

    Args:
        compute: takes views ``(b, N, F)`` and their scales ``(b, N, 1)``; returns some ``(b, ...)``.
        views: ``(..., N, F)``.
        logit_scale: one for all, or one per view, ``(..., N, 1)``.
        classes: C, whose logits it computes.

    Returns:
        What it makes of all of them; the first dimension becomes those of the images.
    """
    scales = view_scales(views, logit_scale).reshape(-1, views.shape[-2], 1)
    flat = views.reshape(-1, *views.shape[-2:])
    together = max(1, _LOGITS_AT_ONCE // (flat.shape[1] * classes)) if flat.device.type == "cpu" else len(flat)
    parts = zip(flat.split(together), scales.split(together), strict=True)
    computed = zip(*(compute(*part) for part in parts), strict=True)
    return [torch.cat(some).reshape(*views.shape[:-2], *some[0].shape[1:]) for some in computed]


def _precise(values: Tensor) -> torch.dtype:
    """Return the type in which to compute entropies of ``values``: float32 for halves."""
    return torch.promote_types(values.dtype, torch.float32)
