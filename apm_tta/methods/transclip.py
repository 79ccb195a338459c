"""TransCLIP (arXiv 2406.01837): all images of a condition are answered together, without labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.nn.functional import normalize

from apm_tta.methods.base import Cost, Method, Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import in_full_precision
from apm_tta.methods.neighbour_assignment import Neighbours, assign, log_likelihoods, squared_distances
from apm_tta.methods.parameter_types import Steps, Weight
from apm_tta.methods.parameters import Templates

_ROUNDS = 5


@dataclass(frozen=True)
class TransCLIPParameters:
    """Parameters of ``transclip``. Values are from the authors' code.

    Attributes:
        smoothing: weight of the nearest images; 1.
        neighbours: nearest images of each; 3.
        iterations: updates of means and variance; 10.
        start: where the mean of a class begins: ``confident``, at the images that it is most probable for, as in the
            authors' own code; ``text``, at its class weight, as in their code for StatA.
        confident: how many such images; 8.
        templates: of the class weights.
    """

    smoothing: Weight = 1.0
    neighbours: Annotated[int, Ge(1), Le(1000)] = 3
    iterations: Steps = 10
    start: Literal["confident", "text"] = "confident"
    confident: Annotated[int, Ge(1), Le(100_000)] = 8
    templates: Templates = "dataset"


@register
class TransCLIP(Method[TransCLIPParameters]):
    """All images of a condition are assigned together to Gaussians that begin at the most confident ones.

    It needs the whole set before the first answer, so that its row may not be compared with methods that answer images
    as they come. The authors take the number of classes from the test labels; here it is the data set's. Beside the
    features it holds the assignments, N x C numbers, about eight times: 1.5 GB for 50,000 images of 1000 classes
    (``python -m benchmarks.transductive``), and of the similarities only those to the nearest images.
    """

    name = "transclip"
    protocol = "transductive"
    revision = 2
    summary = "all images assigned together to gaussians of the classes"
    fast = True
    paper = "arXiv 2406.01837"
    keeps = "the embeddings of all images, about eight times N x C numbers, and the similarities to the nearest ones"
    knows = "all images before the first answer"
    adapts = "the mean of each class"

    def predict(self, batch: Batch) -> Predictions:
        features = self.features(batch).float()
        unit = normalize(features, dim=-1)
        assignments = assigned(unit, self.logits(features), self.class_weights, self.parameters)
        return Predictions(assignments.clamp_min(torch.finfo(assignments.dtype).tiny).log())

    def cost(self) -> Cost:
        return Cost(other=f"{_ROUNDS * (self.parameters.iterations + 1)} sums over the nearest images")


@in_full_precision
def assigned(features: Tensor, logits: Tensor, class_weights: Tensor, parameters: TransCLIPParameters) -> Tensor:
    r"""Compute the assignments of all images to classes, ``(N, C)``.

    .. math:: L_{ic} = -\frac{1}{2} \sum_d \frac{(f_{id} - \mu_{cd})^2}{\sigma^2_d}, \qquad
        \mu_c \propto \sum_i z_{ic} f_i, \qquad
        \sigma^2_d = \frac{1}{N} \sum_i \sum_c z_{ic} (f_{id} - \mu_{cd})^2

    See ``assign`` for the assignments z, which are updated five times before each update of these, and at the end. As
    in the authors' code, means have unit length; variances begin at 1 / F.

    Args:
        features: unit rows, ``(N, F)``.
        logits: the teacher's, ``(N, C)``.
        class_weights: unit rows, ``(C, F)``.
        parameters: see ``TransCLIPParameters``.
    """
    prior = logits.log_softmax(-1)
    current, neighbours = prior.exp(), Neighbours(features, parameters.neighbours)
    confident = parameters.start == "confident"
    means = most_confident(features, current, parameters.confident) if confident else class_weights
    variance = torch.full_like(features[:1], 1 / features.shape[1])
    for iteration in range(parameters.iterations + 1):
        scores = log_likelihoods(features, means, variance.expand_as(means))
        current = assign(prior, scores, neighbours, current, weight=parameters.smoothing, rounds=_ROUNDS)
        if iteration == parameters.iterations:
            break
        means = normalize(current.mT @ features, dim=-1)
        variance = squared_distances(features, means, current).sum(0, keepdim=True) / len(features)
    return current


def most_confident(features: Tensor, probabilities: Tensor, count: int) -> Tensor:
    """Return for each class the mean, scaled to unit length, of the features that are most probable for it, ``(C, F)``.

    Args:
        features: unit rows, ``(N, F)``.
        probabilities: of each class, ``(N, C)``, which weight them too.
        count: how many features per class; fewer where N is.
    """
    found = probabilities.topk(min(count, len(features)), dim=0)
    # As shares of the largest: a class that no image is likely to be would have weights that round to zero.
    weights = found.values / found.values[:1].clamp_min(torch.finfo(probabilities.dtype).tiny)
    return normalize((weights[..., None] * features[found.indices]).sum(0), dim=-1)
