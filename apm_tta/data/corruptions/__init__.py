"""Common corruptions (Hendrycks & Dietterich, arXiv 1903.12261), one function each, seeded by the caller."""

from __future__ import annotations

from apm_tta.data.corruptions import blur, digital, noise  # noqa: F401  each registers its corruptions
from apm_tta.data.corruptions.apply import CORRUPTIONS, SEVERITIES, corrupt

__all__ = ["CORRUPTIONS", "SEVERITIES", "corrupt"]
