"""QuickGELU, x sigmoid(1.702 x), against GELU: weights trained with the one and run with the other lose accuracy.

Nothing in a checkpoint's tensors shows which activation it was, and open_clip only warns. Therefore what is known about
a file (its configuration, its digest, or the release that its path names) is compared with the requested architecture.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import open_clip

from apm_tta.errors import UserError
from apm_tta.teachers.checkpoints import WeightsFile

SUFFIX = "-quickgelu"


def refuse_mismatch(architecture: str, weights: Path, trained_with_quick_gelu: bool, evidence: str) -> NoReturn:
    """Refuse weights that were trained with a different activation from the architecture's.

    Raises:
        UserError: always. Exit code 2.
    """
    right = without_activation(architecture) + (SUFFIX if trained_with_quick_gelu else "")
    activations = ("QuickGELU", "GELU") if trained_with_quick_gelu else ("GELU", "QuickGELU")
    remedy = f"use {right}:{weights}" if right in open_clip.list_models() else "no architecture here has it"
    raise UserError(
        f"{weights} was trained with {activations[0]} ({evidence}), but {architecture} has {activations[1]}: accuracy "
        f"would be silently lower; {remedy}",
        exit_code=2,
    )


def without_activation(architecture: str) -> str:
    """Return the architecture's name without the suffix for its activation."""
    return architecture.removesuffix(SUFFIX)


def known_release(architecture: str, weights: WeightsFile) -> tuple[str, Mapping[str, Any]] | None:
    """Identify a file as a known release: return its tag and open_clip's configuration, or None if unknown.

    A release is identified by the digest in its address, or by its repository's name in the file's path (a hub's cache,
    or a folder named after it); of several such names the longest counts.
    """
    found: list[tuple[int, str, Mapping[str, Any]]] = []
    for kind in (without_activation(architecture), without_activation(architecture) + SUFFIX):
        for tag in open_clip.list_pretrained_tags_by_model(kind):
            release = open_clip.get_pretrained_cfg(kind, tag)
            url, repository = release.get("url", ""), release.get("hf_hub", "").partition("/")[2].partition("/")[0]
            if weights.sha256 in url or f"-{weights.sha256[:8]}." in url:
                return tag, release
            if repository and any(repository in part for part in weights.path.absolute().parts):
                found.append((len(repository), tag, release))
    return max(found, key=lambda each: each[0])[1:] if found else None
