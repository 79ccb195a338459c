"""Weights run with a different activation from their training lose accuracy silently, so they are refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip.transformer import QuickGELU
from torch import Tensor

from apm_tta.errors import UserError
from apm_tta.teachers import load_teacher, open_clip_teacher

KIND = "ViT-B-32"
Draw = Callable[[str], dict[str, Tensor]]


def refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_teacher(name, cache=None)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("architecture", "own", "right"),
    [("ViT-B-32", True, "ViT-B-32-quickgelu:"), ("ViT-B-32-quickgelu", False, "ViT-B-32:")],
)
def test_the_configuration_beside_the_weights_decides(architecture: str, own: bool, right: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.touch()
    model = {**open_clip.get_model_config(KIND), "quick_gelu": own}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": model}))
    refused(f"{architecture}:{path}", f"accuracy would be silently lower; use {right}")


@pytest.mark.parametrize(
    ("folder", "right"),
    [
        ("models--timm--vit_base_patch32_clip_224.openai", True),
        ("models--laion--CLIP-ViT-B-32-laion2B-s34B-b79K", False),
    ],
)
def test_a_file_in_a_releases_folder_is_that_release(folder: str, right: bool, tmp_path: Path) -> None:
    path = tmp_path / folder / "open_clip_model.pt"
    path.parent.mkdir()
    path.touch()
    wrong = KIND if right else f"{KIND}-quickgelu"
    refused(f"{wrong}:{path}", "it is open_clip's (openai|laion2b_s34b_b79k)")


def test_a_file_with_a_releases_digest_is_that_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(b"as released")
    digest = hashlib.sha256(b"as released").hexdigest()
    tag = {"url": f"https://openaipublic.azureedge.net/clip/models/{digest}/ViT-B-32.pt", "quick_gelu": True}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED[KIND], "openai", tag)
    refused(f"{KIND}:{path}", "it is open_clip's openai")


def test_tensors_with_openais_names_need_it(tmp_path: Path, draw_open_clip: Draw) -> None:
    path = tmp_path / "weights.pt"
    state = draw_open_clip("ViT-S-32-alt")
    torch.save({**state, "input_resolution": torch.tensor(224)}, path)
    refused(f"ViT-S-32-alt:{path}", "is OpenAI's.*add -quickgelu")


def test_a_release_whose_tag_contradicts_its_architecture_is_refused() -> None:
    refused("roberta-ViT-B-32:laion2b_s12b_b32k", "QuickGELU mismatch.*use hf-hub:laion/")


def test_timms_gelu_edition_of_weights_trained_with_quick_gelu_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").touch()
    refused("timm:vit_base_patch16_clip_224.openai", "use timm:vit_base_patch16_clip_quickgelu_224.openai")
    refused(f"timm:vit_base_patch16_clip_224.openai:{tmp_path / 'weights.pt'}", "_quickgelu_224.openai:/")


@pytest.mark.parametrize(("tag", "expected"), [("openai", True), ("laion2b_s34b_b79k", False)])
def test_a_release_is_built_with_the_activation_of_its_tag(
    tag: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draw_open_clip: Draw
) -> None:
    """ViT-B-32 has GELU; OpenAI's weights nevertheless get QuickGELU, as their configuration states."""
    small = {**open_clip.get_model_config("ViT-S-32-alt")}
    path = tmp_path / "weights.pt"
    torch.save(draw_open_clip("ViT-S-32-alt"), path)
    monkeypatch.setattr(open_clip_teacher, "download_pretrained", lambda _: str(path))
    monkeypatch.setattr(open_clip, "get_model_config", lambda _: small)
    teacher = load_teacher(f"{KIND}:{tag}", cache=None)
    built: Any = teacher.built
    model = built.model
    assert isinstance(model.visual.transformer.resblocks[0].mlp.gelu, QuickGELU) is expected
    assert isinstance(model.transformer.resblocks[0].mlp.gelu, QuickGELU) is expected
    assert teacher.identity["quick_gelu"] == str(expected).lower()


@pytest.mark.parametrize("quick_gelu", [True, False])
def test_a_hub_repository_has_its_own_configuration(
    quick_gelu: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draw_open_clip: Draw
) -> None:
    path = tmp_path / "weights.pt"
    torch.save(draw_open_clip("ViT-S-32-alt"), path)
    model = {**open_clip.get_model_config("ViT-S-32-alt"), "quick_gelu": quick_gelu}
    configuration = {"model_cfg": model, "preprocess_cfg": {"std": [0.5] * 3}}
    monkeypatch.setattr(open_clip_teacher, "_get_hf_config", lambda _: configuration)
    monkeypatch.setattr(open_clip_teacher, "download_pretrained_from_hf", lambda _: str(path))
    teacher = load_teacher("hf-hub:somebody/something", cache=None)
    built: Any = teacher.built
    activation = built.model.visual.transformer.resblocks[0].mlp.gelu
    assert isinstance(activation, QuickGELU) is quick_gelu
    assert teacher.preprocessing.std == (0.5, 0.5, 0.5)
    configuration.pop("model_cfg")
    with pytest.raises(UserError, match=r"has no model_cfg in its open_clip_config\.json"):
        load_teacher("hf-hub:somebody/something", cache=None)
