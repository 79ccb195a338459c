"""The baselines' algorithms as they were published: one image after another, step by step, and nothing made quicker.

Each takes what the encoders made of one image. Written here from the papers and from how the authors' code proceeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import one_hot


def entropies(logits: Tensor) -> Tensor:
    """Compute the entropy of every row, ``(N,)``, from logits ``(N, C)``."""
    return -(logits.softmax(1) * logits.log_softmax(1)).sum(1)


def marginal_entropy(logits: Tensor) -> Tensor:
    """Compute the entropy of the mean probability, from logits ``(K, C)``."""
    log_probabilities = logits - logits.logsumexp(dim=-1, keepdim=True)
    log_mean = log_probabilities.logsumexp(dim=0) - math.log(len(logits))
    log_mean = log_mean.clamp(min=torch.finfo(log_mean.dtype).min)
    return -(log_mean * log_mean.exp()).sum()


def most_confident(logits: Tensor, share: float) -> Tensor:
    """Return the indices of the most confident rows, best first."""
    return entropies(logits).argsort()[: int(len(logits) * share)]


def vte(views: Tensor, class_weights: Tensor, scale: float, share: float = 0.1) -> Tensor:
    """Average the confident views (arXiv 2405.14977)."""
    chosen = most_confident(scale * views @ class_weights.T, share)
    return scale * views[chosen].mean(0) @ class_weights.T


def zero(views: Tensor, class_weights: Tensor, scale: float, share: float = 0.3) -> Tensor:
    """Let the confident views vote, and break ties by the others (arXiv 2405.18330): at temperature zero by softmax."""
    cosines = views @ class_weights.T
    probabilities = (scale * cosines).softmax(1)
    order = -(probabilities * torch.log(probabilities + 1e-10)).sum(1)
    order = order.argsort()
    count = int(len(views) * share)
    votes = (cosines[order[:count]] / torch.finfo(cosines.dtype).eps).softmax(1).sum(0)
    most, likeliest = votes.max(0)
    tied = [likeliest]
    for index in range(len(votes)):
        if index != likeliest and votes[index] == most:
            tied.append(torch.tensor(index))
    if len(tied) > 1:
        others = cosines[order][count:].argmax(1)
        names = {int(each) for each in tied}
        first = next((int(each) for each in others if int(each) in names), int(likeliest))
        votes[first] += 1
    return votes


def mta(
    views: Tensor,
    class_weights: Tensor,
    scale: float,
    lambda_y: float = 0.2,
    lambda_q: float = 4.0,
    most: int = 5,
    tolerance: float = 1e-6,
) -> Tensor:
    """Find the mode of the views by mean shift with inlierness scores (arXiv 2405.02266)."""
    logits = scale * views @ class_weights.T
    distances, _ = torch.cdist(views, views).sort(dim=1)
    nearest = distances[:, 1 : int(0.3 * (len(views) - 1)) + 1] ** 2
    bandwidth = (0.5 * nearest.mean(1)).sqrt()
    affinity = logits.softmax(1) @ logits.softmax(1).T

    def density(mode: Tensor) -> Tensor:
        return torch.exp(-(torch.norm(views - mode, dim=-1) ** 2) / (2 * bandwidth**2))

    scores = torch.ones(len(views), dtype=views.dtype) / len(views)
    mode = views[0]
    for _ in range(most):
        near = density(mode)
        for _ in range(most):
            before = scores
            scores = ((near + lambda_q * (affinity * scores).sum(1)) / lambda_y).softmax(-1)
            if torch.norm(before - scores) < tolerance:
                break
        for _ in range(most):
            before = mode
            weights = density(mode) * scores
            mode = (weights[:, None] * views).sum(0) / weights.sum()
            mode = mode / mode.norm()
            if torch.norm(before - mode) < tolerance:
                break
    return scale * mode @ class_weights.T


def tps(
    views: Tensor,
    class_weights: Tensor,
    scale: float,
    share: float = 0.1,
    learning_rate: float = 5e-3,
    steps: int = 1,
) -> Tensor:
    """Shift the class weights until the confident views agree (arXiv 2403.12952)."""
    shift = torch.zeros_like(class_weights, requires_grad=True)
    optimizer = torch.optim.AdamW([shift], learning_rate)

    def weights() -> Tensor:
        shifted = class_weights + shift
        return shifted / shifted.norm(dim=-1, keepdim=True)

    for _ in range(steps):
        with torch.enable_grad():
            logits = scale * views @ weights().T
            loss = marginal_entropy(logits[most_confident(logits, share)])
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
    with torch.no_grad():
        return scale * views[0] @ weights().T


class Tda:
    """Two caches of the stream (arXiv 2403.18293), put together anew for every image.

    Args:
        class_weights: ``(C, F)``.
        scale: from cosines to logits.
    """

    def __init__(self, class_weights: Tensor, scale: float) -> None:
        self.class_weights, self.scale = class_weights, scale
        self.positive: dict[int, list[tuple[Tensor, float]]] = {}
        self.negative: dict[int, list[tuple[Tensor, float, Tensor]]] = {}

    def __call__(self, views: Tensor) -> Tensor:
        """Return logits ``(C,)`` of the next image of the stream from its views ``(N, F)``."""
        logits = self.scale * views @ self.class_weights.T
        if len(views) > 1:
            chosen = most_confident(logits, 0.1)
            kept = logits[chosen]
            feature, own, loss = views[chosen].mean(0, keepdim=True), kept.mean(0), marginal_entropy(kept)
            probabilities = kept.softmax(1).mean(0)
        else:
            feature, own, loss, probabilities = views, logits[0], entropies(logits)[0], logits[0].softmax(0)
        predicted, uncertainty = int(own.argmax()), float(loss)
        _enter(self.positive, predicted, (feature, uncertainty), 3)
        if 0.2 < uncertainty / math.log2(len(own)) < 0.5:
            _enter(self.negative, predicted, (feature, uncertainty, probabilities[None]), 2)
        answer = own.clone()
        if self.positive:
            classes = torch.tensor([each for each in sorted(self.positive) for _ in self.positive[each]])
            keys = torch.cat([entry[0] for each in sorted(self.positive) for entry in self.positive[each]])
            values = one_hot(classes, len(own)).to(own.dtype)
            answer += 2.0 * ((-(5.0 - 5.0 * (feature @ keys.T))).exp() @ values)[0]
        if self.negative:
            keys = torch.cat([entry[0] for each in sorted(self.negative) for entry in self.negative[each]])
            masks = torch.cat([entry[2] for each in sorted(self.negative) for entry in self.negative[each]])
            values = ((masks > 0.03) & (masks < 1.0)).to(own.dtype)
            answer -= 0.117 * ((-(1.0 - feature @ keys.T)).exp() @ values)[0]
        return answer


def _enter(cache: dict[int, list], predicted: int, entry: tuple, shots: int) -> None:  # type: ignore[type-arg]
    """Add an entry to its class; where that is full, in place of the least confident."""
    if predicted not in cache:
        cache[predicted] = [entry]
        return
    if len(cache[predicted]) < shots:
        cache[predicted].append(entry)
    elif entry[1] < cache[predicted][-1][1]:
        cache[predicted][-1] = entry
    cache[predicted] = sorted(cache[predicted], key=lambda each: each[1])


def tpt(
    encode: Callable[[Tensor], Tensor],
    views: Tensor,
    context: Tensor,
    scale: float,
    share: float = 0.1,
    learning_rate: float = 5e-3,
) -> Tensor:
    """Tune the context of all prompts until the confident views agree (arXiv 2209.07511).

    Args:
        encode: returns unit class weights ``(C, F)`` of a context ``(n, W)``.
        views: of one image, ``(N, F)``.
        context: at first.
        scale: from cosines to logits.
        share: of the views that are kept.
        learning_rate: of AdamW.
    """
    tuned = context.clone().requires_grad_()
    optimizer = torch.optim.AdamW([tuned], learning_rate)
    with torch.enable_grad():
        logits = scale * views @ encode(tuned).T
        loss = marginal_entropy(logits[most_confident(logits, share)])
        optimizer.zero_grad()
        loss.backward()
    optimizer.step()
    with torch.no_grad():
        return scale * views[0] @ encode(tuned).T
