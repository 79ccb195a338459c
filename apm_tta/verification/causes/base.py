"""What a cause is, and the registry of all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from apm_tta.registry import Registry
from apm_tta.verification.setup import Case, NotApplicable, Setup


@dataclass(frozen=True)
class Attempt:
    """One way in which the published number, or this run, may have been made otherwise.

    Attributes:
        what: it is, in words.
        setup: with it.
    """

    what: str
    setup: Setup


Cause = Callable[[Case], Sequence[Attempt]]
"""Returns what is to be tried; raises ``NotApplicable`` where nothing can be."""

CAUSES: Registry[Cause] = Registry("cause")


def need_text(case: Case) -> None:
    """Refuse a teacher whose class weights do not come from words.

    Raises:
        NotApplicable: when they do not.
    """
    if case.teacher.classifier != "text":
        raise NotApplicable(f"its class weights come from {case.teacher.classifier}, not from words")
