"""How messages, tables and logs quote what others named: in one line, counted in words, and ready for a shell."""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Sequence
from pathlib import Path

_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"  # part of how words and emoji are spelled in several scripts


def visible(text: str) -> str:
    """Return ``text`` with escapes in place of what would break a line, direct a terminal, or reorder what is read.

    These are control characters, marks of direction and other invisible formatting, line and paragraph separators, and
    bytes of file names that are no text. All other characters, whatever their script, stay as they are.
    """
    if text.isprintable():  # as nearly every text: to look at its characters one by one takes 50 times as long
        return text
    return "".join(_escaped(character) if _is_hidden(character) else character for character in text)


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in _HIDDEN and character not in _JOINERS


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def for_shell(words: Sequence[str | Path]) -> str:
    """Quote words for a POSIX shell where they need it, in one line: what is printed can be pasted."""
    return " ".join(map(_quoted, map(str, words)))


def _quoted(word: str) -> str:
    quoted = shlex.quote(word)
    if not any(map(_is_hidden, word)):
        return quoted
    # Within $'...' bash, zsh and ksh read the escapes of bytes, which are there for every character.
    plain = word.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{''.join(_bytes_of(letter) if _is_hidden(letter) else letter for letter in plain)}'"


def _bytes_of(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode(errors="surrogateescape"))


def first_few(names: Sequence[str], separator: str = ", ") -> str:
    """Join the first three names, and state how many more there are."""
    joint = " " if separator == ", " else separator
    more = f"{joint}and {len(names) - 3} more" if len(names) > 3 else ""
    return separator.join(names[:3]) + more or "none"


def pluralise(number: int, singular: str, plural: str = "") -> str:
    """Format a number with its noun: ``1 image``, ``2,000 images``."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def resume(folder: Path) -> str:
    """Return the advice with which a run or a training in ``folder`` is gone on with."""
    return f"rerun the same command with --out {for_shell([folder])} to resume"


def in_units(number: int) -> str:
    """Format a number of bytes for a reader, in decimal units: ``22.6 GB``, ``687.6 MB``, ``812 bytes``."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return pluralise(number, "byte")
