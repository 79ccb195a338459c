"""When this process began to import the package: what it does before that takes milliseconds."""

from __future__ import annotations

import time

STARTED = time.perf_counter()
