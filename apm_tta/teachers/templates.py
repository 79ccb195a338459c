"""Prompt templates by name or from a file: the sentences that a class name is inserted into.

Two lists are open_clip's own, so that results under ``openai80`` mean what the field means by it. ``watt8`` is that of
WATT's ``templates.yaml``: two without a full stop, and all but the first of ``simple7``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from open_clip import OPENAI_IMAGENET_TEMPLATES, SIMPLE_IMAGENET_TEMPLATES

from apm_tta.errors import UserError
from apm_tta.system.files import is_file
from apm_tta.teachers.descriptions import SEPARATOR, SUFFIX, Descriptions, read_descriptions

PLACEHOLDER = "{}"
"""The position of the class name in a template."""

DATASET = "dataset"
"""The name for the data set's own template."""

FILE = "file"
"""For sentences of a user's file, which are what counts, wherever it lies."""

DESCRIPTIONS = "descriptions"
"""The same for sentences that a user's file has of every class; see ``Descriptions``."""

_SIMPLE7 = tuple(template(PLACEHOLDER) for template in SIMPLE_IMAGENET_TEMPLATES)

TEMPLATES: dict[str, tuple[str, ...]] = {
    "simple": ("a photo of a {}.",),
    "simple7": _SIMPLE7,
    "watt8": ("a photo of a {}", "itap of a {}", *_SIMPLE7[1:]),
    "openai80": tuple(template(PLACEHOLDER) for template in OPENAI_IMAGENET_TEMPLATES),
}


def fill_template(template: str, name: str) -> str:
    """Insert ``name`` at the placeholder of the template; everything else in either is literal text.

    Raises:
        UserError: for an item of ``Descriptions``, which is a sentence of one class. Exit code 2.
    """
    if SEPARATOR in template and PLACEHOLDER not in template:
        raise UserError("sentences of every class are no templates, which are needed here; give sentences with {}", 2)
    return template.replace(PLACEHOLDER, name)


def sentences_of(templates: Sequence[str], classes: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the sentences of each class: its name in every template, or those of ``Descriptions``."""
    if isinstance(templates, Descriptions):
        return templates.of(classes)
    return [tuple(fill_template(template, name) for template in templates) for name in classes]


def templates_name(name: str) -> str:
    """Return what a name stands for, wherever a file lies: itself, ``FILE`` or ``DESCRIPTIONS``."""
    if name == DATASET or name in TEMPLATES:
        return name
    return DESCRIPTIONS if _is_descriptions(name) else FILE


def read_templates(name: str, own: str, classes: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return templates by name.

    Args:
        name: ``dataset`` for ``own``; one of ``TEMPLATES``; or the path of a text file with one template per line,
            ignoring empty lines and lines that begin with ``#``; or that of a JSON file with sentences of every class.
        own: the data set's template.
        classes: of the data set, whose sentences a JSON file must have; None for all that it has.

    Raises:
        UserError: when nothing has that name; when a line of the file does not have exactly one ``{}``; when there is
            no sentence of a class. Exit code 2.
    """
    if name == DATASET:
        return (own,)
    if name in TEMPLATES:
        return TEMPLATES[name]
    path = Path(name)
    if not is_file(path):
        known = ", ".join([DATASET, *TEMPLATES])
        raise UserError(f"unknown templates {name!r}; there are: {known}, or the path of a file", exit_code=2)
    return read_descriptions(path, classes) if _is_descriptions(name) else _read_file(path)


def _is_descriptions(name: str) -> bool:
    return Path(name).suffix.lower() == SUFFIX


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
