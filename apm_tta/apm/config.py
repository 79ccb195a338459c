"""Sizes of an APM and settings of its fit to one image; every field is a number that a paper would state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class APMConfig:
    """Sizes of the Asynchronous Perception Machine; the defaults are the published ones.

    Attributes:
        image_size: side S of the square input, in pixels.
        patch_size: kernel and stride P of the column's convolution, in pixels; divides ``image_size``.
        hidden: widths of the shared MLP's ReLU layers. The pretraining variant is
            ``(4096, 4096, 4096, 2048, 1024)``.
        feature_dim: F, the teacher's width; a multiple of ``heads`` and of 4.
        heads: attention heads of the learned query.
        rgb_hidden: width of the RGB head's two hidden layers.
        readout: ``token`` (the learned query attends) or ``mean`` (the average feature, as in the paper's figure).
        column: ``conv`` (the convolution encodes the image) or ``vit`` (the teacher's own token takes its place, as in
            the paper's ablation).
        init_std: standard deviation from which every fresh parameter is drawn.
    """

    image_size: int = 448
    patch_size: int = 14
    hidden: tuple[int, ...] = (4096, 2048, 1024)
    feature_dim: int = 768
    heads: int = 8
    rgb_hidden: int = 256
    readout: Literal["token", "mean"] = "token"
    column: Literal["conv", "vit"] = "conv"
    init_std: float = 0.01

    def __post_init__(self) -> None:
        sizes = {
            "image_size": self.image_size,
            "patch_size": self.patch_size,
            "feature_dim": self.feature_dim,
            "heads": self.heads,
            "rgb_hidden": self.rgb_hidden,
            **{f"hidden[{index}]": width for index, width in enumerate(self.hidden)},
        }
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} is {size}; it must be at least 1")
        if not self.hidden:
            raise ValueError("hidden is empty; the MLP needs at least one ReLU layer")
        if self.image_size % self.patch_size:
            raise ValueError(f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}")
        if self.position_dim % 4:
            raise ValueError(f"the grid of {self.grid} x {self.grid} has a column width that is not a multiple of 4")
        if self.feature_dim % self.heads or self.feature_dim % 4:
            raise ValueError(f"feature_dim {self.feature_dim} is not a multiple of 4 and of heads ({self.heads})")
        if self.readout not in ("token", "mean"):
            raise ValueError(f"readout is {self.readout!r}; it must be 'token' or 'mean'")
        if self.column not in ("conv", "vit"):
            raise ValueError(f"column is {self.column!r}; it must be 'conv' or 'vit'")
        if self.init_std <= 0:
            raise ValueError(f"init_std is {self.init_std}; it must be positive")

    @property
    def grid(self) -> int:
        """Locations g along each side, S / P."""
        return self.image_size // self.patch_size

    @property
    def position_dim(self) -> int:
        """Width D of the position code, g squared."""
        return self.grid**2

    @property
    def column_dim(self) -> int:
        """Width of the column: D, or the teacher's width where its token is the column."""
        return self.position_dim if self.column == "conv" else self.feature_dim

    @classmethod
    def for_teacher(cls, image_size: int, patch_size: int | None, feature_dim: int) -> APMConfig:
        """Return the published sizes for a teacher of at least 224 pixels; for a smaller one, those of its own grid.

        A small teacher's image and patch size give the column's width D, and the MLP keeps the published widths in
        units of it: 4 D, 2 D, D. The embedded teacher (32 pixels, patches of 4) gets 256, 128, 64.

        Args:
            image_size: side of the teacher's input, in pixels.
            patch_size: side of its patches, in pixels; None where it has none, which counts as an eighth of the image.
            feature_dim: width of its image embedding.
        """
        if image_size >= 224:
            return cls(feature_dim=feature_dim)
        patch = patch_size or max(1, image_size // 8)
        width = (image_size // patch) ** 2
        return cls(
            image_size=image_size // patch * patch,
            patch_size=patch,
            hidden=(4 * width, 2 * width, width),
            feature_dim=feature_dim,
            rgb_hidden=width,
        )


@dataclass(frozen=True)
class DistillConfig:
    """How a fresh APM is fitted to one image.

    Attributes:
        iterations: Adam steps.
        learning_rate: learning rate of the first step.
        decay_every: number of steps after which the learning rate is multiplied by ``decay_factor``; 0 means never.
        decay_factor: factor of the learning rate; see ``decay_every``.
        normalize_target: whether the teacher's embedding is scaled to unit norm before it serves as the target.
        token_weight: weight of the mean squared error between the token and the teacher's embedding.
        grid_weight: weight of the mean squared error between the features and the teacher's patch tokens (paper's
            ablation).
        rgb_weight: weight of the mean squared error between the decoded and the average-pooled image (paper's
            ablation).
    """

    iterations: int = 20
    learning_rate: float = 1e-4
    decay_every: int = 0
    decay_factor: float = 0.1
    normalize_target: bool = True
    token_weight: float = 1.0
    grid_weight: float = 0.0
    rgb_weight: float = 0.0

    def __post_init__(self) -> None:
        if self.iterations < 0:
            raise ValueError(f"iterations is {self.iterations}; it must be at least 0")
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be positive")
        if self.decay_every < 0:
            raise ValueError(f"decay_every is {self.decay_every}; it must be at least 0 (0 means never)")
        if self.decay_factor <= 0:
            raise ValueError(f"decay_factor is {self.decay_factor}; it must be positive")
        for name in ("token_weight", "grid_weight", "rgb_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0")

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of step ``step``, counted from 0."""
        drops = step // self.decay_every if self.decay_every else 0
        return self.learning_rate * self.decay_factor**drops


PRESETS: dict[str, DistillConfig] = {
    "few": DistillConfig(
        iterations=20,  # this suite's; the table of top-1 by iteration shows what fewer achieve
        learning_rate=1e-4,  # public code, arXiv 2410.20535
        decay_every=0,  # a fit of 20 steps ends before the public code's first drop
        normalize_target=True,  # this suite's: classification by cosine depends on the direction alone
    ),
    # As in the public code, except for what it does beside the paper's point: eight identical copies of the image, a
    # pass of the teacher at every iteration, and optimiser and schedule kept from image to image.
    "released": DistillConfig(
        iterations=1200,  # public code
        learning_rate=1e-4,  # public code
        decay_every=200,  # public code
        decay_factor=0.1,  # public code
        normalize_target=False,  # public code
    ),
}
