"""T3A (OpenReview e_yvNqkJKAW): class weights replaced by the mean of the confident images seen so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.nn.functional import normalize

from apm_tta.device_copies import device_copy
from apm_tta.methods.base import Method, Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import entropy, in_full_precision
from apm_tta.methods.parameter_types import BatchSize
from apm_tta.methods.parameters import Templates
from apm_tta.methods.stream_cache import Entering, StreamCache

_ROWS_TOGETHER = 1024


@dataclass(frozen=True)
class T3AParameters:
    """Parameters of ``t3a``.

    Attributes:
        supports: M, how many supports of a class are kept, its own weight counted among them; 20. The authors choose
            it from 1, 5, 20, 50, 100 and all by accuracy on labelled images of training domains, which do not exist
            here. (All, ``filter_K=-1`` of their code, drops the most uncertain support of each class in every batch.)
        batch_size: images that enter before they are answered; 64, as for the other methods over batches.
        templates: of the class weights.
    """

    supports: Annotated[int, Ge(1), Le(1000)] = 20
    batch_size: BatchSize = 64
    templates: Templates = "dataset"


@register
class T3A(Method[T3AParameters]):
    """Classification by the mean embedding of the supports of each class, which confident images of the stream join."""

    name = "t3a"
    protocol = "online"
    summary = "class weights moved to the confident images seen so far"
    fast = True
    paper = "OpenReview e_yvNqkJKAW"
    keeps = "at most M embeddings per class"
    adapts = "the class weights"

    def setup(self) -> None:
        self.stream_batch = self.parameters.batch_size
        self.reset()

    def reset(self) -> None:
        self.supports = Supports(self.class_weights, self.teacher.logit_scale, self.parameters.supports)

    def predict(self, batch: Batch) -> Predictions:
        features = self.features(batch).float()
        answers = self.supports.stream(normalize(features, dim=-1), self.logits(features))
        # The authors' answers are cosines; the teacher's scale changes no prediction, and makes confidences.
        return Predictions(self.teacher.scales(features) * answers)


class Supports:
    r"""The supports of every class; the first is its own weight.

    .. math:: \ell_c(f) = f \cdot \frac{s_c}{\lVert s_c \rVert}, \qquad s_c = \sum_{i \in S_c} f_i

    S_c has the M supports of lowest entropy of those that were taken for class c; what has been displaced does not come
    back. A batch enters before it is answered. The entropy of a class weight is that of the linear classifier for its
    own row, whose logits grow with the square of the scale (the authors' code).

    Args:
        class_weights: unit rows, ``(C, F)``.
        scale: from cosines to logits.
        most: M.
        bias: of the classifier, ``(C,)``; None for none.
    """

    def __init__(self, class_weights: Tensor, scale: float, most: int, bias: Tensor | None = None) -> None:
        classes = len(class_weights)
        self.cache = StreamCache(classes, most, 0.0, class_weights)
        self.sums = torch.zeros_like(class_weights)
        for rows in class_weights.split(_ROWS_TOGETHER):  # with many classes, all their products would not fit
            logits = scale**2 * rows @ class_weights.mT
            self._enter(rows, logits if bias is None else logits + bias)

    @in_full_precision
    def stream(self, features: Tensor, logits: Tensor) -> Tensor:
        """Let a batch enter, and compute its answers ``(B, C)``.

        Args:
            features: unit rows, ``(B, F)``.
            logits: of the teacher, ``(B, C)``, which decide where an image enters and how confident it is.
        """
        self._enter(features, logits)
        answers: Tensor = features @ normalize(self.sums, dim=-1).mT
        return answers

    def _enter(self, features: Tensor, logits: Tensor) -> None:
        table = torch.stack([logits.argmax(-1).double(), entropy(logits).double()], dim=-1).tolist()
        entering = [Entering(image, int(predicted), own) for image, (predicted, own) in enumerate(table)]
        if changed := self.cache.enter(features, entering):
            self.sums[device_copy(torch.tensor(changed), self.sums.device)] = self.cache.sums(changed)
