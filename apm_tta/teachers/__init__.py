"""Frozen encoders: CLIP through open_clip, DINO and others through timm, the small CLIP that the package carries."""

from __future__ import annotations

from pathlib import Path

import torch

from apm_tta.teachers.base import FAMILIES, Support, Teacher
from apm_tta.teachers.disk_cache import default_cache
from apm_tta.teachers.lazy_teacher import LazyTeacher
from apm_tta.teachers.names import TeacherName, families, parse_teacher_name, teacher_names
from apm_tta.teachers.preprocessing import Preprocessing
from apm_tta.teachers.templates import TEMPLATES, read_templates

__all__ = [
    "FAMILIES",
    "TEMPLATES",
    "LazyTeacher",
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


def load_teacher(
    name: str | TeacherName, device: str | torch.device = "cpu", classifier: str = "auto", cache: Path | None = _DEFAULT
) -> LazyTeacher:
    """Find the frozen encoder of that name. Its model is built when it is first needed.

    Args:
        name: ``embedded``, ``ViT-B-16:openai``, ``ViT-B-32:/path/to/checkpoint``, ``hf-hub:...``,
            ``timm:vit_base_patch14_dinov2.lvd142m`` or ``timm:NAME:/path``; or one that has been checked.
        device: where it computes.
        classifier: where class weights come from: ``text``, ``head``, ``prototypes``; ``auto``: the first there is.
        cache: folder of the disk cache; ``default_cache()`` unless given, None for no cache, which builds the model
            at once.

    Raises:
        UserError: when nothing has that name, or its weights cannot be had or read.
    """
    checked = name if isinstance(name, TeacherName) else parse_teacher_name(name)
    source = families().get(checked.family)(checked.name, classifier)
    return LazyTeacher(source, torch.device(device), default_cache() if cache is _DEFAULT else cache)
