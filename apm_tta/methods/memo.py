"""MEMO (arXiv 2110.09506): marginal entropy minimisation with one test point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import torch
from annotated_types import Ge, Gt, Le
from pydantic import GetPydanticSchema
from torch import Tensor, nn

from apm_tta.methods.adaptable_head import AdaptableHead, has_head
from apm_tta.methods.base import Cost, Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import marginal_entropy
from apm_tta.methods.data_defaults import by_family
from apm_tta.methods.encoder import (
    AdaptableEncoder,
    normalisation_layers,
    refuse_single_values,
    require_normalisation,
)
from apm_tta.methods.parameter_types import Steps, Weight
from apm_tta.methods.parameters import Templates
from apm_tta.methods.presets import Preset, Published
from apm_tta.methods.view_method import ViewMethod
from apm_tta.methods.views import ViewSpec
from apm_tta.teachers import Teacher

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
        parameters: what is adapted: ``norm``, scales and shifts of the image encoder's normalisation layers, this
            suite's choice; ``all`` of the encoder's parameters; ``with_head``, these and those of the linear head that
            makes the logits, where the teacher has one, as in the paper and its code.
        views: N; 64, and 32 for the CIFAR sets (the authors' code).
        crop_in_loss: whether the evaluation crop is the first of the N views, as in every other method of this suite;
            True. The authors' are all random.
        crop: what a view shows: ``resized``, a part of random size; ``padded``, for the CIFAR sets, as much as the
            image with black around it, 4 pixels of 32 at each side (the authors' code).
        augmix: whether to apply AugMix to views (section 3.1 of the paper, and its code).
        optimizer: None selects the authors' for the architecture: ``adamw`` for transformers and ResNeXt-101, ``sgd``
            for others.
        learning_rate: the authors' values: AdamW 1e-5, SGD 2.5e-4, SGD on the CIFAR sets 5e-3.
        weight_decay: None selects the authors' value: AdamW 0.01, SGD 0.
        steps: per image; 1 (the authors' code).
        prior_strength: n, for encoders with BatchNorm: running averages have weight n / (n + 1), the batch has the
            rest; 16 (the authors' code, as in arXiv 2006.16971).
        channels_last: whether the adapted copy of a convolutional network has its channels together in memory: often
            quicker, and logits differ by about 1e-3; False.
        preset: ``published`` is all as in the authors' script; ``suite``.
        templates: of the class weights.
    """

    parameters: Literal["norm", "all", "with_head"] = "norm"
    views: Annotated[int, Ge(2), Le(4095)] = by_family(64, {"cifar": 32})
    crop_in_loss: bool = True
    crop: Literal["resized", "padded"] = by_family("resized", {"cifar": "padded"})
    augmix: bool = True
    optimizer: Optimizer | None = None
    learning_rate: Rate = by_family(  # noqa: RUF009  immutable
        ByOptimizer(adamw=1e-5, sgd=2.5e-4), {"cifar": ByOptimizer(adamw=1e-5, sgd=5e-3)}
    )
    weight_decay: Weight | None = None
    steps: Steps = 1
    prior_strength: Weight = 16
    channels_last: bool = False
    preset: Preset = "suite"
    templates: Templates = "dataset"


@register
class Memo(ViewMethod[MemoParameters]):
    r"""Adaptation of the image encoder to each image, so that all of its views get the same, confident prediction.

    .. math:: \theta^* = \theta - \eta \nabla_\theta H(\bar p_\theta),
        \qquad \bar p_\theta = \frac{1}{N} \sum_k p_\theta(\cdot \mid \tilde x_k)

    The prediction is that for the evaluation crop under :math:`\theta^*`; then encoder and optimiser are reset. The
    authors' code restores the parameters alone: there the state of AdamW goes on from image to image, so that an answer
    depends on the images before; here every image begins with a new optimiser.
    """

    name = "memo"
    protocol = "episodic"
    summary = "the image encoder adapted to minimise the marginal entropy over augmented views"
    paper = "arXiv 2110.09506"
    adapts = "the image encoder, by default its normalisation layers"
    revision = 2
    published = Published(
        "zhangmarvin/memo, imagenet-exps/script_test_in.py and cifar-10-exps/script_test_c10.py: every parameter moves "
        "and all views are random",
        {"parameters": "with_head", "crop_in_loss": False},
    )

    def setup(self) -> None:
        chosen, encoder = self.parameters, self.teacher.image_encoder
        self.spec = ViewSpec(
            chosen.views if chosen.crop_in_loss else chosen.views + 1,
            self.crop_scale,
            chosen.augmix,
            crop=chosen.crop,
            fill=_FILL,
        )
        self.optimizer: Optimizer = chosen.optimizer or published_optimizer(self.teacher)
        rate = chosen.learning_rate
        self.learning_rate = rate.value(self.optimizer) if isinstance(rate, ByOptimizer) else rate
        decay = chosen.weight_decay
        self.weight_decay = _WEIGHT_DECAY.value(self.optimizer) if decay is None else decay
        layers = normalisation_layers(encoder) if chosen.parameters == "norm" else None
        prior = chosen.prior_strength / (chosen.prior_strength + 1)
        self.encoder = AdaptableEncoder(encoder, layers, prior=prior, channels_last=chosen.channels_last)
        with_head = chosen.parameters == "with_head" and has_head(self.teacher, self.class_weights)
        self.head = AdaptableHead(self.teacher, self.class_weights) if with_head else None

    def check_teacher(self) -> None:
        if self.parameters.parameters == "norm":
            require_normalisation(self.name, self.teacher)
        refuse_single_values(self.name, self.teacher)

    def resolved_parameters(self) -> dict[str, Any]:
        return {
            **super().resolved_parameters(),
            "optimizer": self.optimizer,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "adapted_head": self.head is not None,
        }

    def cost(self) -> Cost:
        passes = self.parameters.steps * self.parameters.views
        return Cost(image_forwards=passes + 1, image_backwards=passes)

    def predict(self, batch: Batch) -> Predictions:
        answers = [self._adapt(self.view_pixels(batch, index, self.spec)) for index in range(len(batch))]
        return Predictions(torch.cat(answers))

    def _adapt(self, views: Tensor) -> Tensor:
        """Compute logits ``(1, C)`` of one image from its views ``(N, 3, S, S)``."""
        kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[self.optimizer]
        moved = [*self.encoder.parameters, *(self.head.parameters if self.head else ())]
        optimizer = kind(moved, lr=self.learning_rate, weight_decay=self.weight_decay)
        crop, views = views[:1], views[-self.parameters.views :]
        for _ in range(self.parameters.steps):
            with torch.enable_grad():
                loss = marginal_entropy(self._adapted_logits(views))
                optimizer.zero_grad()
                loss.backward()
            optimizer.step()
        with torch.no_grad():
            logits = self._adapted_logits(crop)
        self.encoder.restore()
        if self.head is not None:
            self.head.restore()
        return logits

    def _adapted_logits(self, pixels: Tensor) -> Tensor:
        features = self.encoder(pixels)
        return self.logits(features) if self.head is None else self.head(features)


def published_optimizer(teacher: Teacher) -> Optimizer:
    """Return the optimiser of the authors' script for this architecture: of the ResNets, ResNeXt-101 has AdamW too."""
    return "sgd" if teacher.patch_size is None and not is_resnext_101(teacher.image_encoder) else "adamw"


def is_resnext_101(encoder: nn.Module) -> bool:
    """Return whether a network is a ResNet of 3, 4, 23 and 3 blocks with grouped convolutions."""
    for module in encoder.modules():
        stages = [getattr(module, f"layer{number}", None) for number in (1, 2, 3, 4)]
        if all(isinstance(stage, nn.Sequential) for stage in stages):
            depths = [len(stage) for stage in stages if isinstance(stage, nn.Sequential)]
            convolutions = [each for each in module.modules() if isinstance(each, nn.Conv2d)]
            return depths == [3, 4, 23, 3] and any(1 < each.groups < each.in_channels for each in convolutions)
    return False
