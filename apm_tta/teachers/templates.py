"""Prompt templates by name: the sentences that a class name is put into.

The two lists are open_clip's own, so that a number under ``openai80`` means what the field means by it.
"""

from __future__ import annotations

from open_clip import OPENAI_IMAGENET_TEMPLATES, SIMPLE_IMAGENET_TEMPLATES

SIMPLE: tuple[str, ...] = ("a photo of a {}.",)

TEMPLATES: dict[str, tuple[str, ...]] = {
    "simple": SIMPLE,
    "simple7": tuple(template("{}") for template in SIMPLE_IMAGENET_TEMPLATES),
    "openai80": tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES),
}
