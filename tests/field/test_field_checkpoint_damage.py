"""A field's checkpoint that is damaged, of others or missing: one line that names it, and what brings it back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from fuzz import fuzzed
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from apm_tta.apm import APM, APMConfig
from apm_tta.cli import main
from apm_tta.errors import UserError
from apm_tta.field.checkpoint import CHECKPOINT_FILE, load_field
from apm_tta.field.checkpoint_file import encode_checkpoint, read_checkpoint

SMALL = ("--limit", "40", "--epochs", "1")
CPU = torch.device("cpu")
State = tuple[dict[str, Any], dict[str, str]]


def opened(path: Path) -> State:
    with safe_open(path, "pt") as file:
        metadata = dict(file.metadata())
    return safetensors.torch.load(path.read_bytes()), metadata  # copied: not a view of a file that changes


def set_tensor(name: str, change: Callable[[torch.Tensor], torch.Tensor | None]) -> Callable[[State], None]:
    def apply(state: State) -> None:
        changed = change(state[0].pop(name))
        if changed is not None:
            state[0][name] = changed.contiguous()

    return apply


def set_entry(name: str, change: Callable[[Any], Any]) -> Callable[[State], None]:
    def apply(state: State) -> None:
        state[1][name] = json.dumps(change(json.loads(state[1][name])))

    return apply


def first(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        copy = tensor.clone()
        copy.view(-1)[0] = value
        return copy

    return change


def set_size(name: str, value: Any) -> Callable[[Any], Any]:
    return lambda settings: {**settings, "sizes": {**settings["sizes"], name: value}}


MOMENT = "adam.feature_head.weight.exp_avg_sq"
DAMAGES: dict[str, tuple[Callable[[State], None], str]] = {
    "std missing": (set_tensor("target.std", lambda _: None), "target.std is missing"),
    "std of five": (set_tensor("target.std", lambda std: std[:5]), "target.std is of another shape"),
    "std of one": (set_tensor("target.std", lambda std: std[:1]), "target.std is of another shape"),
    "std of two dimensions": (set_tensor("target.std", lambda std: std[None]), "target.std is of another shape"),
    "std zero": (set_tensor("target.std", first(0)), "target.std is not above 0"),
    "std negative": (set_tensor("target.std", first(-1)), "target.std is not above 0"),
    "std nan": (set_tensor("target.std", first(float("nan"))), "target.std is not finite"),
    "mean infinite": (set_tensor("target.mean", first(float("inf"))), "target.mean is not finite"),
    "mean double": (set_tensor("target.mean", torch.Tensor.double), "target.mean is not of float32"),
    "weights nan": (set_tensor("apm.feature_head.bias", first(float("nan"))), "apm.feature_head.bias is not finite"),
    "weights integer": (set_tensor("apm.mlp.0.weight", torch.Tensor.int), "apm.mlp.0.weight is not of float32"),
    "weights complex": (set_tensor("apm.mlp.0.weight", lambda w: w + 0j), "apm.mlp.0.weight is not of float32"),
    "weights half": (set_tensor("apm.mlp.0.weight", torch.Tensor.half), "apm.mlp.0.weight is not of float32"),
    "weights missing": (set_tensor("apm.feature_head.weight", lambda _: None), "apm.feature_head.weight is missing"),
    "weights transposed": (set_tensor("apm.mlp.0.weight", torch.Tensor.t), "apm.mlp.0.weight is of another shape"),
    "weights surplus": (lambda state: state[0].update(extra=torch.ones(1)), "its content is not what was written"),
    "one weight": (set_tensor("apm.feature_head.bias", first(0.5)), "its content is not what was written"),
    "moment missing": (set_tensor(MOMENT, lambda _: None), f"{MOMENT} is missing"),
    "moment nan": (set_tensor(MOMENT, first(float("nan"))), f"{MOMENT} is not finite"),
    "moment negative": (set_tensor(MOMENT, first(-1)), "is not what Adam leaves behind"),
    "moment of another shape": (set_tensor(MOMENT, lambda m: m[:1]), f"{MOMENT} is of another shape"),
    "epochs no list": (set_entry("epochs", lambda _: 3), "its header"),
    "epochs of texts": (set_entry("epochs", lambda _: ["x"]), "its header"),
    "epochs twice": (set_entry("epochs", lambda rows: rows + rows), "its epochs are not counted from 1"),
    "held out no strings": (set_entry("held_out", lambda _: [1]), "its header"),
    "held out another": (set_entry("held_out", lambda ids: ids[1:]), "its content is not what was written"),
    "settings no mapping": (set_entry("settings", lambda _: []), "its header"),
    "width": (set_entry("settings", lambda s: {**s, "width": 4096}), "its width is 4096"),
    "sizes unknown": (set_entry("settings", set_size("depth", 3)), "its header"),
    "sizes text": (set_entry("settings", set_size("rgb_hidden", "x")), "its header"),
    "sizes huge": (set_entry("settings", set_size("rgb_hidden", 10**12)), "rgb_head.0.weight is of another shape"),
    "sizes negative": (set_entry("settings", set_size("image_size", -32)), "its header"),
    "no epochs": (lambda state: state[1].pop("epochs"), "epochs is missing"),
    "digest": (lambda state: state[1].update(sha256="0" * 64), "its content is not what was written"),
    "digest gone": (lambda state: state[1].update(sha257=state[1].pop("sha256")), "its header has other entries"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_is_told_in_one_line(name: str, checkpoint: Path, tmp_path: Path) -> None:
    change, reason = DAMAGES[name]
    state = opened(checkpoint)
    change(state)
    damaged = tmp_path / "field.safetensors"
    damaged.write_bytes(safetensors.torch.save(*state))
    with pytest.raises(UserError) as caught:
        load_field(damaged, CPU)
    message = str(caught.value)
    assert message.startswith(f"checkpoint {damaged} is damaged (")
    assert reason in message
    assert "restore it from a copy, or move it away and train again with run-bench train-field" in message
    assert "\n" not in message
    assert len(message.replace(str(damaged), "")) <= 300


def test_a_checkpoint_without_a_digest_is_one_of_an_earlier_version(checkpoint: Path, tmp_path: Path) -> None:
    state = opened(checkpoint)
    del state[1]["sha256"]
    (tmp_path / "old.safetensors").write_bytes(safetensors.torch.save(*state))
    assert load_field(tmp_path / "old.safetensors", CPU).settings == load_field(checkpoint, CPU).settings


def test_what_is_read_is_what_was_written(checkpoint: Path) -> None:
    assert opened(checkpoint)[1] == dict(opened(checkpoint)[1])
    content = read_checkpoint(checkpoint)
    again = safetensors.torch.load(encode_checkpoint(content))
    assert again.keys() == opened(checkpoint)[0].keys()
    assert all(torch.equal(value, opened(checkpoint)[0][name]) for name, value in again.items())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: None, "there is no checkpoint {path}; run-bench train-field writes one"),
        (lambda path: path.mkdir(), "{path} cannot be read: Is a directory"),
        (lambda path: path.write_bytes(b""), "{path} is no safetensors file"),
        (lambda path: path.write_text("thesis"), "{path} is no safetensors file"),
        (
            lambda path: path.write_bytes(safetensors.torch.save({"a": torch.ones(1)})),
            "{path} is neither a checkpoint of run-bench train-field nor a released APM; name one with --checkpoint",
        ),
        (
            lambda path: path.write_bytes(safetensors.torch.save({"a": torch.ones(1)}, {"apm_tta_field": "2"})),
            "{path} is a checkpoint of format '2', this version of apm-tta reads 1; use the version that wrote it",
        ),
    ],
)
def test_what_is_missing_or_of_others_is_told_apart(
    make: Callable[[Path], Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "field.safetensors"
    make(path)
    words = ["field", "fashion-mnist:test/00083", "--checkpoint", str(path), "--out", str(tmp_path / "out")]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert message.format(path=path) in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_training_moves_a_damaged_checkpoint_aside_as_advised(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The advice is followed: moved away, the same command trains again, to the same weights."""
    words, path = [*words, *SMALL], tmp_path / "out" / CHECKPOINT_FILE
    assert main([*words, "--out", str(path.parent)]) == 0
    whole = opened(path)[0]
    capsys.readouterr()
    path.write_bytes(path.read_bytes()[:-7])
    assert main([*words, "--out", str(path.parent)]) == 1
    assert "is damaged" in (said := capsys.readouterr().err)
    assert "move it away and train again with run-bench train-field" in said
    path.rename(tmp_path / "away")
    assert main([*words, "--out", str(path.parent)]) == 0
    assert all(torch.equal(value, opened(path)[0][name]) for name, value in whole.items())
    # Without the moments it would go on, to other weights.
    content = read_checkpoint(path)
    content.moments.pop("feature_head.bias")
    path.write_bytes(encode_checkpoint(content))
    assert main([*words, "--out", str(path.parent)]) == 1
    assert "Adam's moments of feature_head.bias" in capsys.readouterr().err


RELEASED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "nan": (lambda state: state["fc1.weight"].view(-1)[0].fill_(float("nan")), "mlp.0.weight"),
    "integer": (lambda state: state.update({"fc1.weight": state["fc1.weight"].int()}), "torch.int32"),
    "flat": (lambda state: state.update({"fc1.weight": torch.ones(())}), "fc1.weight has 0 dimensions, not 2"),
    "flat convolution": (lambda state: state.update({"conv1.weight": torch.ones(3)}), "conv1.weight has 1 dimensions"),
    "blocks": (lambda state: state.update({"little_self_attention.in_proj_bias": torch.ones(7)}), "not three blocks"),
    "missing": (lambda state: state.pop("fc4.bias"), "missing ['fc4.bias']"),
}


@pytest.mark.parametrize("name", RELEASED)
def test_a_damaged_release_is_told_in_one_line(name: str, tmp_path: Path) -> None:
    state = released_state()
    path = tmp_path / "release.pth"
    torch.save(state, path)
    assert load_field(path, CPU).settings is None
    change, reason = RELEASED[name]
    change(state)
    torch.save(state, path)
    with pytest.raises(UserError) as caught:
        load_field(path, CPU)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def released_state() -> dict[str, torch.Tensor]:
    """Return small weights under the release's names."""
    apm = APM(APMConfig(image_size=16, patch_size=4, hidden=(32, 24, 16), feature_dim=16, rgb_hidden=8))
    own = apm.state_dict()
    names = {"convolution": "conv1", "feature_head": "feat_proj_head", "global_token.project_output": "out"}
    names |= {f"mlp.{index}": name for index, name in enumerate(("fc1", "fc4", "fc5"))}
    names |= {f"rgb_head.{index}": f"rgb_head_{index + 1}" for index in range(3)}
    names["global_token.project_output"] = "little_self_attention.out_proj"
    state = {f"{theirs}.{kind}": own[f"{ours}.{kind}"] for ours, theirs in names.items() for kind in ("weight", "bias")}
    state["little_query"] = own["global_token.query"]
    for kind in ("weight", "bias"):
        blocks = [own[f"global_token.project_{part}.{kind}"] for part in ("query", "key", "value")]
        state[f"little_self_attention.in_proj_{kind}"] = torch.cat(blocks)
    return {name: value.clone() for name, value in state.items()}


@fuzzed(30)
@given(place=st.integers(0, 10**9), cut=st.booleans(), released=st.booleans())
def test_a_checkpoint_damaged_anywhere_is_refused_or_read_as_it_was(
    place: int, cut: bool, released: bool, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A bit is flipped, or the file is cut off: never a traceback, and of our own files never other weights."""
    folder = tmp_path_factory.mktemp("bits")
    path = folder / ("release.pth" if released else "field.safetensors")
    if released:
        torch.save(released_state(), path)
    else:
        shutil.copy(checkpoint, path)
    content = bytearray(path.read_bytes())
    if cut:
        del content[place % len(content) :]
    else:
        content[place // 8 % len(content)] ^= 1 << place % 8
    path.write_bytes(content)
    said, field = "", None
    try:
        field = load_field(path, CPU)
    except UserError as error:
        said = str(error)
    assert "\n" not in said
    if field is not None and not released:
        whole = load_field(checkpoint, CPU).apm.state_dict()
        assert all(torch.equal(value, whole[name]) for name, value in field.apm.state_dict().items())
