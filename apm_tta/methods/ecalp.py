"""ECALP (arXiv 2412.18303): labels spread from the class names over a graph of the images seen so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize

from apm_tta.methods.base import Cost, Method, Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import in_full_precision
from apm_tta.methods.parameter_types import Fraction, Steps, Weight
from apm_tta.methods.parameters import Templates

_SHARPNESS = 10_000
"""From scores to logits (the authors' code)."""
_REMEMBERED = 0.2
"""The part of an image's highest score with which it begins in the next graph (the authors' code)."""
_TINY = 1e-6
"""Added to the root of a degree (the authors' code)."""


@dataclass(frozen=True)
class ECALPParameters:
    """Parameters of ``ecalp``. Values are the defaults of the authors' ``main.py``, on every data set the same.

    Attributes:
        text_neighbours: classes that an image is joined to; 3.
        image_neighbours: images that an image is joined to; 8, itself among them, and twice while it is the newest.
        gamma: power of a similarity that is the weight of an edge; 10.
        alpha: weight of what the neighbours say; the rest is what an image had before. 1.
        steps: rounds of propagation; 3.
        templates: of the class weights.
    """

    text_neighbours: Annotated[int, Ge(1), Le(1000)] = 3
    image_neighbours: Annotated[int, Ge(1), Le(1000)] = 8
    gamma: Weight = 10.0
    alpha: Fraction = 1.0
    steps: Steps = 3
    templates: Templates = "dataset"


@register
class ECALP(Method[ECALPParameters]):
    """Label propagation from the class names through all images seen so far; nothing is learned.

    Every image is answered by a graph of all those before it, so that time and memory for one grow with their number:
    the 50,000th of 1000 classes takes 800 MB of scores.
    """

    name = "ecalp"
    protocol = "online"
    summary = "labels spread over a graph of the images seen so far"
    fast = True
    paper = "arXiv 2412.18303"
    keeps = "the embedding of every image so far, its neighbours, and C numbers each: it grows with the stream"
    adapts = "a graph of images and classes"

    def setup(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.adapter = Adapter(self.class_weights, self.parameters)

    def cost(self) -> Cost:
        return Cost(other="label propagation over all images seen so far")

    def predict(self, batch: Batch) -> Predictions:
        scores = self.adapter.stream(normalize(self.features(batch).float(), dim=-1))
        return Predictions(_SHARPNESS * scores)


class Adapter:
    r"""ECALP on embeddings, which processes a stream image by image.

    .. math:: Y \leftarrow \alpha \, D^{-\frac12} W D^{-\frac12} \begin{bmatrix} I \\ Y \end{bmatrix} + (1 - \alpha) Y_0

    W joins the images, whose scores are Y, with each other and with the classes, which keep their own label; D has the
    sums of its rows. An edge from an image to a class weighs :math:`(w_c \cdot f)^\gamma`, one from i to an earlier j
    :math:`\bigl(\frac{\omega f_j}{\lVert \omega f_j \rVert} \cdot f_i\bigr)^\gamma`, where :math:`\omega` is the
    variance over the classes of each component of their weights. Edges from either end add up.

    As in the authors' code, the newest image stands in the graph twice, and its second copy is answered; then that is
    removed, and whoever had it as a neighbour has one fewer until a new image takes its place: the first few images
    have lost neighbours for good in this way. Every image begins, in :math:`Y_0`, with a fifth of its highest score in
    the graph before. A negative similarity makes no edge; the authors' power, which is even, would make it positive.
    The copies are equally near to every other image: which one an image is joined to that has room for one is decided
    by ``torch.topk``, as in the authors' code, so that a GPU decides otherwise than a CPU.

    Args:
        class_weights: unit rows, ``(C, F)``.
        parameters: see ``ECALPParameters``.
    """

    def __init__(self, class_weights: Tensor, parameters: ECALPParameters | None = None) -> None:
        self.class_weights = class_weights
        self.parameters = chosen = parameters or ECALPParameters()
        classes, width = class_weights.shape
        # The spread of a single class is none, which the unbiased variance could not say.
        self._importance = normalize(class_weights.var(0, correction=0), dim=0)
        self._weighted = class_weights.new_zeros(0, width)
        self._of_text = min(chosen.text_neighbours, classes)
        self._to_text = _Edges.none(self._of_text, class_weights)
        self._text_degrees = class_weights.new_zeros(classes)
        self._similar = _Edges.none(0, class_weights)
        self._before = _Edges.none(1, class_weights)

    @in_full_precision
    def stream(self, features: Tensor) -> Tensor:
        """Compute scores ``(B, C)`` of B images in order, from unit rows ``(B, F)``."""
        self._weighted = torch.cat([self._weighted, normalize(features * self._importance, dim=-1)])
        # An image is compared with itself and those before it.
        similar = (self._weighted @ features.T).split(1, dim=1)
        texts = (features @ self.class_weights.T).topk(self._of_text)
        first = len(self._weighted) - len(features)
        scores = []
        for place, of_images in enumerate(similar):
            number = first + place
            of_text = _Edges(texts.indices[place : place + 1], self._power(texts.values[place : place + 1]))
            self._join(number, of_images[: number + 1, 0], of_text)
            scores.append(self._propagate(number, of_text))
        return torch.stack(scores)

    def _power(self, similarities: Tensor) -> Tensor:
        return similarities.clamp_min(0) ** self.parameters.gamma

    def _join(self, number: int, similar: Tensor, of_text: _Edges) -> None:
        """Add the image of that number to the graph, and its second copy behind it.

        Args:
            number: of images before it.
            similar: similarities to these and to itself, ``(number + 1,)``.
            of_text: its edges to classes.
        """
        most = self.parameters.image_neighbours
        # More are kept than are used, since the second copy leaves again; not so at first (the authors' code).
        kept = min(most + 2, max(number, min(most, number + 2)))
        copies = torch.arange(number, number + 2, device=similar.device)
        stale = self._similar.ends == number  # the second copy of the image before
        older = _Edges(
            torch.cat([self._similar.ends, copies.expand(number, 2)], dim=1),
            torch.cat([self._similar.weights.masked_fill(stale, -torch.inf), similar[:-1, None].expand(-1, 2)], dim=1),
        )
        own = _Edges(torch.arange(number + 2, device=similar.device)[None], torch.cat([similar, similar[-1:]])[None])
        self._similar = older.best(kept).above(own.best(kept))
        self._to_text = self._to_text.above(of_text)
        self._text_degrees = self._text_degrees.index_add(0, of_text.ends[0], of_text.weights[0])

    def _propagate(self, number: int, of_text: _Edges) -> Tensor:
        """Return the scores ``(C,)`` of the second copy of the newest image; keep what the others begin with."""
        chosen, classes = self.parameters, len(self.class_weights)
        used = self._similar.first(chosen.image_neighbours)
        among = used.above(used.last())
        graph = _Graph(_Edges(among.ends, self._power(among.weights)))
        to_text = self._to_text.above(of_text)
        text_degrees = self._text_degrees.index_add(0, of_text.ends[0], of_text.weights[0])
        roots = 1 / ((graph.degrees() + to_text.weights.sum(1)).sqrt() + _TINY)
        text_roots = 1 / (text_degrees.sqrt() + _TINY)
        graph.scale(roots)
        told = _Edges(to_text.ends, roots[:, None] * to_text.weights * text_roots[to_text.ends]).dense(classes)
        begun = self._before.above(_Edges.none(1, roots, 2)).dense(classes)
        scores = begun
        for _ in range(chosen.steps):
            scores = begun.lerp(graph.sums(scores).add_(told), chosen.alpha)
        best = scores[:-1].max(1, keepdim=True)
        self._before = _Edges(best.indices, _REMEMBERED * best.values)
        return scores[-1]


@dataclass(frozen=True)
class _Edges:
    """Equally many edges of each of n nodes.

    Attributes:
        ends: the nodes or classes that they lead to, ``(n, m)``.
        weights: or similarities, ``(n, m)``.
    """

    ends: Tensor
    weights: Tensor

    @classmethod
    def none(cls, most: int, like: Tensor, nodes: int = 0) -> _Edges:
        """Return edges that weigh nothing, of no node yet or of some."""
        return cls(torch.zeros(nodes, most, dtype=torch.long, device=like.device), like.new_zeros(nodes, most))

    def above(self, others: _Edges) -> _Edges:
        """Return these nodes and behind them the others."""
        return _Edges(torch.cat([self.ends, others.ends]), torch.cat([self.weights, others.weights]))

    def first(self, most: int) -> _Edges:
        """Return the first of each node."""
        return _Edges(self.ends[:, :most], self.weights[:, :most])

    def last(self) -> _Edges:
        """Return those of the last node."""
        return _Edges(self.ends[-1:], self.weights[-1:])

    def best(self, most: int) -> _Edges:
        """Return the heaviest of each node, in descending order."""
        best = self.weights.topk(most)
        return _Edges(self.ends.gather(1, best.indices), best.values)

    def dense(self, columns: int) -> Tensor:
        """Return the weights by what they lead to, ``(n, columns)``."""
        return self.weights.new_zeros(len(self.ends), columns).scatter(1, self.ends, self.weights)


class _Graph:
    """The symmetric sum of the edges of n nodes and of their reverses, sorted by where they are summed.

    Sums are taken in this order: scattered additions of a GPU would end in another last bit every time.
    """

    def __init__(self, edges: _Edges) -> None:
        nodes, most = edges.ends.shape
        owners = torch.arange(nodes, device=edges.ends.device).repeat_interleave(most)
        others = edges.ends.flatten()
        self._into, order = torch.cat([owners, others]).sort(stable=True)
        self._from = torch.cat([others, owners])[order]
        self._weights = edges.weights.flatten().repeat(2)[order]
        self._starts = torch.searchsorted(self._into, torch.arange(nodes, device=self._into.device))

    def scale(self, factors: Tensor) -> None:
        """Multiply each weight by the factors of its two nodes, of all ``(n,)``."""
        self._weights = factors[self._into] * self._weights * factors[self._from]

    def sums(self, values: Tensor) -> Tensor:
        """Return for each node the weighted sum of its neighbours' values ``(n, C)``."""
        total: Tensor = embedding_bag(self._from, values, self._starts, mode="sum", per_sample_weights=self._weights)
        return total

    def degrees(self) -> Tensor:
        """Return the sum of each node's weights, ``(n,)``."""
        return self.sums(torch.ones_like(self._starts, dtype=self._weights.dtype)[:, None])[:, 0]
