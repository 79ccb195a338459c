"""Nothing but tensors is ever read from a weights file."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from apm_tta.errors import UserError
from apm_tta.teachers import load_teacher
from apm_tta.teachers.checkpoints import read_state_dict, weights_file

FAMILIES = ("ViT-S-32-alt", "timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k")


class Payload:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5, None])
def test_a_checkpoint_that_would_run_code_is_refused_and_runs_none(
    family: str, protocol: int | None, tmp_path: Path
) -> None:
    """The checkpoint is a bare pickle of any protocol, or inside torch's own archive."""
    path, trace = tmp_path / "weights.pt", tmp_path / "trace"
    if protocol is None:
        torch.save({"state_dict": Payload(trace)}, path)
    else:
        path.write_bytes(pickle.dumps({"state_dict": Payload(trace)}, protocol))
    for cache in (None, tmp_path / "cache"):
        with pytest.raises(UserError, match=r"contains more than weights.*none of it was run") as refused:
            load_teacher(f"{family}:{path}", cache=cache)
        assert "\n" not in str(refused.value)
        assert not trace.exists()
    pickle.loads(pickle.dumps(Payload(trace)))
    assert trace.exists(), "the payload would have been visible"


@pytest.mark.parametrize("family", FAMILIES)
def test_an_archive_with_a_program_is_refused(family: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/constants.pkl", b"")
        archive.writestr("model/data.pkl", b"")
    with pytest.raises(
        UserError, match=r"is a TorchScript archive, which contains code; give its weights as .safetensors"
    ):
        load_teacher(f"{family}:{path}", cache=None)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("suffix", ["pt", "npz", "npy", "bin", "safetensors"])
@pytest.mark.parametrize(
    ("content", "looks"),
    [
        (b"", "it is empty"),
        (b"hello, here is a text", "it begins with 'hello, here is a'"),
        (b"PK\x03\x04 cut off", "it begins as torch's archives do, and was cut off or is damaged"),
    ],
)
def test_a_file_that_is_not_a_checkpoint_is_refused_by_name_and_looks(
    family: str, suffix: str, content: bytes, looks: str, tmp_path: Path
) -> None:
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=str(path)) as refused:
        load_teacher(f"{family}:{path}", cache=None)
    assert looks in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "but a list"),
        ({}, "but a dict"),
        ({"a": 1}, "'a' is a int"),
        ({"model": {1: torch.zeros(1)}}, "1 is a Tensor"),
    ],
)
def test_a_file_without_named_tensors_is_refused(content: object, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(UserError, match=message):
        read_state_dict(weights_file(tmp_path / "weights.pt"))


def test_averaged_weights_come_first_and_wrapper_prefixes_are_removed(tmp_path: Path) -> None:
    names = {"_orig_mod.module.a": torch.ones(1), "module._orig_mod.b": torch.ones(1), "module_c": torch.ones(1)}
    torch.save({"state_dict": {"a": torch.zeros(1)}, "state_dict_ema": names}, tmp_path / "weights.pt")
    found = read_state_dict(weights_file(tmp_path / "weights.pt"))
    assert found.keys() == {"a", "b", "module_c"}
    assert found["a"] == 1


def test_a_file_that_changes_after_its_digest_was_computed_is_refused(tmp_path: Path) -> None:
    """Otherwise the manifest would name other weights than those that ran."""
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.zeros(2)}, path)
    weights = weights_file(path)
    assert read_state_dict(weights)["a"].shape == (2,)
    save_file({"a": torch.ones(3)}, path)
    with pytest.raises(UserError, match="was written to"):
        read_state_dict(weights)


def test_the_digest_is_that_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"abc")
    assert weights_file(tmp_path / "weights").sha256.startswith("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410")
    with pytest.raises(UserError, match=r"nowhere cannot be read: No such file"):
        weights_file(tmp_path / "nowhere")
