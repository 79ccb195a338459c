"""What a stream has left in its methods, stored and put back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apm_tta.harness.compute.streamed.base import StreamedMethod
from apm_tta.methods import Batch, Method
from apm_tta.methods.answering import reset
from apm_tta.methods.kept import Beginning, decode_state


class StreamStates:
    """The states of the methods of one stream, each of which is reset now.

    Args:
        methods: by row.
    """

    def __init__(self, methods: Mapping[str, Method[Any]]) -> None:
        self._methods = methods
        self._beginnings = {}
        for row, method in methods.items():
            reset(method)
            self._beginnings[row] = Beginning(method)

    def encode(self) -> dict[str, bytes]:
        """Return every state as the content of a file, by row.

        Raises:
            UserError: when a method keeps something that cannot be stored, naming it.
        """
        return {row: own.state(self._methods[row]).encode() for row, own in self._beginnings.items()}

    def put_back(self, states: Mapping[str, bytes]) -> None:
        """Put states back.

        Raises:
            ValueError: when one is missing, or does not fit its method.
        """
        for row, own in self._beginnings.items():
            if row not in states:
                raise ValueError(f"the state of {row} is missing")
            own.put_back(self._methods[row], decode_state(states[row]))

    @property
    def held(self) -> int:
        """The number of images that their windows hold, the same in all of them."""
        return max((each.held for each in self._methods.values() if isinstance(each, StreamedMethod)), default=0)

    def show_again(self, batch: Batch) -> None:
        """Show methods the images that their windows hold."""
        for method in self._methods.values():
            if isinstance(method, StreamedMethod):
                method.show_again(batch)
