"""What training frameworks put around weights is removed; what is no weight, or nobody's for sure, is refused."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from apm_tta.data.class_lists import CLASS_LISTS
from apm_tta.errors import UserError
from apm_tta.teachers import Teacher, load_teacher
from apm_tta.teachers.checkpoints import read_state_dict, refuse_changed, weights_file
from apm_tta.teachers.weight_names import without_prefix

State = dict[str, Tensor]
KIND, NAME = "test_vit", "timm:test_vit.r160_in1k"
IMAGENET = CLASS_LISTS.get("imagenet-1k")().names


@pytest.fixture(scope="module")
def state(draw_timm: Callable[..., State]) -> State:
    return {name: value.float() for name, value in draw_timm(KIND).items()}


@pytest.fixture
def load(tmp_path: Path) -> Callable[[Any], Teacher]:
    def load(content: Any) -> Teacher:
        torch.save(content, tmp_path / "last.ckpt")
        return load_teacher(f"{NAME}:{tmp_path / 'last.ckpt'}", cache=None)

    return load


def behind(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize(
    "wrapped",
    [
        lambda state: {"epoch": 1, "state_dict": behind("model.", state)},
        lambda state: {"state_dict": behind("module.model.", state)},
        lambda state: {"state_dict": behind("model.module._orig_mod.", state)},
        lambda state: {"model": {"state_dict": behind("student.backbone.", state)}},
        lambda state: {"student": behind("net.", state), "dino_loss": {"center": torch.ones(1, 8)}},
        lambda state: {"model_ema": {**behind("module.", state), "n_averaged": torch.tensor(7)}},
        lambda state: {"state_dict": state, "optimizer": {"state": {0: {"exp_avg": state["head.weight"]}}}},
        lambda state: {"epoch": torch.tensor(3), "weights": behind("timm_model.", state)},
    ],
)
def test_a_head_behind_any_prefix_is_found(
    wrapped: Callable[[State], Any], state: State, load: Callable[[Any], Teacher]
) -> None:
    plain, teacher = load(state), load(wrapped(state))
    pixels = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    assert teacher.classifier == "head"
    assert torch.equal(teacher.class_weights(IMAGENET, ()), plain.class_weights(IMAGENET, ()))
    assert torch.equal(teacher.encode_image(pixels), plain.encode_image(pixels))


@pytest.mark.parametrize(
    ("wrapped", "message"),
    [
        (lambda state: {"student": state, "teacher": state}, r"several sets of weights \(student, teacher\)"),
        (lambda state: {"state_dict": state, "model": state}, r"several sets of weights \(state_dict, model\)"),
        (
            lambda state: {"state_dict": state, "callbacks": {"EMA": {"weights": state}}},
            r"several sets of weights \(state_dict, callbacks.EMA.weights\)",
        ),
        (
            lambda state: {"state_dict": behind("student.", state) | behind("teacher.", state)},
            "more than once .* behind 'student.', .* behind 'teacher.'",
        ),
        (lambda state: state | behind("ema.", state), "more than once .80 bare, 80 behind 'ema.'"),
        (
            lambda state: {"module.head.weight": state["head.weight"], **state},
            "contains head.weight twice, as module.h",
        ),
        (lambda state: {"model.module.head.weight": state["head.weight"], **behind("model.", state)}, "weight twice"),
        (
            lambda state: {**behind("model.", state), "criterion.weight": torch.ones(9)},
            r"no place \(criterion.weight\)",
        ),
        (lambda state: {name: value for name, value in behind("net.", state).items() if "head" not in name}, "no head"),
    ],
)
def test_weights_of_which_it_is_unclear_whose_they_are_are_refused(
    wrapped: Callable[[State], Any], message: str, state: State, load: Callable[[Any], Teacher]
) -> None:
    with pytest.raises(UserError, match=message) as refused:
        load(wrapped(state))
    assert "\n" not in str(refused.value)


def test_averaged_weights_are_taken_as_timm_does_and_said(
    state: State, load: Callable[[Any], Teacher], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "apm_tta"):
        teacher = load({"state_dict": {**state, "head.bias": state["head.bias"] + 1}, "state_dict_ema": state})
    assert torch.equal(teacher.class_weights(IMAGENET, ()), load(state).class_weights(IMAGENET, ()))
    assert "averaged over training (state_dict_ema), as timm takes them, not the last step's" in caplog.text


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("head.weight", lambda value: (100 * value).to(torch.int32), "torch.int32 in the place of floating-point"),
        ("blocks.1.mlp.fc1.weight", lambda value: (100 * value).to(torch.int8), "torch.int8 in the place of"),
        ("norm.weight", lambda value: value > 0, "torch.bool in the place of"),
        ("patch_embed.proj.weight", lambda value: torch.complex(value, value), "torch.complex64 in the place of"),
        ("head.weight", lambda value: value.to(torch.float8_e4m3fn), "torch.float8_e4m3fn in the place of"),
        ("head.weight", lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8), "quantised"),
        ("head.weight", lambda value: value.to_sparse(), "not dense"),
        ("norm.bias", lambda value: value / 0, "not finite"),
        ("blocks.0.attn.qkv.weight", lambda value: value.double() + 1e300, "not finite"),
        ("patch_embed.proj.weight", torch.zeros_like, r"1 tensor is all zeros \(patch_embed.proj.weight\)"),
        ("blocks.2.mlp.fc2.weight", torch.zeros_like, r"1 tensor is all zeros \(blocks.2.mlp.fc2.weight\)"),
        ("head.weight", torch.zeros_like, r"1 tensor is all zeros \(head.weight\)"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_is_no_weight_is_refused_by_name(
    name: str, change: Callable[[Tensor], Tensor], message: str, state: State, load: Callable[[Any], Teacher]
) -> None:
    """torch would copy all of these into the model, and a table would come of it."""
    with pytest.raises(UserError, match=message) as refused:
        load({**state, name: change(state[name])})
    assert name in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_half_and_double_precision_are_read(
    kind: torch.dtype, state: State, load: Callable[[Any], Teacher]
) -> None:
    teacher = load({name: value.to(kind) for name, value in state.items()})
    expected = load(state).class_weights(IMAGENET, ())
    torch.testing.assert_close(teacher.class_weights(IMAGENET, ()), expected, rtol=0, atol=2e-3)


def test_a_file_changed_in_place_while_it_is_read_is_refused(state: State, tmp_path: Path) -> None:
    """Tensors of safetensors are read when they are copied: size and times say nothing about a change until then."""
    path = tmp_path / "weights.safetensors"
    save_file(state, path)
    weights = weights_file(path)
    lazy = read_state_dict(weights)
    refuse_changed(weights)
    content, times = bytearray(path.read_bytes()), path.stat()
    content[-4:] = b"\0\0\0\1"
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert set(lazy) == set(load_file(path))
    with pytest.raises(UserError, match="was written to while it was being read"):
        refuse_changed(weights)


def test_names_of_another_kind_are_left_to_the_translation() -> None:
    """A few equal names behind a prefix do not make it one."""
    state = {"encoder.stem.weight": torch.ones(1), **{f"encoder.layer_{n}.weight": torch.ones(1) for n in range(8)}}
    own = ["stem.weight", *(f"blocks.{n}.weight" for n in range(8))]
    assert without_prefix(state, own, Path("file")).keys() == state.keys()
    # A text tower's names are behind its image tower's prefix too.
    clip = [f"{tower}layers.{n}.weight" for tower in ("", "visual.") for n in range(8)]
    assert without_prefix(dict.fromkeys(clip, torch.ones(1)), clip, Path("file")).keys() == set(clip)


@pytest.mark.parametrize("classifier", ["head", "prototypes"])
def test_a_network_that_computes_the_same_for_every_image_is_refused(
    classifier: str, state: State, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pt"
    torch.save({**state, "patch_embed.proj.weight": 1e-20 * state["patch_embed.proj.weight"]}, path)
    with pytest.raises(UserError, match="gives every image the same features: its weights are damaged") as refused:
        load_teacher(f"{NAME}:{path}", classifier=classifier, cache=None)
    assert refused.value.exit_code == 2


def test_a_head_whose_row_is_all_zeros_is_refused_where_it_is_used(
    state: State, load: Callable[[Any], Teacher]
) -> None:
    """Its bias alone would decide, whatever the image."""
    weight = state["head.weight"].clone()
    part = CLASS_LISTS.get("imagenet-a")()
    assert part.imagenet_rows is not None
    (unused,) = sorted(set(range(1000)) - set(part.imagenet_rows))[:1]
    weight[unused] = 0
    teacher = load({**state, "head.weight": weight})
    assert len(teacher.class_weights(part.names, ())) == 200
    with pytest.raises(UserError, match=f"row {unused} in the head of teacher .* is all zeros: it was never trained"):
        teacher.class_weights(IMAGENET, ())
