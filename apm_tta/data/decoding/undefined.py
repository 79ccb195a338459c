"""Pixels that cannot be shown."""

from __future__ import annotations


class UndefinedPixels(ValueError):
    """Nothing says how bright the pixels of a file are; the message completes "cannot be shown:"."""
