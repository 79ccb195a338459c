"""MEMO (arXiv 2110.09506): marginal entropy minimisation with one test point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from apm_tta.data.task import Task
from apm_tta.methods.base import Cost, Method, Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import marginal_entropy
from apm_tta.methods.encoder import AdaptableEncoder, normalisation_layers, require_normalisation
from apm_tta.methods.parameters import Templates
from apm_tta.methods.views import ViewSpec
from apm_tta.teachers import Teacher


@dataclass(frozen=True)
class Parameters:
    """Of ``memo``.

    Attributes:
        parameters: which of the image encoder's move: ``norm``, scales and shifts of its normalisation layers, this
            suite's choice; ``all``, as the paper and its code.
        views: N, the evaluation crop included. None: 32 for the CIFAR sets, 64 for others (the authors' code).
        augmix: whether views go through AugMix (section 3.1 of the paper, and its code).
        optimizer: None is the authors' for the architecture: ``adamw`` for transformers, ``sgd`` for others.
        learning_rate: None is the authors': AdamW 1e-5, SGD 2.5e-4, SGD on the CIFAR sets 5e-3.
        weight_decay: None is the authors': AdamW 0.01, SGD 0.
        steps: an image; 1 (the authors' code).
        prior_strength: n, of an encoder with BatchNorm: running averages count for n / (n + 1), the batch for the rest;
            16 (the authors' code, as in arXiv 2006.16971).
        templates: of the class weights.
    """

    parameters: Literal["norm", "all"] = "norm"
    views: Annotated[int, Ge(2)] | None = None
    augmix: bool = True
    optimizer: Literal["sgd", "adamw"] | None = None
    learning_rate: Annotated[float, Gt(0)] | None = None
    weight_decay: Annotated[float, Ge(0)] | None = None
    steps: Annotated[int, Ge(1)] = 1
    prior_strength: Annotated[float, Ge(0)] = 16
    templates: Templates = "dataset"


@register
class Memo(Method):
    r"""Each image moves the image encoder towards one answer for all its views, a sure one.

    .. math:: \theta^* = \theta - \eta \nabla_\theta H(\bar p_\theta),
        \qquad \bar p_\theta = \frac{1}{N} \sum_k p_\theta(\cdot \mid \tilde x_k)

    The answer is the evaluation crop's under :math:`\theta^*`; then encoder and optimiser start afresh. The authors'
    views are all random; here the evaluation crop is the first of the N, as for every other method of this suite.
    """

    name = "memo"
    protocol = "episodic"
    summary = "marginal entropy over augmented views minimised over the image encoder"
    paper = "arXiv 2110.09506"
    adapts = "the image encoder, by default its normalisation layers"
    Parameters = Parameters

    def __init__(self, teacher: Teacher, task: Task, parameters: Any, seed: int, memory: int | None = None) -> None:
        super().__init__(teacher, task, parameters, seed, memory)
        cifar = task.family == "cifar"
        views = parameters.views or (32 if cifar else 64)
        self.spec = ViewSpec(views, task.crop_scale, parameters.augmix)
        self.optimizer_name = parameters.optimizer or ("sgd" if teacher.patch_size is None else "adamw")
        published = {"adamw": (1e-5, 0.01), "sgd": (5e-3 if cifar else 2.5e-4, 0.0)}[self.optimizer_name]
        self.learning_rate = published[0] if parameters.learning_rate is None else parameters.learning_rate
        self.weight_decay = published[1] if parameters.weight_decay is None else parameters.weight_decay
        layers = normalisation_layers(teacher.image_encoder) if parameters.parameters == "norm" else None
        prior = parameters.prior_strength / (parameters.prior_strength + 1)
        self.encoder = AdaptableEncoder(teacher.image_encoder, layers, prior=prior)

    def check_teacher(self) -> None:
        if self.parameters.parameters == "norm":
            require_normalisation(self.name, self.teacher)

    def resolved(self) -> dict[str, Any]:
        return {
            "views": self.spec.count,
            "crop_scale": list(self.spec.crop_scale),
            "optimizer": self.optimizer_name,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
        }

    def cost(self) -> Cost:
        passes = self.parameters.steps * self.spec.count
        return Cost(image_forwards=passes + 1, image_backwards=passes)

    def predict(self, batch: Batch) -> Predictions:
        answers = [self._adapt(self.view_pixels(batch, index, self.spec)) for index in range(len(batch))]
        return Predictions(torch.cat(answers))

    def _adapt(self, views: Tensor) -> Tensor:
        """Views ``(N, 3, S, S)`` of one image -> its logits ``(1, C)``."""
        kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[self.optimizer_name]
        optimizer = kind(self.encoder.parameters, lr=self.learning_rate, weight_decay=self.weight_decay)
        for _ in range(self.parameters.steps):
            with torch.enable_grad():
                loss = marginal_entropy(self.logits(self.encoder(views)))
                optimizer.zero_grad()
                loss.backward()
            optimizer.step()
        with torch.no_grad():
            logits = self.logits(self.encoder(views[:1]))
        self.encoder.restore()
        return logits
