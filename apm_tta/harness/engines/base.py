"""The protocol of engines."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from apm_tta.harness.plan import Work
from apm_tta.registry import Registry

Engine = Callable[[Sequence[Work], Callable[[Work], None]], None]
"""``(shards, compute)``: calls ``compute``, which records what it finds, once for every shard."""

ENGINES: Registry[Engine] = Registry("engine")
