"""Revisions of the corruptions' pixels: one number per family, raised whenever its pixels change."""

from __future__ import annotations

from typing import Literal

Family = Literal["noise", "blur", "weather", "digital", "c-bar"]
"""The groups of ImageNet-C's authors (arXiv 1903.12261, figure 1), to which the four extra corruptions belong too, and
ImageNet-C-bar's corruptions (arXiv 2102.11273)."""

C_BAR: Family = "c-bar"

REVISIONS: dict[Family, int] = {"noise": 1, "blur": 1, "weather": 1, "digital": 1, "c-bar": 1}
"""Raise a family's number in the commit that changes its pixels.

Results under two revisions are results on different images, and must not share a table.
"""
