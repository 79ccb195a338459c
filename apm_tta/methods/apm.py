"""APM (arXiv 2410.20535): distil the teacher's embedding of each image into a fresh APM and classify its token."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MaxLen, MinLen
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize, pad

from apm_tta.apm import PRESETS, APMConfig, DistillConfig, distill
from apm_tta.apm.kept_memory import KeptMemory
from apm_tta.methods import mta, vte
from apm_tta.methods.apm_input import apm_input, apm_squares
from apm_tta.methods.base import Cost, Method, Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.parameter_types import Rate, Views, Weight, Width
from apm_tta.methods.parameters import Templates
from apm_tta.methods.preparation import Preparation
from apm_tta.methods.shared_values import prepared
from apm_tta.methods.views import ViewSpec, drawn_views
from apm_tta.precision import full_precision
from apm_tta.randomness import seed_for
from apm_tta.teachers import Teacher

# The APM's eight heads share its width, and its position code divides it by four: other widths are padded with zeros.
_WIDTH_MULTIPLE = 8


@dataclass(frozen=True)
class APMParameters:
    """Parameters of ``apm``. A value of None is taken from the preset, or from the teacher's sizes.

    Attributes:
        preset: ``few`` (this suite's) or ``released`` (the public code's raw target and 1200 iterations).
        iterations: Adam steps per image.
        learning_rate: of Adam; the public code's 1e-4 in both presets.
        normalize_target: whether the teacher's embedding is scaled to unit norm.
        target: what the APM is fitted to: ``view0``, the evaluation crop's embedding (public code); ``vte`` or ``mta``,
            the direction that these methods find the views to agree on, at the length of ``view0``'s embedding.
        views: N of ``vte`` and ``mta``, with their default.
        readout: ``token`` (public code) or ``mean`` (the paper's figure 1).
        hidden: widths of the MLP; published 4096, 2048, 1024, used for teachers of 224 pixels and more.
        column: ``conv`` (public code) or ``vit``, the teacher's embedding in its place (paper's ablation).
        rgb_weight: weight of the decoded image's error (paper's ablation); 0, as in the public code at test time.
        compile: whether to run the fit through ``torch.compile``.
        templates: as for ``zeroshot``, so that the two methods differ only in the feature.
    """

    preset: Literal["few", "released"] = "few"
    iterations: Annotated[int, Ge(0), Le(100_000)] | None = None
    learning_rate: Rate | None = None
    normalize_target: bool | None = None
    target: Literal["view0", "vte", "mta"] = "view0"
    views: Views = 64
    readout: Literal["token", "mean"] = "token"
    hidden: Annotated[tuple[Width, ...], MinLen(1), MaxLen(64)] | None = None
    column: Literal["conv", "vit"] = "conv"
    rgb_weight: Weight = 0.0
    compile: bool = False
    templates: Templates = "dataset"

    def fit(self) -> DistillConfig:
        """Return the preset, overridden by the values that were set."""
        names = ("iterations", "learning_rate", "normalize_target")
        chosen = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return replace(PRESETS[self.preset], rgb_weight=self.rgb_weight, **chosen)

    def sizes(self, teacher: Teacher) -> APMConfig:
        """Return the sizes of the APM that fits ``teacher``."""
        width = math.ceil(teacher.feature_dim / _WIDTH_MULTIPLE) * _WIDTH_MULTIPLE
        config = APMConfig.for_teacher(teacher.image_size, teacher.patch_size, width)
        return replace(config, readout=self.readout, column=self.column, hidden=self.hidden or config.hidden)


@register
class APMMethod(Method[APMParameters]):
    """A fresh APM per image, fitted to the teacher's embedding of the evaluation crop."""

    name = "apm"
    protocol = "episodic"
    summary = "a fresh APM fitted to the teacher's embedding of each image"
    fast = True
    paper = "arXiv 2410.20535"
    adapts = "every parameter of the APM"
    revision = 2

    def setup(self) -> None:
        self.config = self.parameters.sizes(self.teacher)
        self._square = apm_input(self.config.image_size)
        self._kept = KeptMemory()
        self._view_spec = ViewSpec(self.parameters.views, self.task.crop_scale)

    @classmethod
    def companions(cls, parameters: Any) -> tuple[str, ...]:
        """Name the method that computes the target, against which an APM fitted to it is to be judged."""
        return () if parameters.target == "view0" else (parameters.target,)

    def resolved_parameters(self) -> dict[str, Any]:
        return {**asdict(self.config), **asdict(self.parameters.fit())}

    def predict(self, batch: Batch) -> Predictions:
        targets = self.targets(batch)
        fitted = distill(
            self.input(batch),
            pad(targets, (0, self.config.feature_dim - targets.shape[1])),
            self.config,
            self.parameters.fit(),
            seeds=[seed_for(self.seed, sample_id, "fresh APM") for sample_id in batch.ids],
            memory=self.memory,
            compile=self.parameters.compile,
            kept=self._kept,
        )
        tokens = fitted.trajectory[..., : targets.shape[1]].float()
        with full_precision(self.teacher.device.type):
            scales = self.teacher.scales(targets.float())[:, None]
            logits = scales * normalize(tokens, dim=-1) @ self.class_weights.T
        return Predictions(
            logits=logits[:, -1],
            iteration_classes=logits.argmax(-1),
            losses=fitted.losses,
            cosines=cosine_similarity(tokens, targets[:, None], dim=-1),
            target_classes=self.logits(targets).argmax(1),
        )

    def targets(self, batch: Batch) -> Tensor:
        """Compute what the APMs of ``batch`` are fitted to, ``(B, F)``, not normalised."""
        first = self.features(batch)
        if self.parameters.target == "view0":
            return first
        views = self.view_features(batch, self._view_spec)
        consensus = vte.consensus if self.parameters.target == "vte" else mta.consensus
        directions = consensus(normalize(views, dim=-1), self.class_weights, self.teacher.scales(views))
        lengths: Tensor = first.norm(dim=-1, keepdim=True)
        return normalize(directions, dim=-1) * lengths

    def cost(self) -> Cost:
        iterations = self.parameters.fit().iterations
        views = 1 if self.parameters.target == "view0" else self.parameters.views
        return Cost(image_forwards=views, other=f"{iterations} iterations of the APM")

    def preparations(self) -> tuple[Preparation, ...]:
        squares = apm_squares(self.config.image_size)
        if self.parameters.target == "view0" or self.parameters.views == 1:
            return (squares,)
        return squares, drawn_views(self._view_spec, self.seed, self.teacher.image_size)

    def input(self, batch: Batch) -> Tensor:
        """Return the APM's own input ``(B, 3, S, S)``: whole images resized to squares, ImageNet-normalised."""
        squares = prepared(batch, apm_squares(self.config.image_size))
        return self._square.normalized(squares.to(self.teacher.device, non_blocking=True))
