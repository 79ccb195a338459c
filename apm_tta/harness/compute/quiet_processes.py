"""Start processes that do not run the script of this one again.

A process that is started anew imports the script that started it, so that it finds the functions and classes of it: a
script without ``if __name__ == "__main__":`` would begin its run once more in every process. Here nothing is looked up
in the script: user-defined methods are sent with their code.
"""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import BaseContext, SpawnContext, SpawnProcess
from types import ModuleType

_MAIN = "__main__"
_ONE_AT_A_TIME = threading.Lock()


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide the script within the block: a module without file stands for it."""
    with _ONE_AT_A_TIME:
        main = sys.modules[_MAIN]
        sys.modules[_MAIN] = ModuleType(_MAIN)
        try:
            yield
        finally:
            sys.modules[_MAIN] = main


class _SpawnProcess(SpawnProcess):
    def start(self) -> None:
        with _without_main():
            super().start()


class _QuietSpawn(SpawnContext):
    Process = _SpawnProcess


_QUIET: dict[str, type[BaseContext]] = {"spawn": _QuietSpawn}

if sys.platform != "win32":
    from multiprocessing.context import ForkServerContext, ForkServerProcess

    class _ForkServerProcess(ForkServerProcess):
        def start(self) -> None:
            with _without_main():
                super().start()

    class _QuietForkServer(ForkServerContext):
        Process = _ForkServerProcess

    _QUIET["forkserver"] = _QuietForkServer


def quiet_context(method: str | None = None) -> BaseContext:
    """Return a context of ``multiprocessing`` whose processes do not import the script that runs.

    Args:
        method: how processes are started; None is how Python starts them on this system.
    """
    # Whoever asks for the one in use settles it for the whole process; the first of all is the system's own.
    name = method or multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
    # A forked process is a copy: it imports nothing.
    return _QUIET[name]() if name in _QUIET else multiprocessing.get_context(name)
