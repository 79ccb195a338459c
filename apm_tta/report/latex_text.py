"""Text for LaTeX: nothing in it is a command, and pdfLaTeX compiles it with the fonts that it comes with."""

from __future__ import annotations

import itertools
import re
import unicodedata

from apm_tta.wording import visible

_COMMANDS = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": r"\`{}",
    **{"±": r"$\pm$", "\N{MULTIPLICATION SIGN}": r"$\times$", "·": r"$\cdot$", "°": r"$^\circ$", "µ": r"$\mu$"},
    "\N{NO-BREAK SPACE}": "~",
    "\N{DAGGER}": r"\dag{}",
    "\N{DOUBLE DAGGER}": r"\ddag{}",
    "\N{EN DASH}": r"\textendash{}",
    "\N{EM DASH}": r"\textemdash{}",
    "\N{LEFT SINGLE QUOTATION MARK}": r"\textquoteleft{}",
    "\N{RIGHT SINGLE QUOTATION MARK}": r"\textquoteright{}",
    "\N{LEFT DOUBLE QUOTATION MARK}": r"\textquotedblleft{}",
    "\N{RIGHT DOUBLE QUOTATION MARK}": r"\textquotedblright{}",
    "\N{HORIZONTAL ELLIPSIS}": r"\ldots{}",
    "\N{LATIN SMALL LETTER DOTLESS I}": r"\i{}",
    **{"ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}"},
    **{"ø": r"\o{}", "Ø": r"\O{}", "ł": r"\l{}", "Ł": r"\L{}"},
}
_MARKS = "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327"
_ACCENTS = dict(zip(_MARKS, "`'^~=u.\"rHvc", strict=True))
_DOTLESS = {"i": r"\i", "j": r"\j"}
_OPTIONAL = ("[", "*")
"""What LaTeX takes for an argument of the line break that ends the row above."""


def latex_text(text: str) -> str:
    r"""Escape ``text``, so that nothing in it is a LaTeX command, and pdfLaTeX has a font for all of it.

    Line breaks and other control characters are shown as escapes. Letters with an accent become LaTeX's commands, and
    characters beyond Latin their code points in brackets: ``[U+65E5 U+672C]``.
    """
    shown = visible(unicodedata.normalize("NFC", text))
    runs = re.split(f"([^{re.escape(''.join(_COMMANDS))}\\x20-\\x7e]+)", shown)
    escaped = "".join(_beyond_ascii(run) if index % 2 else _ascii(run) for index, run in enumerate(runs))
    return f"{{{escaped[0]}}}{escaped[1:]}" if escaped.startswith(_OPTIONAL) else escaped


def _ascii(run: str) -> str:
    unjoined = re.sub("-(?=-)", "-\0", run)  # two hyphens would be set as a dash
    return "".join(_COMMANDS.get(character, character) for character in unjoined).replace("\0", "{}")


def _beyond_ascii(run: str) -> str:
    pieces = []
    for known, group in itertools.groupby(run, lambda character: _accented(character) is not None):
        characters = list(group)
        if known:
            pieces += [_accented(character) or "" for character in characters]
        else:
            pieces.append(f"[{' '.join(f'U+{ord(character):04X}' for character in characters)}]")
    return "".join(pieces)


def _accented(character: str) -> str | None:
    """Return the command for a letter with one accent; None for everything else."""
    base, *marks = list(unicodedata.normalize("NFD", character))
    if len(marks) != 1 or marks[0] not in _ACCENTS or not base.isascii():
        return None
    return f"\\{_ACCENTS[marks[0]]}{{{_DOTLESS.get(base, base)}}}"
