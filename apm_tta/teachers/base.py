"""What a frozen encoder offers to methods, what labelled images stand beside one, and how one is found by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from PIL import Image
from torch import Tensor, nn

from apm_tta.registry import Registry
from apm_tta.teachers.preprocessing import Preprocessing
from apm_tta.teachers.text_tower import TextTower

Classifier = Literal["text", "head", "prototypes"]
"""Where class weights come from: a text tower, the checkpoint's linear head, or labelled images."""


@dataclass(frozen=True)
class Support:
    """Features of labelled images.

    Attributes:
        features: unit rows, ``(N, F)``; without the constants that a teacher with a linear head puts behind them.
        labels: indices into ``classes``, ``(N,)``.
        classes: names in label order; every one has an image.
        fingerprint: SHA-256 of the images' ids, labels and contents.
    """

    features: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    fingerprint: str


class Teacher(Protocol):
    """A frozen image encoder with class weights.

    Attributes:
        name: as on the command line and in the results table.
        feature_dim: F, width of the image embedding.
        image_size: S, side of its square input, pixels.
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
        support: features of labelled images, for methods that ask them; None where nobody gave any.
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
    @property
    def support(self) -> Support | None: ...

    @property
    def text_tower(self) -> TextTower | None:
        """Return the tower that prompts are tuned through, the same object every time; None where there is none.

        Raises:
            UserError: when there is one that prompts cannot be tuned through, or its tokenizer cannot be had.
        """
        ...

    def preprocess(self, image: Image.Image) -> Tensor:
        """Return an image's evaluation crop, normalised, ``(3, S, S)`` on the CPU."""
        ...

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Embed images.

        Args:
            pixels: ``(B, 3, S, S)``.

        Returns:
            Embeddings ``(B, F)``, not normalised; differentiable where gradients are enabled.
        """
        ...

    def encode_grid(self, pixels: Tensor, layer: int = -1) -> Tensor:
        """Compute the tokens of one layer by location.

        Args:
            pixels: ``(B, 3, S, S)``.
            layer: counted from 0, or from the end.

        Returns:
            Tokens ``(B, h, w, C)``.

        Raises:
            UserError: when the encoder has no tokens by location or no such layer. Exit code 2.
        """
        ...

    def encode_grids(self, pixels: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """Compute what ``encode_grid`` does, of several layers from one pass, in the order of ``layers``."""
        ...

    @property
    def layers(self) -> int:
        """Return how many layers ``encode_grid`` has.

        Raises:
            UserError: when the encoder has no tokens by location. Exit code 2.
        """
        ...

    def scales(self, features: Tensor) -> Tensor:
        """Return what cosines of features ``(..., F)`` with class weights are multiplied by, ``(..., 1)``."""
        ...

    def class_weights(self, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
        r"""Return one unit row per class, ``(C, F)``.

        By a text tower:

        .. math:: w_c = \frac{\sum_t e(t, c)}{\lVert \sum_t e(t, c) \rVert}

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
"""Takes the whole name and a classifier or ``auto``, returns the source.

Raises ``UserError`` when there is no such teacher, its weights are not to be had, or it has no such classifier.
"""

# By the part of the name before the first colon.
FAMILIES: Registry[Family] = Registry("teacher")
