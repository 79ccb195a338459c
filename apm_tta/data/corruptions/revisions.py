"""Which pixels the corruptions make: a number per family that says when they changed."""

from __future__ import annotations

from typing import Literal

Family = Literal["noise", "blur", "weather", "digital"]
"""The groups of ImageNet-C's authors (arXiv 1903.12261, figure 1); the four extra corruptions stand in them too."""

REVISIONS: dict[Family, int] = {"noise": 1, "blur": 1, "weather": 1, "digital": 1}
"""Raise it in the commit that changes the family's pixels.

Numbers of two revisions are of different images, and must not stand in one table.
"""
