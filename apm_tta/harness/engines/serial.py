"""One shard after another, in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from apm_tta.harness.engines.base import ENGINES
from apm_tta.harness.plan import Work


@ENGINES.register("serial")
def serial(shards: Sequence[Work], compute: Callable[[Work], None]) -> None:
    """Computes ``shards`` in their order."""
    for shard in shards:
        compute(shard)
