"""What every message of the package is held to, whichever test brings it about: see ``faults``."""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import apm_tta
from apm_tta import errors
from apm_tta.errors import UserError
from apm_tta.wording import visible

PACKAGE = Path(apm_tta.__file__).parent
LONGEST = 300
_PATH = re.compile(r"\$?'(?:\.{0,2}/|[A-Za-z]:\\)[^']*'|(?:\.{0,2}/[^\s;,:()'\"]+)+")
_ONE_OF_SEVERAL = re.compile(r"(?<![\w.,:/+-])1 (?:[a-z]+ )?([a-z]{3,}s)\b")
_SINGULAR = {
    *("class", "was", "has", "this", "less", "does", "its", "axis", "bias", "across", "pass", "needs", "stands"),
    *("bytes", "pixels"),  # Pillow's, and sizes such as 60,000 x 1 pixels
}
_WORDS_TWICE = 4


def faults(line: str) -> list[str]:
    """Return what is wrong with a message: it is one line, short, says nothing twice, and its nouns are right.

    Paths count as one word: a message must name them, however long they are. Details in parentheses, such as every
    field in which two runs differ, do not count.
    """
    plain = _PATH.sub("PATH", line)
    found = []
    if line != visible(line) or line != line.strip():
        found.append("is not one printable line")
    said = re.sub(r"\([^()]*(?:\([^()]*\)[^()]*)*\)", "", plain)
    if len(said) > LONGEST:
        found.append(f"has {len(said)} characters besides paths and details in parentheses")
    if repeated := _repeated(plain):
        found.append(f"says twice: {repeated}")
    found += [f"counts wrongly: {each[0]}" for each in _ONE_OF_SEVERAL.finditer(plain) if each[1] not in _SINGULAR]
    found += [f"has {each!r} in it" for each in (";;", "; ;", ": ;") if each in plain]
    if plain.endswith((";", ":", ",", " and", "; ")):
        found.append("stops in the middle")
    return found


def _repeated(plain: str) -> str:
    """Return a sequence of words that stands in a message twice; empty for none."""
    seen = set()
    prose = re.sub(r"'[^']*'|Input should be [^;,]*", "7", plain)  # the latter is pydantic's, of several fields
    for part in re.split(r"[;:(),]| \S*[^A-Za-z, ]\S*", f" {prose}"):  # a name with a digit, dot or dash is no word
        words = part.split()
        for start in range(len(words) - _WORDS_TWICE + 1):
            group = " ".join(words[start : start + _WORDS_TWICE])
            if group in seen:
                return group
            seen.add(group)
    return ""


class Heard:
    """The errors that the package's own code made since the last ``drain``, and where it made them."""

    def __init__(self) -> None:
        self._errors: list[UserError] = []
        self.sites: set[str] = set()
        make = UserError.__init__

        @functools.wraps(make)
        def heard(error: UserError, *arguments: object, **named: object) -> None:
            make(error, *arguments, **named)  # type: ignore[arg-type]
            if (site := _site(sys._getframe(1))) is not None:
                self.sites.add(site)
                self._errors.append(error)

        UserError.__init__ = heard  # type: ignore[method-assign, assignment]

    def drain(self) -> list[str]:
        """Return the lines of the errors, with the advice that was added, and forget them."""
        lines = list(dict.fromkeys(map(str, self._errors)))
        self._errors.clear()
        return lines


def _site(frame: FrameType | None) -> str | None:
    """Return the file and line of the package's code that made an error; None for code of a test."""
    while frame is not None and frame.f_code.co_filename == errors.__file__:
        frame = frame.f_back
    file = Path(frame.f_code.co_filename) if frame is not None else Path()
    if frame is None or PACKAGE not in file.parents:
        return None
    return f"{file.relative_to(PACKAGE)}:{_first_line(file, frame.f_lineno)}"


_CALLS: dict[Path, dict[int, int]] = {}


def _first_line(file: Path, line: int) -> int:
    """Return the first line of the call that ``line`` is part of."""
    if file not in _CALLS:
        _CALLS[file] = {
            inner: call.lineno for call in _calls(file) for inner in range(call.lineno, (call.end_lineno or 0) + 1)
        }
    return _CALLS[file].get(line, line)


def _calls(file: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        name = getattr(node, "func", None)
        if isinstance(node, ast.Call) and isinstance(name, ast.Name) and name.id in _kinds():
            yield node


def _kinds() -> set[str]:
    kinds = [UserError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return {kind.__name__ for kind in kinds}


def all_sites() -> set[str]:
    """Return every place of the package where an error is made."""
    return {f"{file.relative_to(PACKAGE)}:{call.lineno}" for file in PACKAGE.rglob("*.py") for call in _calls(file)}
