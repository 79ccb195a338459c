"""Real architectures with random weights, saved as local checkpoints, take the same code path as released ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from apm_tta.errors import UserError
from apm_tta.teachers import TEMPLATES, load_teacher

CLIP_MEAN, SIGLIP_MEAN = (0.48145466, 0.4578275, 0.40821073), (0.5, 0.5, 0.5)
CLASSES = ("cat", "dog")
SMALL = "ViT-S-32-alt"

State = dict[str, Tensor]
Draw = Callable[[str], State]
Save = Callable[[str, State], Path]


@pytest.mark.parametrize(
    ("architecture", "feature_dim", "patch_size", "grids", "mean"),
    [
        ("RN50", 1024, None, {0: (56, 56, 64), 1: (56, 56, 256), -1: (7, 7, 2048)}, CLIP_MEAN),
        ("ViT-B-32", 512, 32, {0: (7, 7, 768), -1: (7, 7, 768)}, CLIP_MEAN),
        ("ViT-B-16-SigLIP", 768, 16, {-2: (14, 14, 768)}, SIGLIP_MEAN),
    ],
)
def test_a_local_checkpoint_loads_and_runs(
    architecture: str,
    feature_dim: int,
    patch_size: int | None,
    grids: dict[int, tuple[int, ...]],
    mean: tuple[float, ...],
    checkpoint: Save,
    draw_open_clip: Draw,
) -> None:
    path = checkpoint(architecture, draw_open_clip(architecture))
    teacher = load_teacher(f"{architecture}:{path}", cache=None)
    assert (teacher.image_size, teacher.patch_size, teacher.feature_dim) == (224, patch_size, feature_dim)
    assert teacher.preprocessing.mean == mean
    pixels = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert teacher.encode_image(pixels).shape == (1, feature_dim)
        for layer, shape in grids.items():
            assert teacher.encode_grid(pixels, layer).shape == (1, *shape)
    if "SigLIP" in architecture:
        with pytest.raises(
            UserError, match=r"the tokenizer of teacher .* needs the package transformers|is not available"
        ):
            teacher.class_weights(CLASSES, TEMPLATES["simple"])
    else:
        assert teacher.class_weights(CLASSES, TEMPLATES["simple"]).shape == (2, feature_dim)


@pytest.fixture(scope="module")
def state(draw_open_clip: Draw) -> State:
    return draw_open_clip(SMALL)


def test_its_numbers_are_those_of_open_clips_own_factory(state: State, checkpoint: Save) -> None:
    path = checkpoint(SMALL, state)
    teacher = load_teacher(f"{SMALL}:{path}", cache=None)
    model: Any = open_clip.create_model(SMALL, pretrained=str(path)).eval()
    tokens = open_clip.get_tokenizer(SMALL)([f"a photo of a {name}." for name in CLASSES])
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(teacher.encode_image(pixels), model.encode_image(pixels))
        assert torch.equal(teacher.image_encoder(pixels), teacher.encode_image(pixels))
        torch.testing.assert_close(
            teacher.class_weights(CLASSES, TEMPLATES["simple"]), normalize(model.encode_text(tokens), dim=-1)
        )
    assert teacher.logit_scale == pytest.approx(model.logit_scale.exp().item())


def test_safetensors_and_torchs_own_format_yield_the_same(state: State, checkpoint: Save, tmp_path: Path) -> None:
    """Training scripts save weights among other things, under the names of a data-parallel module."""
    path = tmp_path / "epoch_1.pt"
    torch.save({"epoch": 1, "state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    ours, plain = (load_teacher(f"{SMALL}:{each}", cache=None) for each in (path, checkpoint(SMALL, state)))
    pixels = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ours.encode_image(pixels), plain.encode_image(pixels))
    assert torch.equal(ours.encode_grid(pixels, 3), plain.encode_grid(pixels, 3))
    assert ours.weights_sha256 != plain.weights_sha256


@pytest.mark.parametrize("prefix", ["model.", "module.clip.", "student.module."])
def test_names_behind_the_prefix_of_a_training_framework_are_read(prefix: str, state: State, tmp_path: Path) -> None:
    """Though the names of the text tower are part of those of the image tower."""
    path = tmp_path / "last.ckpt"
    content = {prefix + name: value for name, value in state.items()}
    torch.save({"state_dict": content, "optimizer_states": [{}]}, path)
    assert load_teacher(f"{SMALL}:{path}", cache=None).class_weights(CLASSES, TEMPLATES["simple"]).shape[0] == 2
    torch.save({"state_dict": {**content, **{f"ema.{name}": value for name, value in state.items()}}}, path)
    with pytest.raises(UserError, match="contains the model's names more than once"):
        load_teacher(f"{SMALL}:{path}", cache=None)


def test_weights_of_another_input_size_are_not_resized_silently(state: State, tmp_path: Path) -> None:
    """open_clip's own loader would interpolate the positions."""
    positions = "visual.positional_embedding"
    path = tmp_path / "weights.pt"
    torch.save({**state, positions: torch.zeros(145, state[positions].shape[1])}, path)
    with pytest.raises(UserError, match=r"visual.positional_embedding \(145, 384\) for \(50, 384\)") as refused:
        load_teacher(f"{SMALL}:{path}", cache=None)
    assert "\n" not in str(refused.value)


def test_weights_of_another_architecture_are_refused_naming_a_few(state: State, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(
        {name: value for name, value in state.items() if "resblocks.9" not in name} | {"new": state["ln_final.bias"]},
        path,
    )
    with pytest.raises(UserError, match=r"tensors are missing \(.*resblocks.9.*1 tensor has no place \(new\)"):
        load_teacher(f"{SMALL}:{path}", cache=None)


def test_a_configuration_beside_the_weights_sets_the_preprocessing(state: State, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "weights.pt")
    beside = tmp_path / "open_clip_config.json"
    model = open_clip.get_model_config(SMALL)
    beside.write_text(json.dumps({"model_cfg": model, "preprocess_cfg": {"mean": [0.1] * 3, "resize_mode": "squash"}}))
    teacher = load_teacher(f"{SMALL}:{tmp_path / 'weights.pt'}", cache=None)
    assert teacher.preprocessing.mean == (0.1, 0.1, 0.1)
    assert "squash" in teacher.identity["preprocessing"]
    for content, message in [("{", "cannot be read as JSON"), ("[]", "has no model_cfg")]:
        beside.write_text(content)
        with pytest.raises(UserError, match=message):
            load_teacher(f"{SMALL}:{tmp_path / 'weights.pt'}", cache=None)


def test_a_file_of_an_architecture_whose_releases_disagree_needs_a_configuration(tmp_path: Path) -> None:
    """One release of ViT-L-14 is normalised like Inception."""
    path = tmp_path / "weights.pt"
    path.touch()
    with pytest.raises(UserError, match=r"not preprocessed alike.*put an open_clip_config.json"):
        load_teacher(f"ViT-L-14:{path}", cache=None)
