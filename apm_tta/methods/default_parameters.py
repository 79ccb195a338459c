"""The parameter that every method has, and all that a method has which names no others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from apm_tta.errors import UserError
from apm_tta.teachers import read_templates


def check_templates(name: str) -> str:
    """Return ``name``, when templates of that name exist; ``dataset`` is the data set's own.

    Raises:
        ValueError: listing those that exist (pydantic turns it into its own error).
    """
    try:
        read_templates(name, "{}")
    except UserError as error:
        raise ValueError(str(error)) from None
    return name


Templates = Annotated[str, AfterValidator(check_templates), Field(description="name or file of the prompt templates")]


@dataclass(frozen=True)
class DefaultParameters:
    """Parameters of a method that names none.

    Attributes:
        templates: the data set's own sentences.
    """

    templates: Templates = "dataset"
