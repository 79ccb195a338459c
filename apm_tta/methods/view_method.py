"""The common base of methods that use several views of an image."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor
from torch.nn.functional import normalize
from typing_extensions import TypeVar

from apm_tta.methods.base import Cost, Method
from apm_tta.methods.batch import Batch
from apm_tta.methods.preparation import Preparation
from apm_tta.methods.views import ViewSpec, drawn_views

_PUBLISHED_CROP = (0.08, 1.0)
"""The default of torchvision's ``RandomResizedCrop``, which the script of every method over views leaves as it is."""


class ViewParameters(Protocol):
    """Parameters of a method over views.

    Attributes:
        templates: as in every method.
        views: N, the evaluation crop included.
    """

    @property
    def templates(self) -> str: ...
    @property
    def views(self) -> int: ...


V = TypeVar("V", bound=ViewParameters, default=Any)


class ViewMethod(Method[V]):
    """A method over several views of each image.

    Attributes:
        spec: describes the views; a subclass whose views go through AugMix sets it in its own ``setup``.
    """

    spec: ViewSpec

    def setup(self) -> None:
        self.spec = ViewSpec(self.parameters.views, self.crop_scale)

    @property
    def crop_scale(self) -> tuple[float, float]:
        """The smallest and the largest share of an image that a view shows: the suite's, or as published."""
        return _PUBLISHED_CROP if getattr(self.parameters, "preset", "") == "published" else self.task.crop_scale

    def unit_views(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return unit embeddings of the views ``(B, N, F)``, and factors ``(B, N, 1)`` from cosines to logits."""
        features = self.view_features(batch, self.spec)
        return normalize(features.float(), dim=-1), self.teacher.scales(features)

    def preparations(self) -> tuple[Preparation, ...]:
        return (drawn_views(self.spec, self.seed, self.teacher.image_size),) if self.spec.count > 1 else ()

    def resolved_parameters(self) -> dict[str, Any]:
        return {"crop_scale": list(self.spec.crop_scale)}

    def cost(self) -> Cost:
        return Cost(image_forwards=self.spec.count)
