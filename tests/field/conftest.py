"""A field trained by its command, small enough for a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from apm_tta.cli import main
from apm_tta.field.checkpoint import CHECKPOINT_FILE

WORDS = [
    *("train-field", "--limit", "1000", "--locations", "32", "--epochs", "4", "--views", "1", "--hidden", "96,64"),
    # A CPU computes in bfloat16, the default, several times as slowly.
    *("--batch-size", "32", "--precision", "float32", "--quiet"),
]


@pytest.fixture(scope="session")
def words() -> list[str]:
    """Return the arguments of a training that takes seconds; later arguments override them."""
    return WORDS


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train four epochs on the images that the package carries; return the checkpoint."""
    out = tmp_path_factory.mktemp("field")
    assert main([*WORDS, "--out", str(out)]) == 0
    return out / CHECKPOINT_FILE
