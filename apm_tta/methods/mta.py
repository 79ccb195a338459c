"""MTA (arXiv 2405.02266): the mode of the views, found by mean shift along with the trust in each view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from apm_tta.methods.base import Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import in_full_precision, view_scales
from apm_tta.methods.parameter_types import Scale, Share, Steps, Views, Weight
from apm_tta.methods.parameters import Templates
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
        templates: of the class weights.
    """

    views: Views = 64
    lambda_y: Scale = 0.2
    lambda_q: Weight = 4.0
    rounds: Steps = 5
    inner_steps: Steps = 5
    tolerance: Weight = 1e-6
    nearest: Share = 0.3
    templates: Templates = "dataset"


@register
class MTA(ViewMethod[MTAParameters]):
    """The mode of the views' embeddings, where views that others resemble in feature and prediction count most."""

    name = "mta"
    protocol = "episodic"
    summary = "the mode of the views' embeddings, by robust mean shift"
    paper = "arXiv 2405.02266"
    adapts = "the image embedding"

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
    probabilities = (view_scales(views, logit_scale) * views @ class_weights.T).softmax(-1)
    affinity = probabilities @ probabilities.transpose(-1, -2)
    doubled_bandwidths = 2 * _squared_bandwidths(views, nearest)

    def kernel(mode: Tensor) -> Tensor:
        return torch.exp(-(views - mode[..., None, :]).square().sum(-1) / doubled_bandwidths)

    scores = torch.full_like(doubled_bandwidths, 1 / views.shape[-2])
    mode = views[..., 0, :]
    for _ in range(rounds):
        density = kernel(mode)
        moving = torch.ones_like(mode[..., :1], dtype=torch.bool)
        for _ in range(inner_steps):
            weighted = (affinity @ scores[..., None]).squeeze(-1)
            updated = ((density + lambda_q * weighted) / lambda_y).softmax(-1)
            scores, moving = _step(scores, updated, moving, tolerance)
        moving = torch.ones_like(moving)
        for _ in range(inner_steps):
            weights = scores * kernel(mode)
            updated = normalize((weights[..., None, :] @ views).squeeze(-2), dim=-1)
            mode, moving = _step(mode, updated, moving, tolerance)
    return mode


def _step(before: Tensor, updated: Tensor, moving: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Update the values that were still moving ``(..., 1)``; return all values and which of them still move."""
    after = torch.where(moving, updated, before)
    return after, moving & ((after - before).norm(dim=-1, keepdim=True) >= tolerance)


def _squared_bandwidths(views: Tensor, nearest: float) -> Tensor:
    """Compute half the mean squared distance of each view ``(..., N, F)`` to its nearest, ``(..., N)``."""
    others = views.shape[-2] - 1
    if others == 0:
        return torch.full_like(views[..., 0], _MIN_BANDWIDTH)
    # From differences: from products, the distances of nearly equal views would be nothing but rounding.
    distances = torch.cdist(views, views, compute_mode="donot_use_mm_for_euclid_dist")
    count = max(1, int(nearest * others))
    squared = distances.sort(dim=-1).values[..., 1 : count + 1].square()
    return (0.5 * squared.mean(-1)).clamp_min(_MIN_BANDWIDTH)
