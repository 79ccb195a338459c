"""The most that may be asked for: beyond it memory or time end first, and a slip of the keyboard is likelier."""

from __future__ import annotations

from typing import Literal

MOST_IMAGES = 2**31
"""Of a data set, a class, a batch or a shard."""

MOST_WORKERS = 1024
"""Processes that load images, per device."""

MOST_MEMORY = 2**20
"""GiB that a method may be given."""

MOST_SHARES = 1024
"""GPUs per Ray task."""

MOST_ISLANDS = 1000
"""Images of a report whose APM is fitted again."""

PRECISIONS = ("float32", "tf32", "bfloat16")
"""How products may be computed; see ``apm_tta.precision``."""

Classifier = Literal["auto", "text", "head", "prototypes"]
"""Where class weights come from; ``auto`` takes the first of the others that is available."""
