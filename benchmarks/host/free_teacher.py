"""A teacher that costs nothing: what is left of a run is what the host does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

from apm_tta.teachers.base import FAMILIES, Classifier, Source, Teacher
from apm_tta.teachers.preprocessing import Preprocessing
from apm_tta.teachers.source_teacher import SourceTeacher

FAMILY = "free"
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_WIDTH, _LENGTH = 8, 16


class _Encoder(nn.Module):
    """An encoder that reads a few values of an image, and normalises them: that is a layer which methods adapt."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)

    def forward(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.norm(pixels.flatten(1)[:, : self.norm.normalized_shape[0]])
        return features


class _TextTower:
    """A text tower that adds up what a prompt's tokens are embedded as; see ``TextTower``."""

    width, layers, heads = _WIDTH, 1, 1

    def __init__(self, features: int, device: torch.device) -> None:
        generator = torch.Generator().manual_seed(0)
        self._table = torch.randn(256, _WIDTH, generator=generator).to(device)
        self._projection = torch.randn(_WIDTH, features, generator=generator).to(device)
        self._device = device

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        rows = [[1, *prompt.encode()[: _LENGTH - 2]] for prompt in prompts]
        return torch.tensor([[*row, 2, *[0] * (_LENGTH - 1 - len(row))] for row in rows], device=self._device)

    def truncate(self, tokens: Tensor) -> Tensor:
        return tokens

    def embed(self, tokens: Tensor) -> Tensor:
        return self._table[tokens]

    def encode(self, embedded: Tensor, tokens: Tensor) -> Tensor:
        return embedded.sum(1) @ self._projection


class FreeTeacher(SourceTeacher):
    """A teacher whose encoder and text tower answer at once.

    Args:
        source: with its name and input.
        features: F.
        device: where it computes.
    """

    def __init__(self, source: Source, features: int, device: torch.device) -> None:
        super().__init__(source, device)
        self.feature_dim, self.patch_size, self.logit_scale = features, None, 100.0
        self.image_encoder: nn.Module = _Encoder(features).to(device).eval().requires_grad_(False)
        self.text_tower = _TextTower(features, device)

    def encode_image(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.image_encoder(pixels)
        return features

    def class_weights(self, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
        generator = torch.Generator().manual_seed(len(templates))
        return normalize(torch.randn(len(classes), self.feature_dim, generator=generator), dim=-1).to(self.device)


def free_name(size: int, features: int) -> str:
    """Return the name of the teacher with an input of S pixels and F features."""
    return f"{FAMILY}:{size}:{features}"


def _source(name: str, classifier: str) -> Source:
    size, features = map(int, name.split(":")[1:])
    preprocessing = Preprocessing(size, _MEAN, _STD, "bicubic")
    resize = Resize(size, InterpolationMode.BICUBIC)
    transform: Callable[[Image.Image], Tensor] = Compose([resize, CenterCrop(size), ToTensor(), Normalize(_MEAN, _STD)])
    only: Classifier = "text"

    def build(source: Source, device: torch.device) -> Teacher:
        return FreeTeacher(source, features, device)  # type: ignore[return-value]  it has no grids

    identity = {"free": name}
    source = Source(name, identity, only, (only,), preprocessing, transform, lambda device: build(source, device))
    return source


FAMILIES.register(FAMILY)(_source)
