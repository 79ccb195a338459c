"""Common corruptions (Hendrycks & Dietterich, arXiv 1903.12261), one function each, seeded by the caller."""

from __future__ import annotations

# Imported because each of them registers its corruptions.
from apm_tta.data.corruptions import blur, digital, elastic, noise, spatter, weather  # noqa: F401
from apm_tta.data.corruptions.apply import CORRUPTIONS, corrupt, corruption_revisions, through_jpeg
from apm_tta.data.corruptions.revisions import REVISIONS, Family
from apm_tta.data.sample import SEVERITIES

__all__ = ["CORRUPTIONS", "REVISIONS", "SEVERITIES", "Family", "corrupt", "corruption_revisions", "through_jpeg"]
