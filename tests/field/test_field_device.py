"""A field on a GPU equals the field on the CPU, and so do islands. These tests need a GPU."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from apm_tta.cli import main
from apm_tta.data.unlabelled import one_image
from apm_tta.field.checkpoint import load_field
from apm_tta.field.field_answers import answer, column_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def test_a_field_trained_on_a_gpu_comes_as_close_and_answers_alike_on_both(words: list[str], tmp_path: Path) -> None:
    for device in ("cpu", "cuda"):
        assert main([*words, "--device", device, "--precision", "float32", "--out", str(tmp_path / device)]) == 0
    cosines = [pd.read_csv(tmp_path / device / "epochs.csv")["validation cosine"] for device in ("cpu", "cuda")]
    assert (cosines[0] - cosines[1]).abs().max() < 0.01
    image = one_image("fashion-mnist:test/00001").read()
    grids = []
    for device in ("cpu", "cuda"):
        field = load_field(tmp_path / "cuda" / "field.safetensors", torch.device(device))
        grids.append(answer(field, column_of(field, image), 7).grid.cpu())
    torch.testing.assert_close(*grids, rtol=1e-3, atol=1e-2)


def test_a_training_on_a_gpu_resumes_where_it_was(words: list[str], tmp_path: Path) -> None:
    out = ["--device", "cuda", "--out", str(tmp_path)]
    assert main([*words, *out]) == 0
    assert main([*words, *out]) == 0
    assert len(pd.read_csv(tmp_path / "epochs.csv")) == 4


def test_islands_on_a_gpu_have_the_cpu_s_numbers(tmp_path: Path) -> None:
    words = ["islands", "fashion-mnist:test/00001", "--iterations", "20", "--every", "10", "--animation", "none"]
    for device in ("cpu", "cuda"):
        assert main([*words, "--device", device, "--out", str(tmp_path / device)]) == 0
    fits = [pd.read_csv(tmp_path / device / "fit.csv") for device in ("cpu", "cuda")]
    pd.testing.assert_frame_equal(*fits, rtol=1e-2, atol=1e-3)
