"""ZERO (arXiv 2405.18330): a majority vote of the confident views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor
from torch.nn.functional import one_hot

from apm_tta.methods.base import Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import in_full_precision, kept_views, lowest_entropy, scale_of_views, select
from apm_tta.methods.parameters import Templates
from apm_tta.methods.view_method import ViewMethod

# So little that it ranks only what the votes leave equal.
_BELOW_A_VOTE = 1e-5


@dataclass(frozen=True)
class ZeroParameters:
    """Of ``zero``.

    Attributes:
        views: N, the evaluation crop included; 64 (paper and code).
        share: of the views, those of lowest entropy, that vote; 0.3 (the authors' code since its last change; the
            paper's first version and the code before had 0.1).
        templates: of the class weights.
    """

    views: Annotated[int, Ge(1)] = 64
    share: Annotated[float, Gt(0), Le(1)] = 0.3
    templates: Templates = "dataset"


@register
class Zero(ViewMethod[ZeroParameters]):
    """The class that most of the confident views predict: their mean probability at temperature zero."""

    name = "zero"
    protocol = "episodic"
    summary = "majority vote of confident views"
    paper = "arXiv 2405.18330"
    adapts = "nothing"
    votes = True

    def predict(self, batch: Batch) -> Predictions:
        views, scales = self.unit_views(batch)
        return Predictions(from_features(views, self.class_weights, scales, self.parameters.share))


@in_full_precision
def from_features(views: Tensor, class_weights: Tensor, logit_scale: Tensor | float, share: float = 0.3) -> Tensor:
    r"""Count the votes, and far below them the mean probability of the voters, which ranks classes of equal votes.

    .. math:: \ell_c = v_c + \varepsilon \frac{1}{|S|} \sum_{k \in S} p_c(f_k)

    The second term is this suite's: without it four of the five best classes would mostly be those of lowest index.

    Args:
        views: unit rows, ``(..., N, F)``.
        class_weights: unit rows, ``(C, F)``.
        logit_scale: one for all, or one per view, ``(..., N, 1)``.
        share: of the views that vote, rounded down, at least one.

    Returns:
        Logits ``(..., C)``.
    """
    logits = scale_of_views(views, logit_scale) * views @ class_weights.T
    mean_probability = select(logits, lowest_entropy(logits, share)).softmax(-1).mean(-2)
    return votes(logits, share) + _BELOW_A_VOTE * mean_probability


def votes(logits: Tensor, share: float = 0.3) -> Tensor:
    r"""Count how many of the confident of N views predict each class, ``(..., C)``, from logits ``(..., N, C)``.

    .. math:: v_c = \sum_{k \in S} \lim_{\tau \to 0} \operatorname{softmax}(\ell_k / \tau)_c
        = \Bigl| \bigl\{ k \in S : \arg\max_{c'} \ell_{k c'} = c \bigr\} \Bigr|

    Where several classes have the most votes, one of them gets one more, as in the authors' code: the first that the
    remaining views predict, in order of confidence. The code takes for the remaining views those after the first
    :math:`|S|` in the order in which they were made, voters among them; here they are those that did not vote.

    Where these predict none of the tied classes, the one wins that the surest of them (of all views, where none
    remains) finds likeliest. The code means the same, but leaves out other classes than those that are not tied.
    """
    classes, count = logits.shape[-1], kept_views(logits.shape[-2], share)
    order = lowest_entropy(logits, 1)
    predicted = logits.argmax(-1).gather(-1, order)
    counts = one_hot(predicted[..., :count], classes).sum(-2).to(logits.dtype)
    tied = counts == counts.amax(-1, keepdim=True)
    surest = order[..., count % order.shape[-1], None]
    likeliest = select(logits, surest).squeeze(-2).masked_fill(~tied, -torch.inf).argmax(-1, keepdim=True)
    candidates = torch.cat([predicted[..., count:], likeliest], dim=-1)
    first = tied.gather(-1, candidates).int().argmax(-1, keepdim=True)
    one_more = (tied.sum(-1, keepdim=True) > 1).to(counts.dtype)
    return counts.scatter_add(-1, candidates.gather(-1, first), one_more)
