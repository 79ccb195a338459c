"""The state of a method: what differs from the method as ``reset`` leaves it, as bytes that hold data alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safetensors.torch import load, save
from torch import Tensor

from apm_tta.methods.kept.places import aliases, digest, places
from apm_tta.methods.kept.read import Reader
from apm_tta.methods.kept.write import Writer

if TYPE_CHECKING:
    from apm_tta.methods.base import Method


@dataclass(frozen=True)
class KeptState:
    """What images have left in a method.

    Attributes:
        tensors: by their number as text, on the CPU.
        changes: path and content, as ``Writer`` writes it, of every place that differs from the method as it began.
        aliases: further paths to what has changed, each with the first one.
        beginning: digest of the method as it began: a state is put back only where a method begins alike.
    """

    tensors: Mapping[str, Tensor]
    changes: list[list[Any]]
    aliases: list[list[str]]
    beginning: str

    def encode(self) -> bytes:
        """Encode the state as safetensors, whose metadata hold the rest as JSON."""
        plain = {"changes": self.changes, "aliases": self.aliases, "beginning": self.beginning}
        content: bytes = save(dict(self.tensors), {"state": json.dumps(plain)})
        return content


def decode_state(content: bytes) -> KeptState:
    """Decode the result of ``KeptState.encode``.

    Raises:
        ValueError: when it is not that.
    """
    try:
        length = int.from_bytes(content[:8], "little")
        plain = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["state"])
        return KeptState(load(content), plain["changes"], plain["aliases"], plain["beginning"])
    except Exception as error:  # damaged bytes make a decoder raise anything
        raise ValueError(f"this is not the state of a method ({type(error).__name__}: {error})") from None


class Beginning:
    """A method as ``reset`` leaves it.

    Args:
        method: that has just been reset; it is not kept, only digests of it.
    """

    def __init__(self, method: Method[Any]) -> None:
        self._digests = {path: digest(value) for path, value in places(method)}
        self.digest = hashlib.sha256(json.dumps(self._digests).encode()).hexdigest()

    def state(self, method: Method[Any]) -> KeptState:
        """Return what images have left in the method since.

        Raises:
            UserError: when it keeps something that cannot be stored, naming it.
        """
        writer = Writer(method)
        changes: list[list[Any]] = []
        whole = ""  # a container that is stored holds all below it
        for path, value in places(method):
            if whole and path.startswith(whole):
                continue
            if self._digests.get(path) != digest(value):
                changes.append([path, writer.plain(value, path)])
                whole = f"{path}/"
        changed = {path for path, _ in changes}
        shared = [[path, first] for path, first in aliases(method) if first in changed]
        return KeptState(writer.tensors, changes, shared, self.digest)

    def put_back(self, method: Method[Any], state: KeptState) -> None:
        """Put a state into the method, which has just been reset.

        Raises:
            ValueError: when it does not begin as the method did whose state that is, or the state does not fit.
        """
        if state.beginning != self.digest:
            raise ValueError("the method begins otherwise here than where its state was stored")
        Reader(method, state.tensors).put_back(state.changes, state.aliases)
