"""What a training script saves beside weights, read without running any of it: optimisers and schedulers as objects.

CoOp's checkpoints, which Dassl writes, hold a scheduler that refers to another one and to an optimiser. Safe loading
refuses such classes; here inert ones stand in for them, into which torch puts their state and nothing else happens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

_INERT = ("torch.optim.", "dassl.optim.", "builtins.dict", "builtins.int", "builtins.list", "numpy.")
"""Beginnings of the names that inert classes stand in for."""

_DEFAULTS = "collections.defaultdict"
"""An optimiser's state by parameter: a plain dictionary stands in for it."""


class _Inert:
    """Takes whatever a class of a checkpoint is made and filled with."""

    def __init__(self, *_: Any) -> None:
        return

    def __setstate__(self, _state: Any) -> None:
        return


def _plain(*_: Any) -> dict[Any, Any]:
    return {}


@contextmanager
def inert_training_state(path: Path) -> Iterator[None]:
    """Let ``torch.load(weights_only=True)`` read ``path``, with nothing in the place of what is no weights in it.

    Only training state is replaced so; anything else that is not weights is refused as ever.
    """
    unsafe: list[str] = []
    with suppress(Exception):  # not in torch's format of today: read, or refused, without stand-ins
        unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    stand_ins: list[Any] = [(_Inert, name) for name in unsafe if name.startswith(_INERT)]
    stand_ins += [(_plain, name) for name in unsafe if name == _DEFAULTS]
    with torch.serialization.safe_globals(stand_ins):
        yield
