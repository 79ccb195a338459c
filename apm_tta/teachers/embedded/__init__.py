"""The small CLIPs that the package carries: open_clip models trained by the scripts ``train_embedded_*.py``."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent
FOLDERS: dict[str, Path] = {"embedded": _HERE, "embedded-resnet": _HERE / "resnet"}
"""For each embedded teacher by name, the folder with its configuration and weights."""

WEIGHTS: dict[str, Path] = {name: folder / "open_clip_model.safetensors" for name, folder in FOLDERS.items()}
"""For each embedded teacher by name, its weights."""
