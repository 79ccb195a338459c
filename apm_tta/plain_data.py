"""Values as people write them, in files and on the command line: a text has one meaning, or it is refused.

Numbers are decimal (``40``, ``-0.5``, ``1e-4``), truth is ``true`` or ``false``, nothing is ``null``, lists are
``[256, 128]``; anything else is text, and so is what stands in quotes. What readers of YAML disagree on, such as
``010``, ``1:30``, ``1_000``, ``0x10`` or ``yes``, is refused with what to write instead.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import yaml

LARGEST = 2**63 - 1
"""Of whole numbers, as records and JSON readers hold them."""

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[-+]?(((0|[1-9][0-9]*)(\.[0-9]*)?)|(\.[0-9]+))([eE][-+]?[0-9]+)?")
_MEANINGS = {"null": "null", "true": "bool", "false": "bool", "": "null"}
_TRUE, _FALSE, _NULL = ("yes", "on", "true"), ("no", "off", "false"), ("~", "null")
_ANY_BASE = re.compile(r"[-+]?0[oxb][0-9a-f_]+", re.IGNORECASE)
_LIKE_A_NUMBER = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?(e[-+]?[0-9_]+)?", re.IGNORECASE)
_TAG = "tag:yaml.org,2002:"
_DOUBTFUL = "!doubtful"
_DEEPEST, _MOST_DIGITS = 20, 20


def parse_integer(text: str) -> int:
    """Return the whole number that ``text`` writes in decimal.

    Raises:
        ValueError: for anything else, and for what 64 bits do not hold.
    """
    if not _INTEGER.fullmatch(text) or len(text) > _MOST_DIGITS or abs(int(text)) > LARGEST:
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def parse_number(text: str) -> float:
    """Return the finite number that ``text`` writes in decimal.

    Raises:
        ValueError: for anything else.
    """
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise ValueError(f"{text!r} is not a number")
    return float(text)


def parse_plain(text: str) -> Any:
    """Return the value that ``text`` writes; see this module.

    Raises:
        ValueError: saying in one line what is wrong with it.
    """
    try:
        return plain(yaml.load(text, PlainLoader))
    except yaml.MarkedYAMLError as error:
        raise ValueError(error.problem or "it cannot be read as YAML") from None
    except (yaml.YAMLError, RecursionError):
        raise ValueError("it cannot be read as YAML") from None


def plain(value: Any, depth: int = 0) -> Any:
    """Return ``value`` as JSON holds it: nothing, truth, numbers, texts, lists, and mappings by text.

    NumPy's numbers and arrays are the numbers that they hold, and a path is its text.

    Raises:
        ValueError: for anything else, numbers that are not finite, and whole numbers that 64 bits do not hold.
    """
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):  # without importing it, which takes a while
        value = value.tolist()
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) > LARGEST:
            raise ValueError("a whole number of more than 64 bits")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a finite number")
        return float(value)
    if isinstance(value, str):
        if not str(value).isascii():
            _check_encodable(value)
        return str(value)
    if depth == _DEEPEST:
        raise ValueError("lists within lists without end")
    if isinstance(value, list | tuple):
        return [plain(each, depth + 1) for each in value]
    if isinstance(value, Mapping):
        if names := [name for name in value if not isinstance(name, str)]:
            raise ValueError(f"{names[0]!r} stands where a name should")
        return {plain(name): plain_named(name, each, depth + 1) for name, each in value.items()}
    raise ValueError(f"a {type(value).__name__} is not a number, a text, or a list of these")


def plain_named(name: str, value: Any, depth: int = 0) -> Any:
    """Return what ``plain`` returns of the value under a name.

    Raises:
        ValueError: likewise, naming it.
    """
    try:
        return plain(value, depth)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _check_encodable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{text!a} is not text in UTF-8") from None


class PlainLoader(yaml.SafeLoader):
    """YAML without what its readers disagree on; a key that appears twice and an alias are errors too."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> Any:
        """Return the tag of a node: by this module's rule for a scalar without quotes."""
        tag = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]
        return _tag(value, tag) if kind is yaml.ScalarNode and implicit[0] else tag

    def compose_node(self, parent: yaml.Node | None, index: Any) -> Any:
        """Refuse aliases, with which a short text stands for a long one."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "an alias (*name) is not read; write it out", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that appears twice, of which PyYAML takes the last."""
        refuse_repeated_keys(self, node)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> Any:
        """Read a number by this module's rule, also where its tag is written out."""
        try:
            return parse_integer(node.value) if node.tag.endswith(":int") else parse_number(node.value)
        except ValueError as error:
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from None

    def refuse_doubtful(self, node: yaml.ScalarNode) -> Any:
        """Refuse what readers of YAML disagree on."""
        raise yaml.constructor.ConstructorError(
            None, None, f"{node.value!r} is not clear: write {_clear(node.value)}", node.start_mark
        )


def refuse_repeated_keys(loader: yaml.SafeLoader, node: yaml.MappingNode) -> None:
    """Refuse a mapping in which a key appears twice.

    Raises:
        ConstructorError: naming the key.
    """
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.constructor.ConstructorError(None, None, f"{key!r} appears twice", node.start_mark)


PlainLoader.add_constructor(f"{_TAG}int", PlainLoader.construct_number)
PlainLoader.add_constructor(f"{_TAG}float", PlainLoader.construct_number)
PlainLoader.add_constructor(_DOUBTFUL, PlainLoader.refuse_doubtful)


def _tag(text: str, elsewhere: str) -> str:
    """Return the tag of a scalar without quotes; ``elsewhere`` is what YAML 1.1 has for it."""
    if meaning := _MEANINGS.get(text):
        return f"{_TAG}{meaning}"
    if _INTEGER.fullmatch(text):
        return f"{_TAG}int"
    if _NUMBER.fullmatch(text):
        return f"{_TAG}float"
    doubtful = (
        elsewhere not in (f"{_TAG}str", f"{_TAG}value", f"{_TAG}merge")
        or text.lower() in (*_TRUE, *_FALSE, *_NULL)
        or _ANY_BASE.fullmatch(text)
        or _LIKE_A_NUMBER.fullmatch(text)
    )
    return _DOUBTFUL if doubtful else f"{_TAG}str"


def _clear(text: str) -> str:
    """Return what to write in the place of a doubtful text."""
    quoted = f'"{text}" in quotes for the text'
    lowered, bare = text.lower(), text.replace("_", "")
    for words, word in ((_TRUE, "true"), (_FALSE, "false"), (_NULL, "null")):
        if lowered in words:
            return f"{word}, or {quoted}"
    if _ANY_BASE.fullmatch(bare) and len(bare) < _MOST_DIGITS:
        with suppress(ValueError):  # not a digit of its base
            return f"{int(bare, 0)} for the number, or {quoted}"
    if _LIKE_A_NUMBER.fullmatch(bare) and len(bare) < _MOST_DIGITS:
        sign, digits = ("-", bare[1:]) if bare[0] == "-" else ("", bare.removeprefix("+"))
        return f"{sign}{digits.lstrip('0') or '0'} for the number, or {quoted}"
    return quoted
