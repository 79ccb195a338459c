"""Frozen encoders: CLIP through open_clip, DINO and others through timm, the small CLIP that the package carries."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import torch
from torch import nn

from apm_tta.devices import resolve_device
from apm_tta.errors import UserError
from apm_tta.system.cache_folder import default_cache
from apm_tta.teachers.base import FAMILIES, OWN_CLASSIFIERS, Support, Teacher, is_code
from apm_tta.teachers.lazy_teacher import LazyTeacher
from apm_tta.teachers.measured_preprocessing import Transform
from apm_tta.teachers.names import TeacherName, families, parse_teacher_name, teacher_names
from apm_tta.teachers.network_teacher import NetworkTeacher
from apm_tta.teachers.preprocessing import Preprocessing
from apm_tta.teachers.templates import TEMPLATES, read_templates

__all__ = [
    "FAMILIES",
    "TEMPLATES",
    "LazyTeacher",
    "NetworkTeacher",
    "Preprocessing",
    "Support",
    "Teacher",
    "TeacherName",
    "default_cache",
    "load_teacher",
    "parse_teacher_name",
    "read_templates",
    "teacher_names",
]

_DEFAULT = Path("default")


@overload
def load_teacher(
    name: str | TeacherName,
    device: str | torch.device = "cpu",
    classifier: str = "auto",
    cache: Path | None = _DEFAULT,
    *,
    allow_code: bool = False,
) -> LazyTeacher: ...


@overload
def load_teacher(
    name: nn.Module,
    device: str | torch.device = "cpu",
    *,
    classes: Sequence[str],
    preprocessing: Preprocessing | Transform,
    interpolation: str | None = None,
) -> NetworkTeacher: ...


def load_teacher(
    name: str | TeacherName | nn.Module,
    device: str | torch.device = "cpu",
    classifier: str = "auto",
    cache: Path | None = _DEFAULT,
    *,
    classes: Sequence[str] | None = None,
    preprocessing: Preprocessing | Transform | None = None,
    interpolation: str | None = None,
    allow_code: bool = False,
) -> LazyTeacher | NetworkTeacher:
    """Load a frozen encoder by name, or make one of a network. A named model is built when it is first needed.

    Args:
        name: ``embedded``, ``ViT-B-16:openai``, ``ViT-B-32:/path/to/checkpoint``, ``hf-hub:...``,
            ``timm:vit_base_patch14_dinov2.lvd142m`` or ``timm:NAME:/path``; or any network that classifies, from images
            ``(B, 3, S, S)`` to logits ``(B, C)``, of which a frozen copy is made.
        device: ``cpu``, ``cuda``, ``cuda:N``, ``auto``: where it computes.
        classifier: of a named teacher: where class weights come from, ``text``, ``head`` or ``prototypes``; ``auto``
            takes the first that it has.
        cache: of a named teacher: folder of the disk cache; ``default_cache()`` unless given, None for no cache, which
            builds the model at once.
        classes: of a network: class names in the order of its logits.
        preprocessing: of a network: what makes its input ``(3, S, S)`` from an RGB image of PIL, such as
            ``weights.transforms()`` of torchvision; or a ``Preprocessing``: the shorter side resized to its size, the
            square at the centre.
        interpolation: of a network: how ``preprocessing`` resizes, where it does not state that itself.
        allow_code: whether ``module:PACKAGE.FILE:FUNCTION``, which is code, may be imported and run.

    Raises:
        UserError: when nothing has that name, or its weights are not available or readable; when a network does not
            take such images, does not return one logit per class, or its preprocessing cannot be measured.

    Example:
        >>> import apm_tta
        >>> teacher = apm_tta.load_teacher("embedded")
        >>> teacher.image_size, teacher.feature_dim
        (32, 64)
    """
    where = device if isinstance(device, torch.device) else resolve_device(device)
    if isinstance(name, nn.Module):
        if classes is None or preprocessing is None:
            raise UserError(
                f"network {type(name).__name__} needs its class names and its preprocessing: "
                "load_teacher(network, classes=[...], preprocessing=...)",
                exit_code=2,
            )
        return NetworkTeacher(name, classes, preprocessing, interpolation, where)
    if classes is not None or preprocessing is not None or interpolation is not None:
        raise UserError("classes, preprocessing and interpolation belong to a network; a named teacher has its own", 2)
    if not isinstance(name, str | TeacherName):
        raise UserError(f"teacher must be a name or a torch.nn.Module, got {type(name).__name__}", exit_code=2)
    if classifier not in ("auto", *OWN_CLASSIFIERS):
        raise UserError(f"unknown classifier {classifier!r}; there are: auto, {', '.join(OWN_CLASSIFIERS)}", 2)
    checked = name if isinstance(name, TeacherName) else parse_teacher_name(name)
    family = families().get(checked.family)
    if is_code(family) and not allow_code:
        raise UserError(
            f"teacher {checked.name} is code that would be run with your rights: where you trust it, add --allow-code "
            "(in Python allow_code=True)",
            exit_code=2,
        )
    source = family(checked.name, classifier)
    folder = default_cache() if cache is _DEFAULT else cache
    return LazyTeacher(source, where, None if folder is None else Path(folder))
