"""The lines of the package that put a tensor on the device, each of which can be forgotten."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

import apm_tta

_OPTIMISERS = str(Path(torch.optim.__file__).parent)
_PACKAGE = str(Path(apm_tta.__file__).parent)


class Sites:
    """Which lines moved or made a tensor there, and the one that leaves it on the CPU instead.

    Attributes:
        seen: ``file:line`` below the package, in the order in which they were first carried out.
    """

    def __init__(self) -> None:
        self.seen: dict[str, None] = {}
        self._forgotten: str | None = None

    def carried_out(self) -> bool:
        """Note the line that is being carried out, and return whether it is not the forgotten one."""
        frame = sys._getframe(1)
        while frame is not None and not frame.f_code.co_filename.startswith(_PACKAGE):
            if frame.f_code.co_filename.startswith(_OPTIMISERS):
                return True  # what an optimiser keeps
            frame = frame.f_back  # type: ignore[assignment]
        if frame is None:
            return True
        line = f"{Path(frame.f_code.co_filename).relative_to(_PACKAGE).as_posix()}:{frame.f_lineno}"
        self.seen[line] = None
        return line != self._forgotten

    @contextmanager
    def forgetting(self, line: str) -> Iterator[None]:
        """Leave what ``line`` moves or makes on the CPU, in the block."""
        self._forgotten = line
        try:
            yield
        finally:
            self._forgotten = None


SITES = Sites()
