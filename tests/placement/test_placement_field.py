"""A field that is trained on a device that no tensor of the CPU may meet."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pytest
from pretended_cuda import pretended_cuda

from apm_tta.cli import main

TRAIN = [
    *("train-field", "--limit", "10", "--views", "2", "--batch-size", "10", "--epochs", "1", "--hidden", "16,8"),
    *("--precision", "float32", "--quiet"),
]


def test_a_field_is_trained_on_the_device_as_on_the_cpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for device in ("cpu", "cuda"):
        with pretended_cuda() if device == "cuda" else nullcontext():
            code = main([*TRAIN, "--device", device, "--out", str(tmp_path / device)])
        assert code == 0, capsys.readouterr().err
    on_cpu, on_device = (pd.read_csv(tmp_path / device / "epochs.csv") for device in ("cpu", "cuda"))
    pd.testing.assert_frame_equal(on_cpu.drop(columns="seconds"), on_device.drop(columns="seconds"), check_exact=True)
