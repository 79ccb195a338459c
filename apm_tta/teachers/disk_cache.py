"""What is kept on disk between runs, by the digest of everything that it depends on; a damaged file is made again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from apm_tta.files import write_whole

_VERSION = "2"
# A new release of one of them may decode, resize or compute otherwise.
_LIBRARIES = ("open_clip_torch", "timm", "torch", "torchvision", "pillow")


def default_cache() -> Path:
    """``$APM_TTA_CACHE``, else ``apm-tta`` in ``$XDG_CACHE_HOME``, else in ``~/.cache``."""
    if own := os.environ.get("APM_TTA_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "apm-tta"


def key_text(parts: Mapping[str, Any]) -> str:
    """Everything that an entry depends on, as text; two entries are the same exactly if their texts are."""
    return json.dumps({"version": _VERSION, "libraries": _libraries(), **parts}, sort_keys=True, ensure_ascii=False)


def entry_path(folder: Path, key: str, suffix: str) -> Path:
    """Where the entry of that key lies."""
    return folder / f"{hashlib.sha256(key.encode()).hexdigest()}{suffix}"


def keep(path: Path, content: bytes) -> bool:
    """Writes an entry's file; whether it could be written.

    Processes that keep the same entry at once do not meet: each writes under a name of its own, the last one stays.
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
    """One tensor an entry, as safetensors, with its key and its digest beside it.

    Args:
        folder: made at the first entry; one that cannot be written keeps nothing and stops nobody.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, parts: Mapping[str, Any]) -> Tensor | None:
        """The tensor, or None when it was never kept, was kept for anything else, or is damaged."""
        key = key_text(parts)
        try:
            with safe_open(entry_path(self._folder, key, ".safetensors"), framework="pt") as file:
                metadata = file.metadata() or {}
                value: Tensor = file.get_tensor("value")
            return value if metadata == {"key": key, "sha256": _digest(value)} else None
        except (OSError, SafetensorError, ValueError, TypeError):
            return None

    def write(self, parts: Mapping[str, Any], value: Tensor) -> None:
        """Keeps ``value``."""
        key, kept = key_text(parts), value.detach().cpu().contiguous()
        content = safetensors.torch.save({"value": kept}, {"key": key, "sha256": _digest(kept)})
        keep(entry_path(self._folder, key, ".safetensors"), content)


class JsonCache:
    """One small mapping an entry, as JSON; see ``TensorCache``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, parts: Mapping[str, Any]) -> dict[str, Any] | None:
        """The mapping, or None when it was never kept, was kept for anything else, or is damaged."""
        key = key_text(parts)
        try:
            found = json.loads(entry_path(self._folder, key, ".json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        whole = isinstance(found, dict) and found.get("key") == key and isinstance(found.get("value"), dict)
        return found["value"] if whole and found.get("sha256") == _text_digest(found["value"]) else None

    def write(self, parts: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        """Keeps ``value``."""
        key = key_text(parts)
        content = json.dumps({"key": key, "value": value, "sha256": _text_digest(value)}, indent=1)
        keep(entry_path(self._folder, key, ".json"), content.encode())


@cache
def _libraries() -> dict[str, str]:
    return {name: version(name) for name in _LIBRARIES}


def _digest(value: Tensor) -> str:
    digest = hashlib.sha256(f"{value.dtype} {tuple(value.shape)} ".encode())
    digest.update(value.contiguous().reshape(-1).numpy().tobytes())
    return digest.hexdigest()


def _text_digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
