"""How many examples a fuzz test tries: few by default; ``APM_TTA_FUZZ=2000`` tries that many, other ones every time."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings

ONE_LINE = 300
"""Characters of a message, without the paths that it names."""


def fuzzed(examples: int) -> Callable[[Any], Any]:
    """Return the decorator that sets the number of examples."""
    named = os.environ.get("APM_TTA_FUZZ")
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
    return settings(
        max_examples=int(named) if named else examples,
        derandomize=named is None,
        database=None,
        deadline=None,
        suppress_health_check=checks,
    )
