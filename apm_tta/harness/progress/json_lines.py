"""The events of a run as JSON, for scripts."""

from __future__ import annotations

import json
import sys
from typing import Any

from apm_tta.harness.progress.events import Event, Finished, Note, Planned, work_name


class JsonLines:
    """A listener that prints one JSON object per line to standard output."""

    def __call__(self, event: Event) -> None:
        """Print the events that ``LogFile`` logs."""
        if isinstance(event, Planned):
            answers = sum(unit.count_answers(cell) for unit in event.work for cell in unit.cells)
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
        """Print one object, with ``kind`` under the key ``event``."""
        print(json.dumps({"event": kind, **values}), file=sys.stdout, flush=True)
