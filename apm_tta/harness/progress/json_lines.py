"""A run as JSON for machines."""

from __future__ import annotations

import json
import sys
from typing import Any

from apm_tta.harness.progress.events import Event, Finished, Note, Planned, work_name


class JsonLines:
    """One JSON object a line on standard output."""

    def __call__(self, event: Event) -> None:
        """Tells what happened, as ``LogFile`` does."""
        if isinstance(event, Planned):
            answers = sum(unit.answers(cell) for unit in event.work for cell in unit.cells)
            self.put("planned", cells=event.cells, shards=len(event.work), answers=answers)
        elif isinstance(event, Finished):
            self.put(
                "recorded",
                shard=work_name(event.work),
                files=[str(path) for path, _ in event.files],
                seconds=round(event.seconds, 3),
            )
        elif isinstance(event, Note):
            self.put("note", text=event.text)

    def put(self, kind: str, **values: Any) -> None:
        """One object, ``kind`` under the key ``event``."""
        print(json.dumps({"event": kind, **values}), file=sys.stdout, flush=True)
