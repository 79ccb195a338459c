"""How much is measured: on a GPU, and by ``--smoke`` on a CPU, where it is shown that everything runs to its end."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from apm_tta.methods import METHODS


@dataclass(frozen=True)
class Sizes:
    """The sizes of every measurement.

    Attributes:
        architecture: of open_clip, whose weights are drawn; None for the embedded teacher.
        classes: number of classes.
        side: width and height of a photograph, pixels.
        cheap: images of a method that needs one pass per image.
        dear: images of one that needs many.
        batch_cheap: images in a batch of the former.
        batch_dear: of the latter.
        answers: images whose answers are compared between the CPU and the GPU.
        settings: parameters of methods that are not their defaults.
        product: side of the square matrices whose product is timed.
        copied: bytes that are copied to measure the bandwidth.
        iterations: of the APM, of which the dearest part is timed.
        together: images whose APMs are fitted at once, at most.
        small_apm: whether the APM has the embedded size in place of the published one.
        precisions: in which methods are measured; None for all.
        methods: those that are compared and measured; None for all.
    """

    architecture: str | None = "ViT-B-16"
    classes: int = 1000
    side: tuple[int, int] = (500, 375)
    cheap: int = 4096
    dear: int = 160
    batch_cheap: int = 256
    batch_dear: int = 32
    answers: int = 200
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    product: int = 8192
    copied: int = 2**30
    iterations: int = 20
    together: int = 64
    small_apm: bool = False
    precisions: tuple[str, ...] | None = None
    methods: tuple[str, ...] | None = None


def _smallest(name: str) -> dict[str, int]:
    """Return settings of a method with two views and batches of two, where it has such parameters."""
    known = {field.name for field in fields(METHODS.get(name).Parameters)}
    return dict.fromkeys(sorted({"views", "batch_size"} & known), 2)


FULL = Sizes()
SMOKE = Sizes(
    architecture=None,
    classes=2,
    side=(40, 32),
    cheap=6,
    dear=6,
    batch_cheap=2,
    batch_dear=2,
    answers=2,
    settings={
        **{name: own for name in METHODS.names() if (own := _smallest(name))},
        "apm": {"iterations": 2},
    },
    product=64,
    copied=2**16,
    iterations=2,
    together=2,
    small_apm=True,
    precisions=("float32",),
    methods=("apm", "mta", "tda", "tent", "zeroshot"),
)
