"""Common corruptions (arXiv 1903.12261), and ImageNet-C-bar's, one function each, seeded by the caller."""

from __future__ import annotations

# Imported because each of them registers its corruptions.
from apm_tta.data.corruptions import blur, c_bar, digital, elastic, noise, spatter, weather  # noqa: F401
from apm_tta.data.corruptions.apply import (
    CORRUPTIONS,
    corrupt,
    corruption_families,
    corruption_revisions,
    corruptions_for,
    through_jpeg,
)
from apm_tta.data.corruptions.revisions import REVISIONS, Family
from apm_tta.data.sample import SEVERITIES

__all__ = [
    "CORRUPTIONS",
    "REVISIONS",
    "SEVERITIES",
    "Family",
    "corrupt",
    "corruption_families",
    "corruption_revisions",
    "corruptions_for",
    "through_jpeg",
]
