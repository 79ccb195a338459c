"""Prompt templates by name or from a file: the sentences that a class name is inserted into.

Two lists are open_clip's own, so that results under ``openai80`` mean what the field means by it. ``watt8`` is that of
WATT's ``templates.yaml``: two without a full stop, and all but the first of ``simple7``.
"""

from __future__ import annotations

from pathlib import Path

from open_clip import OPENAI_IMAGENET_TEMPLATES, SIMPLE_IMAGENET_TEMPLATES

from apm_tta.errors import UserError
from apm_tta.system.files import is_file

PLACEHOLDER = "{}"
"""The position of the class name in a template."""

DATASET = "dataset"
"""The name for the data set's own template."""

FILE = "file"
"""For sentences of a user's file, which are what counts, wherever it lies."""

_SIMPLE7 = tuple(template(PLACEHOLDER) for template in SIMPLE_IMAGENET_TEMPLATES)

TEMPLATES: dict[str, tuple[str, ...]] = {
    "simple": ("a photo of a {}.",),
    "simple7": _SIMPLE7,
    "watt8": ("a photo of a {}", "itap of a {}", *_SIMPLE7[1:]),
    "openai80": tuple(template(PLACEHOLDER) for template in OPENAI_IMAGENET_TEMPLATES),
}


def fill_template(template: str, name: str) -> str:
    """Insert ``name`` at the placeholder of the template; everything else in either is literal text."""
    return template.replace(PLACEHOLDER, name)


def templates_name(name: str) -> str:
    """Return what a name stands for, wherever a file lies: ``dataset``, one of ``TEMPLATES``, or ``FILE``."""
    return name if name == DATASET or name in TEMPLATES else FILE


def read_templates(name: str, own: str) -> tuple[str, ...]:
    """Return templates by name.

    Args:
        name: ``dataset`` for ``own``; one of ``TEMPLATES``; or the path of a text file with one template per line,
            ignoring empty lines and lines that begin with ``#``.
        own: the data set's template.

    Raises:
        UserError: when nothing has that name; when a line of the file does not have exactly one ``{}``. Exit code 2.
    """
    if name == DATASET:
        return (own,)
    if name in TEMPLATES:
        return TEMPLATES[name]
    path = Path(name)
    if not is_file(path):
        known = ", ".join([DATASET, *TEMPLATES])
        raise UserError(f"unknown templates {name!r}; there are: {known}, or the path of a file", exit_code=2)
    return _read_file(path)


def _read_file(path: Path) -> tuple[str, ...]:
    try:
        # A byte order mark would become part of the first sentence.
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"templates {path} cannot be read: {error}", exit_code=2) from None
    templates = []
    for number, line in enumerate(lines, start=1):
        template = line.strip()
        if not template or template.startswith("#"):
            continue
        if template.count(PLACEHOLDER) != 1:
            raise UserError(f"{path}, line {number}: {template!r} must contain {PLACEHOLDER} exactly once", exit_code=2)
        templates.append(template)
    if not templates:
        raise UserError(f"templates {path} contains no template; write one per line, such as: a photo of a {{}}.", 2)
    return tuple(templates)
