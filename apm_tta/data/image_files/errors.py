"""Why an image has no answer: the kinds, each with what a person can do about it.

Every kind becomes a row without an answer, which the same command tries again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from apm_tta.errors import UserError, describe_error

_ALLOCATOR = "can't allocate memory"
"""Of torch's message, which has no type of its own on a CPU."""


class UnreadImage(UserError):
    """An image that has no answer, among others that have; the message is one line that names it.

    Attributes:
        kind: in a word or two, as the records state it.
        remedy: what a person does about images of this kind before the same command is run again.
    """

    kind: ClassVar[str]
    remedy: ClassVar[str]


class UnreachableImage(UnreadImage):
    """Its bytes could not be read, however often that was tried: where it lies fails, for a while or for good."""

    kind = "unreachable"
    remedy = "see that what is unreachable can be read"


class DamagedImage(UnreadImage):
    """Its bytes were read whole, and cannot be decoded."""

    kind = "damaged"
    remedy = "replace what is damaged"


class MissingImage(UnreadImage):
    """Its file is gone since it was listed, or something else stands in its place."""

    kind = "missing"
    remedy = "put back what is missing"


class TooLargeImage(UnreadImage):
    """It would need more memory than an image may."""

    kind = "too large"
    remedy = "raise the limit of what is too large, or make it smaller"


class UnsupportedImage(UnreadImage):
    """It is whole, as far as can be seen, and in a form that is not supported."""

    kind = "unsupported"
    remedy = "convert what is unsupported"


KINDS: tuple[type[UnreadImage], ...] = (
    UnreachableImage,
    DamagedImage,
    MissingImage,
    TooLargeImage,
    UnsupportedImage,
)


def failed_step(name: str, step: str, error: Exception) -> UnreadImage:
    """Return what to call it when a decoded image cannot be made into what a method sees.

    Args:
        name: of the image.
        step: what was to be done with it, as a participle.
        error: that ended the step.
    """
    if isinstance(error, MemoryError) or _ALLOCATOR in str(error):
        return TooLargeImage(f"{name} is too large: memory does not suffice for it to be {step}; make it smaller")
    return UnsupportedImage(f"{name} cannot be {step} ({describe_error(error)}); convert it, or leave it out")


def count_kinds(counts: Mapping[str, int]) -> str:
    """Join the kinds that there are with their numbers: ``1 unreachable, 2 damaged``."""
    return ", ".join(f"{counts[each.kind]:,} {each.kind}" for each in KINDS if counts.get(each.kind))


def remedies(counts: Mapping[str, int]) -> str:
    """Join what is to be done about the kinds that there are."""
    return ", ".join(each.remedy for each in KINDS if counts.get(each.kind))
