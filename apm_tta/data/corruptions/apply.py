"""Apply one corruption to one image: names, severities, parameters, input and output types."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apm_tta.data.corruptions.revisions import REVISIONS, Family
from apm_tta.data.sample import SEVERITIES
from apm_tta.errors import UnknownName, UserError
from apm_tta.registry import Registry

Parameters = Literal["imagenet", "cifar"]
Generator = np.random.Generator | np.random.RandomState
# Between CIFAR's 32 px and the 64 px of Tiny-ImageNet, whose authors' parameters are a third set.
_CIFAR_BELOW = 64


class CorruptionFunction(Protocol):
    """A function ``(image, parameter, rng)`` -> values in 0 .. 255 ``(H, W, 3)``, which are truncated to uint8."""

    def __call__(self, image: Image.Image, parameter: Any, rng: Generator) -> NDArray[Any]: ...


@dataclass(frozen=True)
class Corruption:
    """A corruption function with the parameter that its authors chose for each severity, 1 to 5.

    Attributes:
        family: the group that its authors put it in; that family's revision covers its pixels.
        function: the computation.
        imagenet: parameters for images of 224 pixels (``make_imagenet_c.py``).
        cifar: parameters for images of 32 pixels (``make_cifar_c.py``); empty where its authors chose none.
    """

    family: Family
    function: CorruptionFunction
    imagenet: Sequence[Any]
    cifar: Sequence[Any]


CORRUPTIONS: Registry[Corruption] = Registry("corruption")
F = TypeVar("F", bound=CorruptionFunction)


def corruption(family: Family, imagenet: Sequence[Any], cifar: Sequence[Any]) -> Callable[[F], F]:
    """Register the decorated function under its own name, with its family and its parameters for severities 1 to 5."""

    def decorate(function: F) -> F:
        CORRUPTIONS.register(function.__name__)(Corruption(family, function, imagenet, cifar))  # type: ignore[attr-defined]
        return function

    return decorate


@overload
def corrupt(
    image: Image.Image, name: str, severity: int, *, rng: Generator, parameters: Parameters | None = None
) -> Image.Image: ...


@overload
def corrupt(
    image: NDArray[np.uint8], name: str, severity: int, *, rng: Generator, parameters: Parameters | None = None
) -> NDArray[np.uint8]: ...


def corrupt(
    image: Image.Image | NDArray[np.uint8],
    name: str,
    severity: int,
    *,
    rng: Generator,
    parameters: Parameters | None = None,
) -> Image.Image | NDArray[np.uint8]:
    """Corrupt an image; the result has the type of the input.

    Args:
        image: a PIL image of mode RGB or L or a uint8 array ``(H, W, 3)``.
        name: one of ``CORRUPTIONS.names()``.
        severity: 1 .. 5.
        rng: the source of every random draw; the same state yields the same image.
        parameters: which authors' severities: ``imagenet``, meant for images of 224 pixels, or ``cifar``, for 32; None
            uses CIFAR's below a shorter side of 64 pixels. A ``Dataset`` brings images to the size: see ``frame``.

    Raises:
        UnknownName: for an unknown corruption, listing those that exist.
        UserError: for a severity outside 1 .. 5, or an image of another kind.
    """
    chosen = CORRUPTIONS.get(name)
    if not isinstance(severity, int) or severity not in SEVERITIES:
        raise UserError(f"severity {severity} of {name} does not exist; severities are 1 to 5", exit_code=2)
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise UserError(f"an image of {image.dtype} {image.shape} cannot be corrupted; expected uint8 (H, W, 3)")
        return np.array(corrupt(Image.fromarray(image), name, severity, rng=rng, parameters=parameters))
    if not isinstance(image, Image.Image):
        raise UserError(f"a {type(image).__name__} cannot be corrupted; expected a PIL image or uint8 (H, W, 3)")
    if image.mode not in ("RGB", "L"):
        raise UserError(f"an image of mode {image.mode} cannot be corrupted; convert it to RGB first")
    rgb = image.convert("RGB")
    if parameters is None:
        parameters = "cifar" if min(rgb.size) < _CIFAR_BELOW else "imagenet"
    tables = {"imagenet": chosen.imagenet, "cifar": chosen.cifar}
    if parameters not in tables:
        raise UnknownName("set of corruption parameters", parameters, tables)
    table = tables[parameters]
    if not table:
        raise UserError(f"{name} has no severities for images of {parameters.upper()}'s size: its authors chose none")
    values = chosen.function(rgb, table[severity - 1], rng)
    return Image.fromarray(np.asarray(values).astype(np.uint8))


def corruptions_for(parameters: Parameters) -> list[str]:
    """Return the names of the corruptions whose authors chose such parameters, sorted."""
    return [name for name in CORRUPTIONS.names() if getattr(CORRUPTIONS.get(name), parameters)]


def corruption_families(names: Iterable[str]) -> set[Family]:
    """Return the families that these corruptions belong to; see ``corruption_revisions``."""
    return {CORRUPTIONS.get(name).family for name in names if name != "clean"}


def corruption_revisions(names: Iterable[str]) -> dict[str, int]:
    """Return the revisions of the families that these corruptions belong to, by family, in the order of ``REVISIONS``.

    Args:
        names: from ``CORRUPTIONS.names()``; ``clean``, which belongs to no family, is allowed too.

    Raises:
        UnknownName: for an unknown corruption, listing those that exist.
    """
    used = corruption_families(names)
    return {family: revision for family, revision in REVISIONS.items() if family in used}


def through_jpeg(image: Image.Image, quality: int) -> Image.Image:
    """Encode the image as JPEG at ``quality``, 1 .. 100, and decode it to RGB; the released ImageNet-C used 85.

    Raises:
        UserError: for a quality outside 1 .. 100.
    """
    if not 1 <= quality <= 100:
        raise UserError(f"JPEG quality {quality} does not exist; expected 1 to 100", exit_code=2)
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")
