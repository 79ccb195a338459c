"""ZERO (arXiv 2405.18330): a majority vote of the confident views."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from apm_tta.methods.base import Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import by_images, in_full_precision, lowest_entropy, number_kept, select
from apm_tta.methods.parameter_types import Share, Views
from apm_tta.methods.parameters import Templates
from apm_tta.methods.presets import Preset, Published
from apm_tta.methods.view_method import ViewMethod

# So small that it only ranks classes with equal votes.
_TIE_BREAK_SCALE = 1e-5


@dataclass(frozen=True)
class ZeroParameters:
    """Parameters of ``zero``.

    Attributes:
        views: N, the evaluation crop included; 64 (paper and code).
        share: share of the views, those of lowest entropy, that votes; 0.3 (the authors' code since its last change;
            the paper's first version and the earlier code had 0.1).
        preset: ``published`` is all as in the authors' script; ``suite``.
        templates: of the class weights.
    """

    views: Views = 64
    share: Share = 0.3
    preset: Preset = "suite"
    templates: Templates = "dataset"


@register
class Zero(ViewMethod[ZeroParameters]):
    """A majority vote of the confident views: their mean probability at temperature zero."""

    name = "zero"
    protocol = "episodic"
    summary = "majority vote of confident views"
    paper = "arXiv 2405.18330"
    adapts = "nothing"
    revision = 2
    published = Published(
        "FarinaMatteo/zero, scripts/zero.sh: a_photo_of_a for every data set, without --templates",
        {"templates": "simple"},
    )
    votes = True

    def predict(self, batch: Batch) -> Predictions:
        views, scales = self.unit_views(batch)
        return Predictions(from_features(views, self.class_weights, scales, self.parameters.share))


@in_full_precision
def from_features(views: Tensor, class_weights: Tensor, logit_scale: Tensor | float, share: float = 0.3) -> Tensor:
    r"""Count the votes and add the voters' mean probability, scaled far below a vote, to rank classes of equal votes.

    .. math:: \ell_c = v_c + \varepsilon \frac{1}{|S|} \sum_{k \in S} p_c(f_k)

    The second term is this suite's: without it, four of the five best classes would usually be those of lowest index.

    Args:
        views: unit rows, ``(..., N, F)``.
        class_weights: unit rows, ``(C, F)``.
        logit_scale: one for all, or one per view, ``(..., N, 1)``.
        share: share of the views that votes, rounded down, at least one.

    Returns:
        Logits ``(..., C)``.
    """

    def of(some: Tensor, scales: Tensor) -> tuple[Tensor]:
        logits = scales * some @ class_weights.T
        order = lowest_entropy(logits, 1)
        voters = order[..., : number_kept(logits.shape[-2], share)]
        mean_probability = select(logits, voters).softmax(-1).mean(-2)
        return (_count_votes(logits, order, voters.shape[-1]) + _TIE_BREAK_SCALE * mean_probability,)

    (answers,) = by_images(of, views, logit_scale, len(class_weights))
    return answers


def count_votes(logits: Tensor, share: float = 0.3) -> Tensor:
    r"""Count how many confident views predict each class, ``(..., C)``, from logits of N views ``(..., N, C)``.

    .. math:: v_c = \sum_{k \in S} \lim_{\tau \to 0} \operatorname{softmax}(\ell_k / \tau)_c
        = \Bigl| \bigl\{ k \in S : \arg\max_{c'} \ell_{k c'} = c \bigr\} \Bigr|

    If several classes have the most votes, one of them gets one more, as in the authors' code: the first that the
    remaining views predict, in order of confidence. For the remaining views the code takes those after the first
    :math:`|S|` in the order of their creation, which include voters; here they are the views that did not vote.

    If these predict none of the tied classes, the most confident of them (of all views, if none remains) decides which
    tied class is most probable. The code intends the same, but masks other classes than those that are not tied.
    """
    return _count_votes(logits, lowest_entropy(logits, 1), number_kept(logits.shape[-2], share))


def _count_votes(logits: Tensor, order: Tensor, count: int) -> Tensor:
    """Count the votes of the first ``count`` views in the ``order`` ``(..., N)`` of their confidence."""
    classes = logits.shape[-1]
    predicted = logits.argmax(-1).gather(-1, order)
    counts = one_hot(predicted[..., :count], classes).sum(-2).to(logits.dtype)
    tied = counts == counts.amax(-1, keepdim=True)
    decisive = order[..., count % order.shape[-1], None]
    likeliest = select(logits, decisive).squeeze(-2).masked_fill(~tied, -torch.inf).argmax(-1, keepdim=True)
    candidates = torch.cat([predicted[..., count:], likeliest], dim=-1)
    first = tied.gather(-1, candidates).int().argmax(-1, keepdim=True)
    one_more = (tied.sum(-1, keepdim=True) > 1).to(counts.dtype)
    return counts.scatter_add(-1, candidates.gather(-1, first), one_more)
