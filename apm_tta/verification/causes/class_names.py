"""Other class names: folders as they are, other lists, the first of several words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from torchvision.models._meta import _IMAGENET_CATEGORIES

from apm_tta.data.imagenet_classes import imagenet_rows, imagenet_terms
from apm_tta.verification.causes.base import CAUSES, Attempt, need_text
from apm_tta.verification.setup import Case


@CAUSES.register("class names")
def class_names(case: Case) -> list[Attempt]:
    """Try the folders, the card's names in other spellings, and for ImageNet the lists that others have."""
    need_text(case)
    listed = case.dataset.layout.class_list()
    lists: dict[str, Sequence[str]] = {
        "raw folder names": listed.folders,
        "folder names with spaces for underscores": [name.replace("_", " ") for name in listed.folders],
        "the names of the data set": listed.names,
        "underscores for spaces": [name.replace(" ", "_") for name in listed.names],
        "the first of several words": [re.split(r",|/| or ", name)[0].strip() for name in listed.names],
        "numbers from 0 for names": [str(label) for label in range(len(listed))],
    }
    if terms := imagenet_terms(listed.names):
        rows = imagenet_rows(listed.names) or ()
        lists["synsets, such as n01440764"] = terms[0]
        lists["all of WordNet's words"] = terms[1]
        lists["the first of WordNet's words"] = [words.split(",")[0] for words in terms[1]]
        lists["torchvision's list"] = [_IMAGENET_CATEGORIES[row] for row in rows]
    return [Attempt(what, replace(case.start, names=tuple(names))) for what, names in lists.items()]
