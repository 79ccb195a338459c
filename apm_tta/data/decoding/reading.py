"""The two ways to make RGB of a file."""

from __future__ import annotations

from typing import Final, Literal

Reading = Literal["published", "as a viewer shows"]

PUBLISHED: Final = "published"
"""As torchvision's loader of image folders: ``convert("RGB")`` and nothing else; what numbers in papers are of."""

VIEWER: Final = "as a viewer shows"
"""Upright, on a white ground, in sRGB, with every bit depth scaled to 8 bits."""
