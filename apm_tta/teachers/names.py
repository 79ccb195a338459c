"""Names of teachers: the family that a name belongs to, and the list of names."""

from __future__ import annotations

from dataclasses import dataclass

from apm_tta import known_names
from apm_tta.errors import UserError, did_you_mean
from apm_tta.registry import Registry
from apm_tta.teachers.base import FAMILIES, Family
from apm_tta.teachers.embedded import FOLDERS

_OPEN_CLIP = "open_clip"


@dataclass(frozen=True)
class TeacherName:
    """A name that has been checked; see ``parse_teacher_name``.

    Attributes:
        name: as requested.
        family: name of its entry in ``FAMILIES``.
    """

    name: str
    family: str


def families() -> Registry[Family]:
    """Return ``FAMILIES`` after registering this package's own families, whatever has been imported before."""
    import apm_tta.teachers.module_teacher
    import apm_tta.teachers.open_clip_teacher
    import apm_tta.teachers.robustbench_teacher
    import apm_tta.teachers.timm_teacher
    import apm_tta.teachers.torchvision_teacher  # noqa: F401  each registers its families

    return FAMILIES


def parse_teacher_name(name: str) -> TeacherName:
    """Find the family that ``name`` belongs to, without loading anything.

    Args:
        name: see ``load_teacher``.

    Raises:
        UserError: stating which names are possible. Exit code 2.
    """
    import open_clip

    prefix = name.partition(":")[0]
    if prefix != _OPEN_CLIP and prefix in families().names():
        return TeacherName(name, prefix)
    if prefix not in open_clip.list_models():
        raise UserError(
            f"unknown teacher {name!r}; there are: {', '.join(FOLDERS)}, hf-hub:REPOSITORY, ARCHITECTURE:TAG or "
            "ARCHITECTURE:/path for open_clip's (ViT-B-16:openai), timm:NAME, torchvision:NAME.WEIGHTS and "
            "robustbench:NAME, each also with :/path, and module:FILE:FUNCTION (run-bench list teachers)",
            exit_code=2,
            advice=did_you_mean(name, known_names.teacher_names()),
        )
    return TeacherName(name, _OPEN_CLIP)


def teacher_names() -> list[str]:
    """List the names that ``load_teacher`` takes without a local file: embedded teachers, and those with releases."""
    import open_clip
    import timm

    from apm_tta.teachers.torchvision_teacher import released_names

    released = [f"{architecture}:{tag}" for architecture, tag in open_clip.list_pretrained()]
    return [*FOLDERS, *released, *(f"timm:{name}" for name in timm.list_pretrained()), *released_names()]
