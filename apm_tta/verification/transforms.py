"""A teacher's evaluation transform with one of its steps changed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import InterpolationMode, v2

from apm_tta.teachers.measured_preprocessing import Transform
from apm_tta.verification.setup import NotApplicable

_PROBES = ((48, 64), (320, 240), (300, 300), (20, 20))


def same_input(one: Transform, other: Transform) -> bool:
    """Return whether two transforms make the same of images of several shapes."""
    draws = np.random.default_rng(0)
    images = [Image.fromarray(draws.integers(0, 256, (*shape, 3), dtype=np.uint8)) for shape in _PROBES]
    return all(torch.equal(one(image), other(image)) for image in images)


def with_geometry(transform: Transform, steps: Sequence[Any]) -> Transform:
    """Return the transform with ``steps`` in place of what resizes and crops.

    Raises:
        NotApplicable: when its steps are not known, as in the functions below.
    """
    own = _steps(transform)
    moved = [index for index, step in enumerate(own) if _is_geometry(step)]
    first = moved[0] if moved else 0
    kept = [step for index, step in enumerate(own) if index not in moved]
    return _composed([*kept[:first], *steps, *kept[first:]])


def with_interpolation(transform: Transform, mode: InterpolationMode) -> Transform:
    """Return the transform with another interpolation wherever it has one."""
    own = copy.deepcopy(_steps(transform))
    resizing = [step for step in own if hasattr(step, "interpolation")]
    if not resizing:
        raise NotApplicable("its transform resizes nothing")
    for step in resizing:
        step.interpolation = mode
    return _composed(own)


def with_normalization(transform: Transform, mean: Sequence[float], std: Sequence[float]) -> Transform:
    """Return the transform with other constants of its normalisation."""
    own = _steps(transform)
    if not any(isinstance(step, v1.Normalize | v2.Normalize) for step in own):
        raise NotApplicable("its transform normalises nothing")
    changed = v1.Normalize(mean, std)
    return _composed([changed if isinstance(step, v1.Normalize | v2.Normalize) else step for step in own])


def _composed(steps: list[Any]) -> Transform:
    composed: Transform = v1.Compose(steps)
    return composed


def _steps(transform: Any) -> list[Any]:
    if not isinstance(transform, v1.Compose | v2.Compose):
        raise NotApplicable(f"its transform is a {type(transform).__name__}, whose steps are not known")
    return list(transform.transforms)


def _is_geometry(step: Any) -> bool:
    return any(word in type(step).__name__ for word in ("Resize", "Crop"))
