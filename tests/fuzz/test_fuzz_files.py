"""Data sets and weights damaged at random: the real commands end in one line or a right table, never in a traceback."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import timm
import torch
from fuzz import fuzzed
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from apm_tta.cli import main

RUN = ["folder", "--teacher", "embedded", "--methods", "zeroshot", "--device", "cpu", "--quiet"]
NUMBERS = ["method", "corruption", "severity", "top1", "top5", "errors", "agreement"]


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place // 8 % len(content)] ^= 1 << place % 8
    path.write_bytes(content)


def truncate(path: Path, place: int) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: place % len(content)])


def become(make: Callable[[Path], object]) -> Callable[[Path, int], None]:
    """Replace a file by something else."""

    def damage(path: Path, _: int) -> None:
        path.unlink()
        make(path)

    return damage


DAMAGES = st.sampled_from(
    [
        flip,
        flip,
        truncate,
        become(lambda _: None),
        become(Path.touch),
        become(Path.mkdir),
        become(os.mkfifo),
        become(lambda path: path.write_text("thesis")),
        become(lambda path: path.write_bytes(b"PK\x03\x04" + bytes(64))),
        become(lambda path: path.symlink_to(path.name)),
    ]
)


def carried_out(words: list[str]) -> tuple[int, str]:
    """Run a command, hold how it ends to the table of exit codes, and return its code and last line of error."""
    out, said = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(said):
        code = main(words)
    text = said.getvalue()
    assert code in (0, 1, 2, 3), text
    assert "Traceback" not in text + out.getvalue()
    last = text.splitlines()[-1] if text else ""
    assert code == 0 or last.startswith("run-bench: "), text
    assert "unexpected" not in last
    return code, last


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a tree of images with a finished run on it."""
    folder = tmp_path_factory.mktemp("files")
    generator = np.random.default_rng(0)
    for name in ("trouser", "sneaker"):
        (folder / "data" / name).mkdir(parents=True)
        for suffix in ("png", "jpg", "gif"):
            pixels = generator.integers(0, 255, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "data" / name / f"one.{suffix}")
    assert main([*RUN, "--data-root", str(folder / "data"), "--out", str(folder / "run")]) == 0
    return folder


@fuzzed(5)
@given(damage=DAMAGES, choice=st.integers(0, 100), place=st.integers(0, 10**6))
def test_a_damaged_data_set_is_told_and_its_run_keeps_its_numbers(
    whole: Path, damage: Callable[[Path, int], None], choice: int, place: int
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(whole, folder, dirs_exist_ok=True)
        files = sorted(path for path in (folder / "data").rglob("*") if path.is_file())
        damage(files[choice % len(files)], place)
        words = [*RUN, "--data-root", str(folder / "data"), "--out"]
        code, _ = carried_out([*words, str(folder / "run")])
        if code == 0:
            tables = [pd.read_csv(each / "run" / "results.csv")[NUMBERS] for each in (folder, whole)]
            pd.testing.assert_frame_equal(*tables)
        carried_out([*words, str(folder / "fresh")])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Write the weights of a small network in both formats."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    state = timm.create_model("test_vit").state_dict()
    files = [folder / "weights.safetensors", folder / "weights.pth"]
    files[0].write_bytes(safetensors.torch.save(state))
    torch.save({"state_dict": state}, files[1])
    return files


@fuzzed(6)
@given(damage=DAMAGES, choice=st.integers(0, 1), place=st.integers(0, 10**9))
def test_damaged_weights_are_told_or_load(
    weights: list[Path], damage: Callable[[Path, int], None], choice: int, place: int
) -> None:
    with TemporaryDirectory() as name:
        path = Path(shutil.copy(weights[choice], name))
        damage(path, place)
        words = ["islands", "fashion-mnist:test/00083", "--teacher", f"timm:test_vit:{path}", "--iterations", "0"]
        code, last = carried_out([*words, "--animation", "none", "--out", f"{name}/out", "--device", "cpu"])
        assert code == 0 or name in last
