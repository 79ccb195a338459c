"""A teacher around any small module, for tests that depend on the kind of encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize
from torchvision.transforms.functional import pil_to_tensor

from apm_tta.methods import Method
from apm_tta.teachers import Preprocessing


class StubTeacher:
    """A ``Teacher`` around ``encoder``, for images of 16 by 16 pixels and random class weights of 24 features."""

    name = "stub"
    classifier = "text"
    identity = {"weights_sha256": "0" * 64}  # noqa: RUF012
    feature_dim = 24
    image_size = 16
    patch_size = None
    text_tower = None
    support = None
    logit_scale = 20.0
    device = torch.device("cpu")
    preprocessing = Preprocessing(16, (0.3,) * 3, (0.4,) * 3, "bicubic")

    def __init__(self, encoder: nn.Module) -> None:
        self.image_encoder = encoder.eval().requires_grad_(False)

    def preprocess(self, image: Image.Image) -> Tensor:
        return (pil_to_tensor(image.convert("RGB").resize((16, 16))).float() / 255 - 0.3) / 0.4

    def encode_image(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.image_encoder(pixels)
        return features

    def scales(self, features: Tensor) -> Tensor:
        return torch.full_like(features[..., :1], self.logit_scale)

    def class_weights(self, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
        return normalize(torch.randn(len(classes), 24, generator=torch.Generator().manual_seed(5)), dim=-1)


@pytest.fixture(scope="session")
def stated() -> Callable[[Method], dict[str, Any]]:
    """Return a function of a method that returns its parameters as the manifest states them."""
    return lambda method: {**asdict(method.parameters), **method.resolved_parameters()}


@pytest.fixture(scope="session")
def stub_teacher() -> Callable[[nn.Module], StubTeacher]:
    return StubTeacher


@pytest.fixture(scope="session")
def batch_norm_teacher() -> StubTeacher:
    return StubTeacher(_batch_norm_encoder())


@pytest.fixture
def batch_norm_encoder() -> nn.Module:
    """Build two convolutions with BatchNorm, whose running averages are far from those of real images."""
    return _batch_norm_encoder()


def _batch_norm_encoder() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        encoder = nn.Sequential(
            nn.Conv2d(3, 12, 3, stride=2),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Conv2d(12, 16, 3),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 24),
        )
        for layer in encoder:
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.uniform_(layer.weight, 0.5, 1.5)
                nn.init.normal_(layer.bias, std=0.3)
                nn.init.normal_(layer.running_mean, std=0.5)
                nn.init.uniform_(layer.running_var, 0.3, 2)
    return encoder.eval()


@pytest.fixture
def without_norm_encoder() -> nn.Module:
    """Build a linear map, and a normalisation layer without parameters to adapt."""
    return nn.Sequential(nn.Flatten(), nn.LayerNorm(768, elementwise_affine=False), nn.Linear(768, 24))
