"""What can be wrong with the names of classes, seen without any model."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_SYNSET = re.compile(r"n\d{8}")
_WORDLESS = re.compile(
    r"""(?ix)
    \d+                                                                # 0001
    | (?:class|cls|cl|c|category|categories|cat|label|lbl|id|idx|index|no|nr|num|group|grp|folder|dir|type|item|object
      |obj|img|image|images|n|y) [\s_.#:()-]* \d+ \)?                  # class_001, c3, img (2)
    | [a-z]{0,3} [\s_-]? \d{5,}                                        # n01440764, wn_000123
    | (?=[0-9a-f-]*\d) [0-9a-f]{8} (?: [0-9a-f]{8,} | (?: -[0-9a-f]{4} ){3} -[0-9a-f]{12} )   # digests, UUIDs
    """
)


def plain_name(name: str) -> str:
    """Return a name as a text tower sees it at best: without case, form of letters, or number and kind of spaces."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().replace("_", " ").split())


def equal_names(names: Sequence[str]) -> list[tuple[int, int]]:
    """Return the pairs of classes, by label, whose names are equal: the second could never be predicted."""
    first: dict[str, int] = {}
    pairs = [(first.setdefault(plain_name(name), label), label) for label, name in enumerate(names)]
    return [pair for pair in pairs if pair[0] != pair[1]]


def wordless_names(names: Sequence[str]) -> list[str]:
    """Return the names that are identifiers, such as ``class_001`` or a synset: no prompt can be made of them."""
    return [name for name in names if _WORDLESS.fullmatch(name.strip()) or not any(map(str.isalnum, name))]


def are_synsets(names: Sequence[str]) -> bool:
    """Return whether all of these names are WordNet's synsets, as ImageNet's folders are named."""
    return bool(names) and all(map(_SYNSET.fullmatch, names))
