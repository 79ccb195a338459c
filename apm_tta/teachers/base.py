"""What a frozen encoder offers to methods, and how one is found by name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from apm_tta.registry import Registry


class Teacher(Protocol):
    """A frozen image encoder with class weights.

    Attributes:
        name: as on the command line and in the results table.
        feature_dim: F, width of the image embedding.
        image_size: side of its square input, pixels.
        patch_size: side of its patches, pixels; None where it has none.
        logit_scale: what cosines are multiplied by to become logits.
        device: where it computes.
        weights_sha256: of the weights that were loaded.
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
    def weights_sha256(self) -> str: ...

    def preprocess(self, image: Image.Image) -> Tensor:
        """An image -> its evaluation crop, normalised, ``(3, S, S)`` on the CPU."""
        ...

    def encode_image(self, pixels: Tensor) -> Tensor:
        """``(B, 3, S, S)`` -> embeddings ``(B, F)``, not normalised; differentiable where gradients are enabled."""
        ...

    def encode_grid(self, pixels: Tensor, layer: int = -1) -> Tensor:
        """``(B, 3, S, S)`` -> patch tokens of one layer ``(B, h, w, C)``; layers count from 0, or from the end.

        Raises:
            UserError: when the encoder has no patch tokens or no such layer.
        """
        ...

    def class_weights(self, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
        """One unit row a class, ``(C, F)``.

        .. math:: w_c = \\frac{\\sum_t e(t, c)}{\\lVert \\sum_t e(t, c) \\rVert}

        e(t, c) being the unit text embedding of class name c in template t.
        """
        ...


TeacherLoader = Callable[[str, torch.device], Teacher]
"""``(the whole name, device)`` -> the teacher."""

# Families by the part of the name before the first colon.
FAMILIES: Registry[TeacherLoader] = Registry("teacher")


def weights_sha256(model: nn.Module) -> str:
    """SHA-256 over names, shapes and bytes of all parameters and buffers, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tuple(values.shape)} {values.dtype}\n".encode())
        digest.update(np.ascontiguousarray(values.reshape(-1).view(torch.uint8).numpy()).data)
    return digest.hexdigest()
