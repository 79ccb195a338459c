"""Frozen encoders: CLIP through open_clip, and the small CLIP that the package carries."""

from __future__ import annotations

import torch

from apm_tta.errors import UserError
from apm_tta.teachers.base import FAMILIES, Teacher
from apm_tta.teachers.templates import TEMPLATES

__all__ = ["FAMILIES", "TEMPLATES", "Teacher", "check_teacher_name", "load_teacher", "teacher_names"]


def check_teacher_name(name: str) -> str:
    """The family that ``name`` belongs to, found without loading anything.

    Raises:
        UserError: saying what names are like. Exit code 2.
    """
    import open_clip

    import apm_tta.teachers.open_clip_teacher  # noqa: F401  registers its families

    prefix = name.partition(":")[0]
    if prefix in FAMILIES.names() and prefix != "open_clip":
        return prefix
    if prefix not in open_clip.list_models():
        raise UserError(
            f"unknown teacher {name!r}; there are: embedded, hf-hub:ORGANISATION/REPOSITORY, and ARCHITECTURE:TAG or "
            f"ARCHITECTURE:/path/to/checkpoint for open_clip's architectures, such as ViT-B-16:openai "
            f"({len(open_clip.list_models())} of them: run-bench list teachers)",
            exit_code=2,
        )
    return "open_clip"


def teacher_names() -> list[str]:
    """Names that ``load_teacher`` takes without a local file: the embedded teacher, open_clip's released weights."""
    import open_clip

    return ["embedded", *(f"{architecture}:{tag}" for architecture, tag in open_clip.list_pretrained())]


def load_teacher(name: str, device: str | torch.device = "cpu") -> Teacher:
    """The frozen encoder of that name.

    Args:
        name: ``embedded``, ``ViT-B-16:openai``, ``ViT-B-32:/path/to/checkpoint`` or ``hf-hub:...``.
        device: where it computes.

    Raises:
        UserError: when nothing has that name, or its weights cannot be had or read.
    """
    return FAMILIES.get(check_teacher_name(name))(name, torch.device(device))
