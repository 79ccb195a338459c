"""Settings of every registered method that make it quick, and what it needs beside the embedded teacher."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from apm_tta.methods import METHODS

NEED_BATCH_NORM = {"norm"}
"""Methods that cannot work with the teacher ``embedded``, which has none."""

NEED_SUPPORT = {"eata", "knn"}
"""Methods that need labelled images."""

_OWN: dict[str, dict[str, Any]] = {
    "apm": {"iterations": 2},
    "clipartt": {"steps": 2},
    "cotta": {"augmentations": 2, "confidence": 1.0},
    "knn": {"neighbours": 3},
    "rotta": {"memory_size": 2, "update_every": 2},
    "watt": {"repeats": 1, "steps": 1},
}


def small_settings(views: int, batch_size: int) -> dict[str, dict[str, Any]]:
    """Return settings by method: so many views and images per batch, where it has such parameters, and few steps."""
    settings = {}
    for name in METHODS.names():
        known = {field.name for field in fields(METHODS.get(name).Parameters)}
        common = {"views": views, "batch_size": batch_size}
        own = {key: value for key, value in common.items() if key in known} | _OWN.get(name, {})
        if own:
            settings[name] = own
    return settings


def as_words(settings: dict[str, dict[str, Any]]) -> list[str]:
    """Return settings as arguments of the command line."""
    return [
        word
        for name, own in settings.items()
        for key, value in own.items()
        for word in ("--set", f"{name}.{key}={value}")
    ]
