"""The interface of a frozen encoder, its labelled images, and the registry by which it is found by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

import torch
from PIL import Image
from torch import Tensor, nn

from apm_tta.registry import Registry
from apm_tta.teachers.preprocessing import Preprocessing
from apm_tta.teachers.prompt_tokens import CheckedTokenizer
from apm_tta.teachers.text_tower import TextTower

Classifier = Literal["text", "head", "prototypes", "prompts"]
"""Where class weights come from: a text tower, the checkpoint's linear head, labelled images, or learned prompts."""

OWN_CLASSIFIERS: tuple[Classifier, ...] = ("text", "head", "prototypes")
"""Those that a teacher can be asked for by name."""


@dataclass(frozen=True)
class Support:
    """Features of labelled images.

    Attributes:
        features: unit rows, ``(N, F)``; without the constants that a teacher with a linear head appends to them.
        labels: indices into ``classes``, ``(N,)``.
        classes: names in label order; each has at least one image.
        fingerprint: SHA-256 of the images' ids, labels and contents.
        pixels: returns the teacher's input for the image of that index, ``(3, S, S)``, on the CPU, read anew.
    """

    features: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    fingerprint: str
    pixels: Callable[[int], Tensor]


class Teacher(Protocol):
    """A frozen image encoder with class weights.

    Attributes:
        name: as on the command line and in the results table.
        feature_dim: F, width of the image embedding.
        image_size: S, side of its square input, pixels.
        patch_size: side of its patches, pixels; None where it has none.
        logit_scale: factor that turns cosines into logits; see ``scales``.
        device: device on which it computes.
        classifier: where its class weights come from.
        classifiers: where they can come from, the default first.
        identity: what features and class weights depend on besides the image and the classes, as plain text: the
            SHA-256 of the weights file as ``sha256sum`` prints it (``weights_sha256``), architecture with its
            arguments, preprocessing, activation, and what is stated of the classes of a head.
        preprocessing: size, normalisation and interpolation of its input, for augmented views.
        image_encoder: module whose forward is ``encode_image``, for methods that adapt its parameters on a copy.
        support: features of labelled images, for methods that use them; None where no images were given.
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
    def tokenizer_sha256(self) -> str | None:
        """Return the digest of what prompts become tokens with; None where class weights do not come from text.

        Raises:
            UserError: when the tokenizer is not available.
        """
        ...

    @property
    def text_tower(self) -> TextTower | None:
        """Return the text tower through which prompts are tuned, always the same object; None where there is none.

        Raises:
            UserError: when prompts cannot be tuned through the tower, or its tokenizer is not available.
        """
        ...

    @property
    def learned_context(self) -> Tensor | None:
        """Return learned vectors that stand before class names, ``(n, W)`` or, for each class, ``(C, n, W)``.

        None where words do.
        """
        ...

    def preprocess(self, image: Image.Image) -> Tensor:
        """Return the normalised evaluation crop of an image, ``(3, S, S)`` on the CPU."""
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
        """Compute the tokens of one layer, by location.

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
        """Compute ``encode_grid`` for several layers in one pass, in the order of ``layers``."""
        ...

    @property
    def layers(self) -> int:
        """Return the number of layers that ``encode_grid`` can return.

        Raises:
            UserError: when the encoder has no tokens by location. Exit code 2.
        """
        ...

    def scales(self, features: Tensor) -> Tensor:
        """Return the factors ``(..., 1)`` that turn cosines of features ``(..., F)`` with class weights into logits."""
        ...

    def class_weights(self, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
        r"""Return one unit row per class, ``(C, F)``.

        With a text tower:

        .. math:: w_c = \frac{\sum_t e(t, c)}{\lVert \sum_t e(t, c) \rVert}

        where e(t, c) is the unit text embedding of class name c in template t. A head and prototypes ignore templates.

        Raises:
            UserError: when there are no weights for these classes.
        """
        ...


@dataclass(frozen=True)
class Source:
    """A teacher that has been found and can be built; only its configuration has been read.

    Attributes:
        name: as requested.
        identity: see ``Teacher.identity``.
        classifier: see ``Teacher.classifier``.
        classifiers: see ``Teacher.classifiers``.
        preprocessing: see ``Teacher.preprocessing``.
        transform: see ``Teacher.preprocess``.
        build: takes the device, reads the weights and returns the teacher.
        tokenizer: returns the tokenizer of its text tower, always the same; None where there is no such tower.
        tokenizer_sha256: likewise, the digest of what that makes tokens with.
    """

    name: str
    identity: Mapping[str, str]
    classifier: Classifier
    classifiers: tuple[Classifier, ...]
    preprocessing: Preprocessing
    transform: Callable[[Image.Image], Tensor]
    build: Callable[[torch.device], Teacher]
    tokenizer: Callable[[], CheckedTokenizer] | None = None
    tokenizer_sha256: Callable[[], str] | None = None


Family = Callable[[str, str], Source]
"""Take the whole name and a classifier or ``auto``; return the source.

Raise ``UserError`` when there is no such teacher, its weights are not available, or it has no such classifier.
"""

F = TypeVar("F", bound=Family)
_RUN_CODE: set[Family] = set()


def runs_code(family: F) -> F:
    """Mark a family whose teachers are code of the user's: it is asked for only where that was allowed."""
    _RUN_CODE.add(family)
    return family


def is_code(family: Family) -> bool:
    """Return whether a family was marked by ``runs_code``."""
    return family in _RUN_CODE


# Keyed by the part of the name before the first colon.
FAMILIES: Registry[Family] = Registry("teacher")
