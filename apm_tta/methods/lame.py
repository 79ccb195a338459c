"""LAME (arXiv 2201.05718): the teacher's probabilities, corrected so that images that are near agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.nn.functional import normalize

from apm_tta.methods.base import Method, Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import in_full_precision
from apm_tta.methods.parameter_types import BatchSize, Steps, Weight
from apm_tta.methods.parameters import Templates

Affinity = Literal["rbf", "knn", "linear"]
# Added to a probability before its logarithm, so that no class is impossible.
_FLOOR = 1e-10


@dataclass(frozen=True)
class LAMEParameters:
    """Parameters of ``lame``.

    Attributes:
        affinity: of two images of a batch: ``rbf``, a Gaussian of their distance, whose width is the mean distance to
            the neighbour ``neighbours`` (the authors' default configuration); ``knn``, 1 for the nearest neighbours;
            ``linear``, their cosine.
        neighbours: k; 5 (the authors' default configuration). For ``rbf`` an image counts as its own first neighbour,
            as in the authors' code.
        symmetric: whether the affinities of a pair are averaged; False (authors).
        weight: of the affinities; 1 (authors).
        steps: updates of a batch; 100 (the authors' largest number).
        batch_size: images that are answered together; 64, as for the other methods over batches (the authors' default
            configuration has 16).
        templates: of the class weights.
    """

    affinity: Affinity = "rbf"
    neighbours: Annotated[int, Ge(1), Le(1000)] = 5
    symmetric: bool = False
    weight: Weight = 1.0
    steps: Steps = 100
    batch_size: BatchSize = 64
    templates: Templates = "dataset"


@register
class LAME(Method[LAMEParameters]):
    """The teacher's probabilities of a batch, smoothed over the batch by Laplacian regularisation; nothing is learned.

    No state remains between batches. It is ``online`` since the order of the stream decides which images are together:
    it gains where neighbours in the stream are of one class, and loses where they are not (``--setting``).
    """

    name = "lame"
    protocol = "online"
    summary = "probabilities of a batch, smoothed over its nearest images"
    fast = True
    paper = "arXiv 2201.05718"
    keeps = "nothing between batches"
    remembers = False
    adapts = "the predicted probabilities"

    def setup(self) -> None:
        self.stream_batch = self.parameters.batch_size

    def predict(self, batch: Batch) -> Predictions:
        chosen, features = self.parameters, self.features(batch).float()
        answers = from_logits(
            self.logits(features),
            normalize(features, dim=-1),
            affinity=chosen.affinity,
            neighbours=chosen.neighbours,
            symmetric=chosen.symmetric,
            weight=chosen.weight,
            steps=chosen.steps,
        )
        return Predictions(answers)


@in_full_precision
def from_logits(
    logits: Tensor,
    features: Tensor,
    *,
    affinity: Affinity = "rbf",
    neighbours: int = 5,
    symmetric: bool = False,
    weight: float = 1.0,
    steps: int = 100,
) -> Tensor:
    r"""Compute the logarithms of the corrected probabilities of a batch, ``(B, C)``.

    .. math:: z_i \leftarrow \operatorname{softmax}_c \Bigl( \log (q_{ic} + 10^{-10})
        + \lambda \sum_j w_{ij} z_{jc} \Bigr), \qquad z_i = q_i \text{ at first}

    q are the teacher's probabilities. The authors end when the objective changes by less than a part in 10^8; here all
    updates are made, so that a batch costs the same whatever it shows, and nothing has to be waited for.

    Args:
        logits: the teacher's, ``(B, C)``.
        features: unit rows, ``(B, F)``.
        affinity: for this and the following arguments see ``LAMEParameters``.
    """
    prior = (logits.softmax(-1) + _FLOOR).log()
    weights = weight * affinities(features, affinity, neighbours)
    if symmetric:
        weights = (weights + weights.mT) / 2
    current = prior.log_softmax(-1)
    for _ in range(steps):
        current = (prior + weights @ current.exp()).log_softmax(-1)
    return current


def affinities(features: Tensor, kind: Affinity, neighbours: int) -> Tensor:
    """Compute the affinity of every two images of a batch, ``(B, B)``, from unit features ``(B, F)``."""
    if kind == "linear":
        return features @ features.mT
    distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    if kind == "rbf":
        nearest = distances.topk(min(neighbours, len(features)), largest=False).values
        width = nearest[:, -1].mean().clamp_min(torch.finfo(features.dtype).tiny ** 0.5)
        return torch.exp(-distances.square() / (2 * width**2))
    nearest = distances.topk(min(neighbours + 1, len(features)), largest=False).indices[:, 1:]
    return torch.zeros_like(distances).scatter_(1, nearest, 1.0)
