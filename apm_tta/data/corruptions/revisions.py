"""Revisions of the corruptions' pixels: one number per family, raised whenever its pixels change."""

from __future__ import annotations

from typing import Literal

Family = Literal["noise", "blur", "weather", "digital"]
"""The groups of ImageNet-C's authors (arXiv 1903.12261, figure 1); the four extra corruptions belong to them too."""

REVISIONS: dict[Family, int] = {"noise": 1, "blur": 1, "weather": 1, "digital": 1}
"""Raise a family's number in the commit that changes its pixels.

Results under two revisions are results on different images, and must not share a table.
"""
