"""What a frozen encoder offers to methods, and how one is found by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from PIL import Image
from torch import Tensor, nn

from apm_tta.registry import Registry
from apm_tta.teachers.preprocessing import Preprocessing

Classifier = Literal["text", "head", "prototypes"]
"""Where class weights come from: a text tower, the checkpoint's linear head, or labelled images."""


class Teacher(Protocol):
    """A frozen image encoder with class weights.

    Attributes:
        name: as on the command line and in the results table.
        feature_dim: F, width of the image embedding.
        image_size: side of its square input, pixels.
        patch_size: side of its patches, pixels; None where it has none.
        logit_scale: what cosines are multiplied by to become logits; see ``scales``.
        device: where it computes.
        classifier: where its class weights come from.
        classifiers: where they can come from, the default first.
        identity: what features and class weights depend on beside the image and the classes, as plain text: the
            SHA-256 of the file of weights as ``sha256sum`` prints it (``weights_sha256``), architecture, preprocessing
            and activation.
        preprocessing: size, normalisation and interpolation of its input, for augmented views.
        image_encoder: module whose forward is ``encode_image``, for methods that adapt its parameters on a copy.
    """

    @property
    def name(self) -> str: ...
    @property
    def feature_dim(self) -> int: ...
    @property
    def image_size(self) -> int: ...
    @property
    def patch_size(self) -> int | None: ...
    @property
    def logit_scale(self) -> float: ...
    @property
    def device(self) -> torch.device: ...
    @property
    def classifier(self) -> Classifier: ...
    @property
    def classifiers(self) -> tuple[Classifier, ...]: ...
    @property
    def identity(self) -> Mapping[str, str]: ...
    @property
    def preprocessing(self) -> Preprocessing: ...
    @property
    def image_encoder(self) -> nn.Module: ...

    def preprocess(self, image: Image.Image) -> Tensor:
        """An image -> its evaluation crop, normalised, ``(3, S, S)`` on the CPU."""
        ...

    def encode_image(self, pixels: Tensor) -> Tensor:
        """``(B, 3, S, S)`` -> embeddings ``(B, F)``, not normalised; differentiable where gradients are enabled."""
        ...

    def encode_grid(self, pixels: Tensor, layer: int = -1) -> Tensor:
        """``(B, 3, S, S)`` -> tokens of one layer by location ``(B, h, w, C)``; layers count from 0, or from the end.

        Raises:
            UserError: when the encoder has no tokens by location or no such layer.
        """
        ...

    def encode_grids(self, pixels: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """As ``encode_grid``, of several layers from one pass, in the order in which they are asked for."""
        ...

    @property
    def layers(self) -> int:
        """How many layers ``encode_grid`` has.

        Raises:
            UserError: when the encoder has no tokens by location. Exit code 2.
        """
        ...

    def scales(self, features: Tensor) -> Tensor:
        """Features ``(..., F)`` -> what their cosines with class weights are multiplied by, ``(..., 1)``."""
        ...

    def class_weights(self, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
        """One unit row a class, ``(C, F)``.

        By a text tower:

        .. math:: w_c = \\frac{\\sum_t e(t, c)}{\\lVert \\sum_t e(t, c) \\rVert}

        e(t, c) being the unit text embedding of class name c in template t. A head or prototypes know no templates.

        Raises:
            UserError: when there are no weights for these classes.
        """
        ...


@dataclass(frozen=True)
class Source:
    """A teacher that has been found and can be built; nothing of it but its configuration has been read.

    Attributes:
        name: as it was asked for.
        identity: see ``Teacher.identity``.
        classifier: see there.
        classifiers: see there.
        preprocessing: see there.
        transform: see ``Teacher.preprocess``.
        build: reads the weights; takes the device.
    """

    name: str
    identity: Mapping[str, str]
    classifier: Classifier
    classifiers: tuple[Classifier, ...]
    preprocessing: Preprocessing
    transform: Callable[[Image.Image], Tensor]
    build: Callable[[torch.device], Teacher]


Family = Callable[[str, str], Source]
"""``(the whole name, classifier or "auto")`` -> the source.

Raises ``UserError`` when there is no such teacher, its weights are not to be had, or it has no such classifier.
"""

# By the part of the name before the first colon.
FAMILIES: Registry[Family] = Registry("teacher")
