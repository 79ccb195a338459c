"""Frozen encoders: CLIP through open_clip, DINO and others through timm, the small CLIP that the package carries."""

from __future__ import annotations

from pathlib import Path

import torch

from apm_tta.errors import UserError
from apm_tta.teachers.base import FAMILIES, Teacher
from apm_tta.teachers.disk_cache import default_cache
from apm_tta.teachers.lazy_teacher import CachedTeacher
from apm_tta.teachers.preprocessing import Preprocessing
from apm_tta.teachers.templates import TEMPLATES, read_templates

__all__ = [
    "FAMILIES",
    "TEMPLATES",
    "Preprocessing",
    "Teacher",
    "check_teacher_name",
    "default_cache",
    "load_teacher",
    "read_templates",
    "teacher_names",
]


def check_teacher_name(name: str) -> str:
    """The family that ``name`` belongs to, found without loading anything.

    Raises:
        UserError: saying what names are like. Exit code 2.
    """
    import open_clip

    import apm_tta.teachers.open_clip_teacher
    import apm_tta.teachers.timm_teacher  # noqa: F401  each registers its families

    prefix = name.partition(":")[0]
    if prefix in FAMILIES.names() and prefix != "open_clip":
        return prefix
    if prefix not in open_clip.list_models():
        raise UserError(
            f"unknown teacher {name!r}; there are: embedded, hf-hub:ORGANISATION/REPOSITORY, ARCHITECTURE:TAG or "
            f"ARCHITECTURE:/path/to/checkpoint for open_clip's architectures, such as ViT-B-16:openai, and "
            f"timm:NAME or timm:NAME:/path/to/checkpoint (run-bench list teachers names all with released weights)",
            exit_code=2,
        )
    return "open_clip"


def teacher_names() -> list[str]:
    """Names that ``load_teacher`` takes without a local file: the embedded teacher, open_clip's and timm's releases."""
    import open_clip
    import timm

    released = [f"{architecture}:{tag}" for architecture, tag in open_clip.list_pretrained()]
    return ["embedded", *released, *(f"timm:{name}" for name in timm.list_pretrained())]


_DEFAULT = Path("default")


def load_teacher(
    name: str, device: str | torch.device = "cpu", classifier: str = "auto", cache: Path | None = _DEFAULT
) -> CachedTeacher:
    """The frozen encoder of that name. Its model is built when it is first needed.

    Args:
        name: ``embedded``, ``ViT-B-16:openai``, ``ViT-B-32:/path/to/checkpoint``, ``hf-hub:...``,
            ``timm:vit_base_patch14_dinov2.lvd142m`` or ``timm:NAME:/path``.
        device: where it computes.
        classifier: where class weights come from: ``text``, ``head``, ``prototypes``; ``auto``: the first there is.
        cache: folder in which class weights are kept; ``default_cache()`` unless given, None for nowhere.

    Raises:
        UserError: when nothing has that name, or its weights cannot be had or read.
    """
    source = FAMILIES.get(check_teacher_name(name))(name, classifier)
    return CachedTeacher(source, torch.device(device), default_cache() if cache is _DEFAULT else cache)
