"""QuickGELU, x sigmoid(1.702 x), against GELU: weights trained with the one and run with the other lose accuracy.

Nothing in a checkpoint's tensors tells which it was, and open_clip only warns. So what is known of a file is compared
with the architecture that was asked for: its configuration, its digest, or the release that its path names.
"""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import open_clip

from apm_tta.errors import UserError

SUFFIX = "-quickgelu"


def refuse_mismatch(architecture: str, weights: Path, trained_with: bool, why: str) -> NoReturn:
    """Raises ``UserError``: the weights were trained with the other activation."""
    right = plain(architecture) + (SUFFIX if trained_with else "")
    activations = ("QuickGELU", "GELU") if trained_with else ("GELU", "QuickGELU")
    raise UserError(
        f"{weights} was trained with {activations[0]} ({why}), but {architecture} has {activations[1]}: accuracy would "
        f"be silently lower; ask for {right}:{weights}",
        exit_code=2,
    )


def plain(architecture: str) -> str:
    """The architecture's name without its activation."""
    return architecture.removesuffix(SUFFIX)


def check_release(architecture: str, weights: Path, sha256: str, quick_gelu: bool) -> None:
    """Refuses a file that is known to be a release trained with another activation than ``architecture`` has.

    A release is known by the digest in its address (OpenAI's), or by its repository's name in the file's path (a hub's
    cache, or a folder that was named after it).

    Raises:
        UserError: naming the architecture that would be right. Exit code 2.
    """
    for kind in (plain(architecture), plain(architecture) + SUFFIX):
        for tag in open_clip.list_pretrained_tags_by_model(kind):
            release = open_clip.get_pretrained_cfg(kind, tag)
            repository = release.get("hf_hub", "").split("/")[1:2]
            named = bool(repository) and any(repository[0] in part for part in weights.parts)
            known = sha256 in release.get("url", "") or named
            trained_with = bool(release.get("quick_gelu", False))
            if known and trained_with != quick_gelu:
                refuse_mismatch(architecture, weights, trained_with, f"it is open_clip's {tag}")
