"""StatA (arXiv 2501.03729): Gaussians of a batch's classes, anchored to the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from apm_tta.methods.base import Cost, Method, Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import in_full_precision
from apm_tta.methods.neighbour_assignment import Neighbours, assign, log_likelihoods, squared_distances
from apm_tta.methods.parameter_types import BatchSize, Steps, Weight
from apm_tta.methods.parameters import Templates

_ROUNDS = 5


@dataclass(frozen=True)
class StatAParameters:
    """Parameters of ``stata``. Values are from the authors' code.

    Attributes:
        anchor: alpha: how many images the text counts as, for mean and variances of a class; 1.
        smoothing: weight of the nearest images; 1.
        neighbours: nearest images of each; 3.
        iterations: updates of means and variances; 10.
        soft_counts: whether the images of a class are counted by their assignments, not by their largest one; False.
        batch_size: images that are answered together; 64.
        templates: of the class weights.
    """

    anchor: Weight = 1.0
    smoothing: Weight = 1.0
    neighbours: Annotated[int, Ge(1), Le(1000)] = 3
    iterations: Steps = 10
    soft_counts: bool = False
    batch_size: BatchSize = 64
    templates: Templates = "dataset"


@register
class StatA(Method[StatAParameters]):
    """Each batch is answered by Gaussians of its classes, which stay near the text where a class has few images.

    No state remains between batches. It is ``online`` since the order of the stream decides which images are together:
    what the paper calls its online setting is the same solver, batch by batch.
    """

    name = "stata"
    protocol = "online"
    revision = 2
    summary = "gaussians of the classes of a batch, anchored to the text"
    fast = True
    paper = "arXiv 2501.03729"
    keeps = "nothing between batches"
    remembers = False
    adapts = "the mean and variances of each class"

    def setup(self) -> None:
        self.stream_batch = self.parameters.batch_size

    def cost(self) -> Cost:
        return Cost(other=f"{_ROUNDS * (self.parameters.iterations + 1)} sums over the nearest images")

    def predict(self, batch: Batch) -> Predictions:
        features = self.features(batch).float()
        assignments = anchored(normalize(features, dim=-1), self.logits(features), self.class_weights, self.parameters)
        return Predictions(assignments.clamp_min(torch.finfo(assignments.dtype).tiny).log())


@in_full_precision
def anchored(features: Tensor, logits: Tensor, class_weights: Tensor, parameters: StatAParameters) -> Tensor:
    r"""Compute the assignments of a batch to classes, ``(B, C)``.

    .. math:: L_{ic} = -\frac{1}{2} \sum_d \frac{(f_{id} - \mu_{cd})^2}{\sigma^2_{cd}}
        - \frac{1}{2} \sum_d \log \sigma^2_{cd}, \qquad \beta_c = \frac{n_c}{n_c + \alpha}

    .. math:: \mu_c \propto \beta_c \hat f_c + (1 - \beta_c) t_c, \qquad
        \sigma^2_{cd} = \beta_c \frac{\sum_i z_{ic} (f_{id} - \mu_{cd})^2}{\sum_i z_{ic}}
        + (1 - \beta_c) \bigl( \sigma^2_{0d} + (t_{cd} - \mu_{cd})^2 \bigr)

    :math:`\hat f_c` is the mean of the features by the assignments z, scaled to unit length, n the number of images
    whose largest assignment a class has, and :math:`\sigma^2_0` one variance per dimension, of the batch around the
    text by the teacher's probabilities. See ``assign`` for z, which is updated five times before each update of these,
    and at the end. As in the authors' code, means have unit length, and the logarithm of the variances is in L.

    Args:
        features: unit rows, ``(B, F)``.
        logits: the teacher's, ``(B, C)``.
        class_weights: unit rows t, ``(C, F)``.
        parameters: see ``StatAParameters``.
    """
    prior = logits.log_softmax(-1)
    current, neighbours = prior.exp(), Neighbours(features, parameters.neighbours)
    source = squared_distances(features, class_weights, current).sum(0, keepdim=True) / len(features)
    means, variances = class_weights, source.expand_as(class_weights)
    for iteration in range(parameters.iterations + 1):
        scores = log_likelihoods(features, means, variances)
        current = assign(prior, scores, neighbours, current, weight=parameters.smoothing, rounds=_ROUNDS)
        if iteration == parameters.iterations:
            break
        mass = current.sum(0)[:, None]
        counts = mass if parameters.soft_counts else one_hot(current.argmax(-1), current.shape[1]).sum(0)[:, None]
        share = counts / (counts + parameters.anchor).clamp_min(1e-12)
        means = normalize(share * normalize(current.mT @ features, dim=-1) + (1 - share) * class_weights, dim=-1)
        own = squared_distances(features, means, current) / mass.clamp_min(torch.finfo(mass.dtype).tiny)
        variances = share * own + (1 - share) * (source + (class_weights - means).square())
    return current
