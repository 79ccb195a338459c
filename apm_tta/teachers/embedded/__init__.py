"""The small CLIP that the package carries, an open_clip model trained by ``scripts/train_embedded_teacher.py``."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
WEIGHTS_FILE = FOLDER / "open_clip_model.safetensors"
