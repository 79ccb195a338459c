"""QuickGELU, x sigmoid(1.702 x), against GELU: weights trained with the one and run with the other lose accuracy.

Nothing in a checkpoint's tensors tells which it was, and open_clip only warns. So what is known of a file is compared
with the architecture that was asked for: its configuration, its digest, or the release that its path names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import open_clip

from apm_tta.errors import UserError
from apm_tta.teachers.checkpoints import WeightsFile

SUFFIX = "-quickgelu"


def refuse_mismatch(architecture: str, weights: Path, trained_with: bool, why: str) -> NoReturn:
    """Refuse weights that were trained with the other activation than the architecture has.

    Raises:
        UserError: always. Exit code 2.
    """
    right = plain(architecture) + (SUFFIX if trained_with else "")
    activations = ("QuickGELU", "GELU") if trained_with else ("GELU", "QuickGELU")
    remedy = f"ask for {right}:{weights}" if right in open_clip.list_models() else "no architecture here has it"
    raise UserError(
        f"{weights} was trained with {activations[0]} ({why}), but {architecture} has {activations[1]}: accuracy would "
        f"be silently lower; {remedy}",
        exit_code=2,
    )


def plain(architecture: str) -> str:
    """Return the architecture's name without its activation."""
    return architecture.removesuffix(SUFFIX)


def known_release(architecture: str, weights: WeightsFile) -> tuple[str, Mapping[str, Any]] | None:
    """Find the release that a file is known to be: its tag and open_clip's configuration; None where unknown.

    A release is known by the digest in its address, or by its repository's name in the file's path (a hub's cache, or a
    folder that was named after it); of several such names the longest counts.
    """
    found: list[tuple[int, str, Mapping[str, Any]]] = []
    for kind in (plain(architecture), plain(architecture) + SUFFIX):
        for tag in open_clip.list_pretrained_tags_by_model(kind):
            release = open_clip.get_pretrained_cfg(kind, tag)
            url, repository = release.get("url", ""), release.get("hf_hub", "").partition("/")[2].partition("/")[0]
            if weights.sha256 in url or f"-{weights.sha256[:8]}." in url:
                return tag, release
            if repository and any(repository in part for part in weights.path.absolute().parts):
                found.append((len(repository), tag, release))
    return max(found, key=lambda each: each[0])[1:] if found else None
