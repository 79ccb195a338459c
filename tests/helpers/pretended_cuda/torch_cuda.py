"""The closed list of what is stubbed: the device's presence, streams, events, pinned memory, allocator figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch

from pretended_cuda.pinned import is_pinned, pin_memory
from pretended_cuda.waits import WAITS


class Stream:
    """A stream: what is queued on it is done at once."""

    def __init__(self, device: Any = None, priority: int = 0) -> None:
        self.device = torch.device("cuda:0")

    def synchronize(self) -> None:
        """Wait for it."""
        WAITS.note("synchronize")

    def query(self) -> bool:
        """Return whether all is done."""
        return True

    def is_capturing(self) -> bool:
        """Return whether its work is captured as a graph."""
        return False

    def wait_stream(self, other: Stream) -> None:
        """Let it wait for another stream, not the process."""

    def wait_event(self, event: Event) -> None:
        """Let it wait for an event, not the process."""

    def record_event(self, event: Event | None = None) -> Event:
        """Record an event on it."""
        event = event or Event()
        event.record(self)
        return event


class Event:
    """An event, at the time at which it was recorded; its time may be read when it is known to have happened."""

    def __init__(self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False) -> None:
        self._timed = enable_timing
        self._recorded: tuple[float, int] | None = None
        self._known = False

    def record(self, stream: Stream | None = None) -> None:
        """Record it."""
        self._recorded, self._known = (time.perf_counter(), WAITS.number), False

    def wait(self, stream: Stream | None = None) -> None:
        """Let a stream wait for it, not the process."""

    def synchronize(self) -> None:
        """Wait for it, unless it is known to have happened."""
        if not self.happened:
            WAITS.note("synchronize")

    def query(self) -> bool:
        """Return whether it has happened, without a wait."""
        self._known = True
        return True

    @property
    def happened(self) -> bool:
        """Whether the process has waited since it was recorded, or asked."""
        return self._recorded is None or self._known or WAITS.number > self._recorded[1]

    def elapsed_time(self, end: Event) -> float:
        """Return the milliseconds from here to ``end``.

        Raises:
            RuntimeError: as torch does where one was not recorded, has no time, or is not known to have happened.
        """
        if self._recorded is None or end._recorded is None:
            raise RuntimeError("Both events must be recorded before calculating elapsed time.")
        if not (self._timed and end._timed):
            raise RuntimeError("Both events must be created with argument 'enable_timing=True'.")
        if not (self.happened and end.happened):
            raise RuntimeError("CUDA error: device not ready")
        return 1000 * (end._recorded[0] - self._recorded[0])


_STREAM = Stream()
_GENERATOR = torch.Generator()


def _synchronize(device: Any = None) -> None:
    WAITS.note("synchronize")


_PROPERTIES = SimpleNamespace(name="a pretended device", major=9, minor=0, total_memory=2**33, multi_processor_count=1)


def _always(value: Any) -> Callable[..., Any]:
    """Return a function that returns ``value``, whatever it is given."""

    def answer(*_args: Any, **_kwargs: Any) -> Any:
        return value

    return answer


STUBS: dict[str, dict[str, Any]] = {
    "that there is one device": {
        "cuda.is_available": _always(True),
        "cuda.is_initialized": _always(True),
        "cuda.device_count": _always(1),
        "cuda.current_device": _always(0),
        "cuda.set_device": _always(None),
        "cuda.get_device_name": _always("a pretended device"),
        "cuda.get_device_capability": _always((9, 0)),
        "cuda.get_device_properties": _always(_PROPERTIES),
        "cuda.is_bf16_supported": _always(True),
        "cuda.default_generators": (_GENERATOR,),
    },
    "streams and events": {
        "cuda.Stream": Stream,
        "cuda.Event": Event,
        "cuda.stream": nullcontext,
        "cuda.current_stream": _always(_STREAM),
        "cuda.default_stream": _always(_STREAM),
        "cuda.synchronize": _synchronize,
        "accelerator.current_stream": _always(_STREAM),
    },
    "pinned memory": {
        "Tensor.pin_memory": pin_memory,
        "Tensor.is_pinned": is_pinned,
        "Tensor.record_stream": _always(None),
    },
    "the allocator's figures": {
        "cuda.mem_get_info": _always((2**33, 2**33)),
        "cuda.memory_allocated": _always(0),
        "cuda.max_memory_allocated": _always(1_000_000),
        "cuda.reset_peak_memory_stats": _always(None),
        "cuda.empty_cache": _always(None),
    },
}
"""Names in ``torch`` with what stands in for them; whatever else is there is torch's own, and finds no device."""


@contextmanager
def stubbed() -> Iterator[None]:
    """Put the stubs in the place of torch's for the block."""
    _GENERATOR.manual_seed(0)
    with ExitStack() as patches:
        for group in STUBS.values():
            for name, stub in group.items():
                # An older torch has no ``accelerator``, and asks for nothing there.
                if hasattr(torch, name.partition(".")[0]):
                    patches.enter_context(mock.patch(f"torch.{name}", stub))
        yield
