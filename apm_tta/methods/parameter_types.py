"""Types of methods' parameters: what a number may be, so that what is accepted can be computed in finite time.

The upper limits are far above what papers use; beyond them memory, time or float32 end first.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from annotated_types import Ge, Gt, Le

Views: TypeAlias = Annotated[int, Ge(1), Le(4096)]
"""Of one image, the evaluation crop included."""

Steps: TypeAlias = Annotated[int, Ge(1), Le(100_000)]
"""Of an optimiser, or rounds of an iteration."""

BatchSize: TypeAlias = Annotated[int, Ge(1), Le(65_536)]
"""Images that an adapting method sees at once."""

Entries: TypeAlias = Annotated[int, Ge(1), Le(1_000_000)]
"""Neighbours or stored images."""

Width: TypeAlias = Annotated[int, Ge(1), Le(65_536)]
"""Of a layer."""

Share: TypeAlias = Annotated[float, Gt(0), Le(1)]
"""A part of a whole that is not empty."""

Fraction: TypeAlias = Annotated[float, Ge(0), Le(1)]
"""From none to all."""

Rate: TypeAlias = Annotated[float, Gt(0), Le(1000)]
"""Of learning."""

Weight: TypeAlias = Annotated[float, Ge(0), Le(1e6)]
"""Of a term in a sum, or a sharpness; 0 leaves it out."""

Scale: TypeAlias = Annotated[float, Ge(1e-6), Le(1e6)]
"""What something is divided by or multiplied with; never 0."""
