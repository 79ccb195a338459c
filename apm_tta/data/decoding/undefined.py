"""Pixels that cannot be shown."""

from __future__ import annotations


class UndefinedPixels(ValueError):
    """Nothing says what the pixels of a file look like; the message completes "cannot be shown:", with an advice."""
