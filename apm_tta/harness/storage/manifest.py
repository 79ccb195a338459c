"""``run.yaml``: what a run's numbers depend on, and where it ran."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
import yaml

import apm_tta
from apm_tta.configuration import read_yaml
from apm_tta.errors import UserError
from apm_tta.files import write_whole
from apm_tta.harness.storage.records import SCHEMA_VERSION

MANIFEST_FILE = "run.yaml"
_LIBRARIES = ("torch", "torchvision", "open_clip_torch", "timm", "numpy", "pillow", "opencv-python-headless", "pyarrow")


def environment(device: torch.device) -> dict[str, Any]:
    """Where a run takes place: nothing here decides a number, all of it explains a timing."""
    return {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "clock": "time.perf_counter",
    }


def versions() -> dict[str, str]:
    """Of this package, its record schema, its commit, and the libraries that computed the numbers."""
    found = {"apm-tta": importlib.metadata.version("apm-tta"), "record_schema": str(SCHEMA_VERSION), "commit": commit()}
    return {**found, **{name: importlib.metadata.version(name) for name in _LIBRARIES}}


def commit() -> str:
    """The commit of the checkout that runs, ``-dirty`` when its files differ; ``released`` outside a checkout."""
    root = Path(apm_tta.__file__).parent.parent
    if not (root / ".git").exists():
        return "released"

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        head = git("rev-parse", "HEAD")
        return head + ("-dirty" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Writes ``run.yaml``, whole or not at all.

    Raises:
        UserError: when the folder cannot be written.
    """
    path = folder / MANIFEST_FILE
    try:
        write_whole(path, yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True, width=120).encode())
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror or error})") from error


def read_manifest(folder: Path) -> dict[str, Any]:
    """What ``write_manifest`` wrote.

    Raises:
        UserError: when ``folder`` is no run folder.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise UserError(f"{folder} is not a run folder: it has no {MANIFEST_FILE}")
    manifest = read_yaml(path)
    if not isinstance(manifest, dict) or "numbers" not in manifest:
        raise UserError(f"{path} is not a manifest of this program")
    return manifest


def refuse_other_run(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuses to go on with a run whose numbers would depend on something else than they did.

    Raises:
        UserError: naming each differing field with both values.
    """
    if differing := differences(before["numbers"], now["numbers"]):
        raise UserError(
            f"{folder} holds another run ({'; '.join(differing)}); choose another --out, or --force-new for a folder "
            "beside it"
        )


def differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Every field in which two manifests' numbers differ, with both values."""
    old, new = _flat(dict(there)), _flat(dict(now))
    return [
        f"{field}: {old.get(field, 'absent')} there, {new.get(field, 'absent')} now"
        for field in sorted({*old, *new})
        if (field in old, old.get(field)) != (field in new, new.get(field))
    ]


def also_computed_on(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any] | None:
    """``before`` with the environment of a run that goes on elsewhere; None where it is the same.

    Timings of two machines in one table have to be told apart.
    """
    others: list[dict[str, Any]] = before.get("also_computed_on", [])

    def place(environment: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in environment.items() if key != "started"}

    here = now["environment"]
    if place(here) in [place(environment) for environment in (before["environment"], *others)]:
        return None
    return {**before, "also_computed_on": [*others, here]}


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {key: leaf for name, part in value.items() for key, leaf in _flat(part, f"{prefix}{name}.").items()}
    return {prefix.rstrip("."): value}


def _processor() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
