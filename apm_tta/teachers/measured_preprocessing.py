"""What a network's evaluation transform does to pixels, measured from the transform itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from apm_tta.errors import UserError, describe_error
from apm_tta.teachers.preprocessing import Preprocessing

Transform = Callable[[Image.Image], Tensor]
"""Makes a network's input ``(3, S, S)``, normalised, from an RGB image."""

_BLACK, _GREY, _WHITE = 0, 51, 255
_TOLERANCE = 1e-4
_PROBE_SIDE = 512
_REGION_SIZES = ((512, 512), (640, 480), (480, 640))
_REPETITIONS = 16
"""So often a transform has to make the same of an image: a coin is not thrown so often with one outcome."""
_STATE_IT = "state it as apm_tta.Preprocessing(size, mean, std, interpolation)"


def evaluation_transform(preprocessing: Preprocessing) -> Transform:
    """Build the usual transform: shorter side to ``size``, a square from the centre, normalised."""
    size, (mean, std) = preprocessing.size, (preprocessing.mean, preprocessing.std)
    if not (isinstance(size, int) and size > 0 and len(mean) == len(std) == 3 and all(value > 0 for value in std)):
        raise UserError(
            f"{preprocessing} is not a preprocessing: size and std are above 0, mean and std of 3 channels", 2
        )
    mode = InterpolationMode(_check_interpolation(preprocessing.interpolation))
    transform: Transform = v2.Compose(
        [
            v2.Resize(preprocessing.size, mode, antialias=True),
            v2.CenterCrop(preprocessing.size),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(list(preprocessing.mean), list(preprocessing.std)),
        ]
    )
    return transform


def measure_preprocessing(transform: Transform, interpolation: str | None = None) -> Preprocessing:
    """Measure size, mean and standard deviation from what ``transform`` makes of plain images.

    A black image becomes -mean / std, a white one (1 - mean) / std; a grey and a red one tell whether that is all that
    happens to values. What happens to places, such as the crop, is the transform's own affair: views are other crops.
    How it resizes cannot be seen on plain images either: it is read from the transform's ``interpolation``.

    Args:
        transform: takes an RGB image, returns ``(3, S, S)``.
        interpolation: of resizing; None reads it from the transform or, of a composition, from its parts.

    Raises:
        UserError: when the transform does anything else to values, is random, or does not say how it resizes. Exit
            code 2.
    """
    black, grey, white = (_plain(transform, (level,) * 3) for level in (_BLACK, _GREY, _WHITE))
    reach = white - black
    share = (_GREY - _BLACK) / (_WHITE - _BLACK)
    if bool((reach.abs() < _TOLERANCE).any()) or not torch.allclose(grey, black + share * reach, atol=_TOLERANCE):
        raise _refusal("does not map pixel values linearly")
    red = _plain(transform, (_WHITE, _BLACK, _BLACK))
    if not torch.allclose(red, torch.stack([white[0], black[1], black[2]]), atol=_TOLERANCE):
        raise _refusal("mixes or reorders the channels")
    std = 1 / reach
    mean = -black * std
    for part in _parts(transform):  # measured through float32; what the transform states is exact, where it is true
        stated = _triples(part)
        if stated and all(torch.allclose(*pair, atol=_TOLERANCE) for pair in zip(stated, (mean, std), strict=True)):
            mean, std = stated
    size = int(_pixels(transform, (_BLACK,) * 3).shape[-1])
    noise = Image.effect_noise((_PROBE_SIDE, _PROBE_SIDE), 64).convert("RGB")
    first = transform(noise)
    if not all(torch.equal(transform(noise), first) for _ in range(_REPETITIONS)):
        raise UserError("preprocessing is random: it makes another input of the same image each time", 2)
    stated_mode = getattr(interpolation, "value", interpolation)
    found = _stated_interpolation(transform) if stated_mode is None else _check_interpolation(stated_mode)
    if found is None:
        raise UserError("preprocessing does not say how it resizes; give interpolation='bilinear' or 'bicubic'", 2)
    return Preprocessing(size, _triple(mean), _triple(std), found)


def measure_region(transform: Transform, preprocessing: Preprocessing) -> dict[str, list[int]]:
    """Measure which part of an image ``transform`` shows, for a square, a wide and a high one.

    Args:
        transform: see ``measure_preprocessing``.
        preprocessing: what that measured.

    Returns:
        By the image's size, where the first and last column and row of the result lie, in 255ths of width and height.
    """
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    found = {}
    for width, height in _REGION_SIZES:
        across, down = Image.linear_gradient("L").rotate(90).resize((width, height)), Image.linear_gradient("L")
        image = Image.merge("RGB", (across, down.resize((width, height)), Image.new("L", (width, height))))
        levels = (transform(image) * std + mean) * _WHITE
        columns, rows = levels[0].mean(0), levels[1].mean(1)
        edges = [columns[0], columns[-1], rows[0], rows[-1]]
        found[f"{width} x {height}"] = [round(float(edge)) for edge in edges]
    return found


def _parts(transform: Any) -> tuple[Any, ...]:
    inner = [part for each in getattr(transform, "transforms", ()) for part in _parts(each)]
    return (transform, *inner)


def _triples(part: Any) -> tuple[Tensor, Tensor] | None:
    """Return the mean and standard deviation ``(3,)`` that a transform states; None where it states none."""
    try:
        mean, std = (torch.as_tensor(getattr(part, name), dtype=torch.float64) for name in ("mean", "std"))
    except (AttributeError, TypeError, ValueError):
        return None
    return (mean, std) if mean.shape == std.shape == (3,) else None


def _triple(values: Tensor) -> tuple[float, float, float]:
    first, second, third = values.tolist()
    return first, second, third


def _plain(transform: Transform, colour: tuple[int, ...]) -> Tensor:
    """Return the one value per channel that a plain image becomes, ``(3,)``."""
    pixels = _pixels(transform, colour).double()
    first = pixels[:, :1, :1]
    if not torch.allclose(pixels, first.expand_as(pixels), atol=_TOLERANCE):
        raise _refusal("makes a plain image uneven")
    return first.flatten()


def _pixels(transform: Transform, colour: tuple[int, ...]) -> Tensor:
    image = Image.new("RGB", (_PROBE_SIDE, _PROBE_SIDE), colour)
    try:
        pixels: Any = transform(image)
    except Exception as error:
        reason = describe_error(error)
        raise UserError(f"preprocessing fails on an RGB image of PIL: {reason}", 2) from error
    if not isinstance(pixels, Tensor) or pixels.dtype != torch.float32:
        kind = f"{pixels.dtype} values" if isinstance(pixels, Tensor) else f"an object of type {type(pixels).__name__}"
        raise UserError(f"preprocessing returns {kind}; it must return a float32 tensor (3, S, S)", 2)
    if pixels.ndim != 3 or pixels.shape[0] != 3 or pixels.shape[1] != pixels.shape[2]:
        raise UserError(f"preprocessing returns a tensor {tuple(pixels.shape)}; it must return (3, S, S)", 2)
    return pixels


def _check_interpolation(name: Any) -> str:
    known = [mode.value for mode in InterpolationMode]
    if name not in known:
        raise UserError(f"interpolation {name!r} does not exist; choose from {', '.join(known)}", 2)
    return str(name)


def _stated_interpolation(transform: Any) -> str | None:
    for part in _parts(transform):
        mode = getattr(part, "interpolation", None)
        value = getattr(mode, "value", mode)
        if isinstance(value, str) and value in {known.value for known in InterpolationMode}:
            return value
    return None


def _refusal(what: str) -> UserError:
    return UserError(f"preprocessing {what}, so that views could not be made alike; {_STATE_IT}", 2)
