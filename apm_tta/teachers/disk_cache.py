"""Cache entries on disk that outlive a run, each named by the digest of everything that it depends on.

An entry that is damaged or belongs to another key counts as absent, so that it is recomputed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from apm_tta.system.files import read_regular, write_whole

_VERSION = "3"
# A new release of any of them may decode, resize, tokenise or compute differently.
_LIBRARIES = (
    *("open_clip_torch", "timm", "torch", "torchvision", "pillow", "numpy", "safetensors"),
    *("ftfy", "regex", "transformers", "tokenizers", "sentencepiece"),
)


def entry_key(parts: Mapping[str, Any]) -> str:
    """Serialise everything that an entry depends on; two entries are the same exactly if their keys are equal."""
    return json.dumps(
        {"version": _VERSION, "libraries": _libraries(), "code": _code(), **parts}, sort_keys=True, ensure_ascii=False
    )


def entry_path(folder: Path, key: str, suffix: str) -> Path:
    """Return the path of the entry with this key."""
    return folder / f"{hashlib.sha256(key.encode()).hexdigest()}{suffix}"


def write_entry(path: Path, content: bytes) -> bool:
    """Write an entry's file, and return whether that succeeded.

    Processes that write the same entry at once do not interfere: each writes under its own name, and the last one wins.
    """
    own = path.with_name(f"{os.getpid()}-{path.name}")
    try:
        write_whole(own, content)
        own.replace(path)
    except OSError:
        with suppress(OSError):
            own.unlink(missing_ok=True)
        return False
    return True


class TensorCache:
    """One tensor per entry, as safetensors, with its key and its digest beside it.

    Args:
        folder: created with the first entry; if it is not writable, nothing is cached and no error is raised.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, parts: Mapping[str, Any]) -> Tensor | None:
        """Return the tensor, or None when the entry is missing, belongs to another key, or is damaged."""
        key = entry_key(parts)
        try:
            path = entry_path(self._folder, key, ".safetensors")
            if not path.is_file():  # a pipe may never end
                return None
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                # Copied: what is checked must not change with the file afterwards.
                value: Tensor = file.get_tensor("value").clone()
            return value if metadata == {"key": key, "sha256": _digest(value)} else None
        except (OSError, SafetensorError, ValueError, TypeError):
            return None

    def write(self, parts: Mapping[str, Any], value: Tensor) -> None:
        """Write ``value``, of any device, as the entry of ``parts``."""
        key, plain = entry_key(parts), value.detach().cpu().contiguous()
        content = safetensors.torch.save({"value": plain}, {"key": key, "sha256": _digest(plain)})
        write_entry(entry_path(self._folder, key, ".safetensors"), content)


class JsonCache:
    """One small mapping per entry, as JSON; see ``TensorCache``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, parts: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the mapping, or None when the entry is missing, belongs to another key, or is damaged."""
        key = entry_key(parts)
        try:
            found = json.loads(read_regular(entry_path(self._folder, key, ".json")))
        except (OSError, ValueError):
            return None
        valid = isinstance(found, dict) and found.get("key") == key and isinstance(found.get("value"), dict)
        return found["value"] if valid and found.get("sha256") == _mapping_digest(found["value"]) else None

    def write(self, parts: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        """Write ``value`` as the entry of ``parts``."""
        key = entry_key(parts)
        content = json.dumps({"key": key, "value": value, "sha256": _mapping_digest(value)}, indent=1)
        write_entry(entry_path(self._folder, key, ".json"), content.encode())


@cache
def _libraries() -> dict[str, str]:
    return {name: _version(name) for name in _LIBRARIES}


@cache
def _code() -> str:
    """Return the digest of this package's code: another computation makes other entries."""
    digest, package = hashlib.sha256(), Path(__file__).parents[1]
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package).as_posix()} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "not installed"


def _digest(value: Tensor) -> str:
    digest = hashlib.sha256(f"{value.dtype} {tuple(value.shape)} ".encode())
    digest.update(value.contiguous().reshape(-1).numpy().tobytes())
    return digest.hexdigest()


def _mapping_digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
