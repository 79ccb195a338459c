"""MEMO (arXiv 2110.09506): marginal entropy minimisation with one test point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import torch
from annotated_types import Ge, Gt, Le
from pydantic import GetPydanticSchema
from torch import Tensor

from apm_tta.methods.base import Cost, Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import marginal_entropy
from apm_tta.methods.encoder import AdaptableEncoder, normalisation_layers, require_normalisation
from apm_tta.methods.family_defaults import by_family
from apm_tta.methods.parameter_types import Steps, Weight
from apm_tta.methods.parameters import Templates
from apm_tta.methods.view_method import ViewMethod
from apm_tta.methods.views import ViewSpec

Optimizer = Literal["sgd", "adamw"]


class ByOptimizer(NamedTuple):
    """A published value for either optimiser."""

    adamw: float
    sgd: float

    def value(self, optimizer: Optimizer) -> float:
        """Return the value for ``optimizer``."""
        return self.adamw if optimizer == "adamw" else self.sgd

    def __str__(self) -> str:
        """Format both values as in lists of defaults."""
        return f"adamw {self.adamw:g}, sgd {self.sgd:g}"


_FILL = (128, 0, 0)
"""What the authors' AugMix moves into images: Pillow takes their ``fillcolor=128`` for red alone."""
_WEIGHT_DECAY = ByOptimizer(adamw=0.01, sgd=0.0)
# A default may depend on the optimiser; a value that is set must be a number.
Rate = Annotated[float | ByOptimizer, GetPydanticSchema(lambda _, handler: handler(Annotated[float, Gt(0), Le(1000)]))]


@dataclass(frozen=True)
class MemoParameters:
    """Parameters of ``memo``.

    Attributes:
        parameters: which of the image encoder's parameters are adapted: ``norm``, scales and shifts of its
            normalisation layers, this suite's choice; ``all``, as in the paper and its code.
        views: N, the evaluation crop included; 64, and 32 for the CIFAR sets (the authors' code).
        crop: what a view shows: ``resized``, a part of random size; ``padded``, for the CIFAR sets, as much as the
            image with black around it, 4 pixels of 32 at each side (the authors' code).
        augmix: whether to apply AugMix to views (section 3.1 of the paper, and its code).
        optimizer: None selects the authors' for the architecture: ``adamw`` for transformers, ``sgd`` for others.
        learning_rate: the authors' values: AdamW 1e-5, SGD 2.5e-4, SGD on the CIFAR sets 5e-3.
        weight_decay: None selects the authors' value: AdamW 0.01, SGD 0.
        steps: per image; 1 (the authors' code).
        prior_strength: n, for encoders with BatchNorm: running averages have weight n / (n + 1), the batch has the
            rest; 16 (the authors' code, as in arXiv 2006.16971).
        templates: of the class weights.
    """

    parameters: Literal["norm", "all"] = "norm"
    views: Annotated[int, Ge(2), Le(4096)] = by_family(64, {"cifar": 32})
    crop: Literal["resized", "padded"] = by_family("resized", {"cifar": "padded"})
    augmix: bool = True
    optimizer: Optimizer | None = None
    learning_rate: Rate = by_family(  # noqa: RUF009  immutable
        ByOptimizer(adamw=1e-5, sgd=2.5e-4), {"cifar": ByOptimizer(adamw=1e-5, sgd=5e-3)}
    )
    weight_decay: Weight | None = None
    steps: Steps = 1
    prior_strength: Weight = 16
    templates: Templates = "dataset"


@register
class Memo(ViewMethod[MemoParameters]):
    r"""Adaptation of the image encoder to each image, so that all of its views get the same, confident prediction.

    .. math:: \theta^* = \theta - \eta \nabla_\theta H(\bar p_\theta),
        \qquad \bar p_\theta = \frac{1}{N} \sum_k p_\theta(\cdot \mid \tilde x_k)

    The prediction is that for the evaluation crop under :math:`\theta^*`; then encoder and optimiser are reset. The
    authors' views are all random; here the evaluation crop is the first of the N, as in every other method of this
    suite.
    """

    name = "memo"
    protocol = "episodic"
    summary = "the image encoder adapted to minimise the marginal entropy over augmented views"
    paper = "arXiv 2110.09506"
    adapts = "the image encoder, by default its normalisation layers"
    revision = 2

    def setup(self) -> None:
        chosen, encoder = self.parameters, self.teacher.image_encoder
        self.spec = ViewSpec(
            chosen.views,
            self.task.crop_scale,
            chosen.augmix,
            crop=chosen.crop,
            fill=_FILL,
        )
        self.optimizer: Optimizer = chosen.optimizer or ("sgd" if self.teacher.patch_size is None else "adamw")
        rate = chosen.learning_rate
        self.learning_rate = rate.value(self.optimizer) if isinstance(rate, ByOptimizer) else rate
        decay = chosen.weight_decay
        self.weight_decay = _WEIGHT_DECAY.value(self.optimizer) if decay is None else decay
        layers = normalisation_layers(encoder) if chosen.parameters == "norm" else None
        self.encoder = AdaptableEncoder(encoder, layers, prior=chosen.prior_strength / (chosen.prior_strength + 1))

    def check_teacher(self) -> None:
        if self.parameters.parameters == "norm":
            require_normalisation(self.name, self.teacher)

    def resolved_parameters(self) -> dict[str, Any]:
        return {
            **super().resolved_parameters(),
            "optimizer": self.optimizer,
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
        """Compute logits ``(1, C)`` of one image from its views ``(N, 3, S, S)``."""
        kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[self.optimizer]
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
