"""MTA (arXiv 2405.02266): the mode of the views, found by mean shift along with the trust in each view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from apm_tta.methods.base import Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import by_images, in_full_precision, view_scales
from apm_tta.methods.parameter_types import Scale, Share, Steps, Views, Weight
from apm_tta.methods.parameters import Templates
from apm_tta.methods.presets import Preset, Published
from apm_tta.methods.view_method import ViewMethod

# Squared bandwidth below which views are equal except for rounding: blank crops of a flat image.
_MIN_BANDWIDTH = 1e-8


@dataclass(frozen=True)
class MTAParameters:
    """Parameters of ``mta``.

    Attributes:
        views: N, the evaluation crop included; 64 (paper and code).
        lambda_y: weight of the inlierness scores' entropy; 0.2 (paper and code).
        lambda_q: weight of the views' affinity; 4 (paper and code).
        rounds: number of rounds that update inlierness and mode in turn; 5 (code).
        inner_steps: largest number of steps of either in a round; 5 (code).
        tolerance: a change of norm below it ends the steps of a round; 1e-6 (code).
        nearest: share of the other views that determines a view's bandwidth; 0.3 (paper and code), rounded down, at
            least one.
        preset: ``published`` is all as in the authors' script; ``suite``.
        templates: of the class weights.
    """

    views: Views = 64
    lambda_y: Scale = 0.2
    lambda_q: Weight = 4.0
    rounds: Steps = 5
    inner_steps: Steps = 5
    tolerance: Weight = 1e-6
    nearest: Share = 0.3
    preset: Preset = "suite"
    templates: Templates = "dataset"


@register
class MTA(ViewMethod[MTAParameters]):
    """The mode of the views' embeddings, where views that others resemble in feature and prediction count most."""

    name = "mta"
    protocol = "episodic"
    summary = "the mode of the views' embeddings, by robust mean shift"
    paper = "arXiv 2405.02266"
    adapts = "the image embedding"
    revision = 2
    published = Published(
        "MaxZanella/MTA, main.py --mta: a photo of a, for every data set, views without AugMix", {"templates": "simple"}
    )

    def predict(self, batch: Batch) -> Predictions:
        chosen = self.parameters
        views, scales = self.unit_views(batch)
        logits = from_features(
            views,
            self.class_weights,
            scales,
            lambda_y=chosen.lambda_y,
            lambda_q=chosen.lambda_q,
            rounds=chosen.rounds,
            inner_steps=chosen.inner_steps,
            tolerance=chosen.tolerance,
            nearest=chosen.nearest,
        )
        return Predictions(logits)


@in_full_precision
def from_features(views: Tensor, class_weights: Tensor, logit_scale: Tensor | float, **parameters: Any) -> Tensor:
    r"""Compute logits ``(..., C)`` of the mode; the arguments are those of ``consensus``.

    .. math:: \ell_c = \bar s \, m \cdot w_c

    If every view has its own scale, the mode is multiplied by their mean.
    """
    mode = consensus(views, class_weights, logit_scale, **parameters)
    return view_scales(views, logit_scale).mean(-2) * mode @ class_weights.T


@in_full_precision
def consensus(
    views: Tensor,
    class_weights: Tensor,
    logit_scale: Tensor | float,
    *,
    lambda_y: float = 0.2,
    lambda_q: float = 4.0,
    rounds: int = 5,
    inner_steps: int = 5,
    tolerance: float = 1e-6,
    nearest: float = 0.3,
) -> Tensor:
    r"""Find the mode m of the views, a unit vector ``(..., F)``.

    .. math::
        y &\leftarrow \operatorname{softmax}_p \bigl( (K(f_p, m) + \lambda_q \textstyle\sum_q w_{pq} y_q)
            / \lambda_y \bigr), \qquad w_{pq} = p(\cdot \mid f_p) \cdot p(\cdot \mid f_q) \\
        m &\leftarrow \frac{\sum_p y_p K(f_p, m) f_p}{\lVert \sum_p y_p K(f_p, m) f_p \rVert}, \qquad
            K(f_p, m) = \exp \Bigl( -\frac{\lVert f_p - m \rVert^2}{2 h_p^2} \Bigr), \qquad
            h_p^2 = \frac{1}{2 |N_p|} \sum_{q \in N_p} \lVert f_p - f_q \rVert^2

    N_p are the views nearest to view p, excluding itself. y starts uniform, m at view 0. Steps of y and of m alternate
    in rounds; within a round the kernel in y's steps uses the m from the start of the round. As in the authors' code, m
    is projected onto the unit sphere after every step.

    Args:
        views: unit rows, ``(..., N, F)``.
        class_weights: unit rows, ``(C, F)``.
        logit_scale: one for all, or one per view, ``(..., N, 1)``.
        lambda_y: for this and the following arguments see ``MTAParameters``.
    """

    def of(some: Tensor, scales: Tensor) -> tuple[Tensor]:
        probabilities = (scales * some @ class_weights.T).softmax(-1)
        return (probabilities @ probabilities.mT,)

    (affinity,) = by_images(of, views, logit_scale, len(class_weights))
    # From products in float64, the distances of nearly equal views are still no rounding.
    precise = views.double()
    products = precise @ precise.mT
    squares = products.diagonal(dim1=-2, dim2=-1)
    bandwidths = _squared_bandwidths(squares[..., :, None] + squares[..., None, :] - 2 * products, nearest)
    steps = _Steps(lambda_y, lambda_q, rounds, inner_steps, tolerance)
    images = views.ndim - 2
    parts = [each.reshape(-1, *each.shape[images:]) for each in (affinity.double(), products, bandwidths)]
    weights = _mode_weights(parts, steps).reshape(*views.shape[:-2], 1, views.shape[-2])
    return normalize((weights @ precise).squeeze(-2), dim=-1).to(views.dtype)


class _Steps(NamedTuple):
    lambda_y: float
    lambda_q: float
    rounds: int
    inner_steps: int
    tolerance: float


def _mode_weights(of_views: Sequence[Tensor], steps: _Steps) -> Tensor:
    """Find the mode as a sum of the views: the weights of its terms ``(B, N)``, float64.

    Its products with the views, and so all distances, follow from those among the views: no step is as long as an
    embedding. The steps are many and tiny, so on a CPU NumPy takes them, whose calls cost a third of torch's; and what
    no longer moves is not asked again. A GPU takes all of them, so that nothing waits for it.

    Args:
        of_views: affinities and products of every two of them, ``(B, N, N)`` each, and twice the squared bandwidth of
            every one, ``(B, N)``; float64.
        steps: how far to go.
    """
    if of_views[0].device.type != "cpu":
        weights: Tensor = _iterate(torch, of_views, steps, early=False)
        return weights
    return torch.from_numpy(_iterate(np, [each.numpy() for each in of_views], steps, early=True))


def _iterate(xp: Any, of_views: Sequence[Any], steps: _Steps, *, early: bool) -> Any:
    """Take the steps of ``_mode_weights`` with NumPy or torch, which ``xp`` is: they share these functions' names."""
    affinity, products, bandwidths = of_views
    squares = xp.diagonal(products, 0, -2, -1)
    falls, raises = -1 / bandwidths, affinity * (steps.lambda_q / steps.lambda_y)
    scores = xp.full_like(bandwidths, 1 / bandwidths.shape[-1])
    weights = xp.zeros_like(bandwidths)
    weights[:, 0] = 1
    near = products[:, 0]  # products of the mode, view 0 at first, with every view
    density = xp.exp((squares + squares[:, :1] - 2 * near) * falls)
    # From the first step on the mode is a unit vector.
    from_unit, twice = (squares + 1) * falls, 2 * falls
    for _ in range(steps.rounds):
        base, moving = density / steps.lambda_y, True
        for _ in range(steps.inner_steps):
            raised = base + (scores[:, None] @ raises)[:, 0]
            powers = xp.exp(raised - xp.amax(raised, -1)[:, None])
            updated = powers / powers.sum(-1)[:, None]
            change = updated - scores
            scores = updated if moving is True else xp.where(moving, updated, scores)
            moving = _still(moving, (change * change).sum(-1), steps)
            if early and not moving.any():
                break
        moving = True
        for _ in range(steps.inner_steps):
            updated = density * scores
            nearer = (updated[:, None] @ products)[:, 0]
            norm = xp.sqrt((updated * nearer).sum(-1))[:, None]
            updated, nearer = updated / norm, nearer / norm
            change = ((updated - weights) * (nearer - near)).sum(-1)
            if moving is True:
                weights, near = updated, nearer
            else:
                weights, near = xp.where(moving, updated, weights), xp.where(moving, nearer, near)
            density = xp.exp(from_unit - twice * near)
            moving = _still(moving, change, steps)
            if early and not moving.any():
                break
    return weights


def _still(moving: Any, change: Any, steps: _Steps) -> Any:
    """Return which images still move ``(B, 1)``: those that did, and changed by no less than the tolerance."""
    return (change >= steps.tolerance**2)[:, None] & moving


def _squared_bandwidths(distances: Tensor, nearest: float) -> Tensor:
    """Compute the mean squared distance of each view to its nearest ``(..., N)``, from all of them ``(..., N, N)``."""
    others = distances.shape[-1] - 1
    if others == 0:
        return torch.full_like(distances[..., 0], 2 * _MIN_BANDWIDTH)
    count = max(1, int(nearest * others))
    # A view is the nearest to itself, at distance 0. On a CPU NumPy's partition takes a fifth of topk's time.
    if distances.device.type == "cpu":
        closest = torch.from_numpy(np.partition(distances.numpy(), count, axis=-1)[..., : count + 1])
    else:
        closest = distances.topk(count + 1, dim=-1, largest=False, sorted=False).values
    return (closest.sum(-1) / count).clamp_min(2 * _MIN_BANDWIDTH)
