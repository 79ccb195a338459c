"""Sentences that a language model wrote about every class, in place of templates: files as CuPL's, arXiv 2209.03320."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from apm_tta.errors import UserError
from apm_tta.teachers.strict_json import read_strict_json
from apm_tta.wording import first_few, pluralise

SUFFIX = ".json"
SEPARATOR = "\t"
"""Between a class and its sentence."""


class Descriptions(tuple[str, ...]):
    """Sentences of classes; each item is a class, a tab and one of its sentences, as they stand in ``run.yaml``.

    It stands where templates do, but has no place for a name: ``sentences_of`` of ``templates`` takes both.
    """

    @cached_property
    def by_class(self) -> Mapping[str, tuple[str, ...]]:
        """The sentences of every class, in the order of the file."""
        found: dict[str, list[str]] = {}
        for item in self:
            name, _, sentence = item.partition(SEPARATOR)
            found.setdefault(name, []).append(sentence)
        return {name: tuple(sentences) for name, sentences in found.items()}

    def of(self, classes: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the sentences of each class.

        Raises:
            UserError: when there are none of some. Exit code 2.
        """
        if missing := [name for name in classes if name not in self.by_class]:
            raise UserError(
                f"there are no sentences of {pluralise(len(missing), 'class', 'classes')}: {first_few(missing)}", 2
            )
        return [self.by_class[name] for name in classes]


def read_descriptions(path: Path, classes: Sequence[str] | None) -> Descriptions:
    """Read a JSON file from the name of a class to a list of sentences.

    Args:
        path: of the file.
        classes: whose sentences are wanted; None for all that the file has. Names are compared without regard to
            capitals, underscores and blanks.

    Raises:
        UserError: when the file is not such a file, or has no sentence of some class, naming these. Exit code 2.
    """
    content = read_strict_json(path)
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path} is not a file of descriptions: write {{class: [sentence, ...], ...}}", exit_code=2)
    known: dict[str, list[str]] = {}
    for name, sentences in content.items():
        if (plain := _plain(name)) in known:
            raise UserError(f"{path} describes class {name!r} twice", exit_code=2)
        known[plain] = _checked(path, name, sentences)
    wanted = [*content] if classes is None else list(dict.fromkeys(classes))
    missing = [name for name in wanted if _plain(name) not in known]
    if missing:
        raise UserError(
            f"{path} has no sentences of {len(missing)} of the {pluralise(len(wanted), 'class', 'classes')}: "
            f"{first_few([repr(name) for name in missing])}; its names begin with {first_few([*map(repr, content)])}",
            exit_code=2,
        )
    return Descriptions(f"{_blank(name)}{SEPARATOR}{each}" for name in wanted for each in known[_plain(name)])


def descriptions_text(items: Iterable[str]) -> str:
    """Return a file of descriptions from the items of ``Descriptions``."""
    return json.dumps(Descriptions(items).by_class, ensure_ascii=False, indent=0)


def _checked(path: Path, name: str, sentences: Any) -> list[str]:
    if not (isinstance(sentences, list) and sentences and all(isinstance(each, str) for each in sentences)):
        raise UserError(f"{path}: class {name!r} has no list of sentences", exit_code=2)
    checked = [_blank(each) for each in sentences]
    if not all(checked):
        raise UserError(f"{path}: class {name!r} has an empty sentence", exit_code=2)
    return checked


def _blank(text: str) -> str:
    return " ".join(text.split())


def _plain(name: str) -> str:
    return _blank(name.replace("_", " ").casefold())
