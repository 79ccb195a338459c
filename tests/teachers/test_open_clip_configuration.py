"""What an open_clip checkpoint states of itself is followed as open_clip does, and the rest refused by name."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict
from PIL import Image
from torch import Tensor

from apm_tta.errors import UserError
from apm_tta.teachers import LazyTeacher, load_teacher, open_clip_teacher
from apm_tta.teachers.open_clip_json import PreprocessFields, refuse_another_model, resolve_preprocessing

State = dict[str, Tensor]
KIND = "ViT-S-32-alt"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, draw_open_clip: Callable[[str], State]) -> Path:
    path = tmp_path_factory.mktemp("open_clip") / "weights.pt"
    torch.save(draw_open_clip(KIND), path)
    return path


def loaded(file: Path, preprocess: Any = None, **top: Any) -> LazyTeacher:
    configuration = {"model_cfg": open_clip.get_model_config(KIND), "preprocess_cfg": preprocess, **top}
    file.with_name("open_clip_config.json").write_text(json.dumps(configuration))
    return load_teacher(f"{KIND}:{file}", cache=None)


def test_every_release_is_prepared_for_as_open_clip_does() -> None:
    for kind in open_clip.list_models():
        model = open_clip.get_model_config(kind)
        refuse_another_model(kind, kind, model, model)
        for tag in open_clip.list_pretrained_tags_by_model(kind):
            stated = open_clip.get_pretrained_cfg(kind, tag)
            own = {key: stated[key] for key in PreprocessFields.model_fields if key in stated}
            found, _ = resolve_preprocessing(kind, own, model)
            expected = PreprocessCfg(**{**merge_preprocess_dict(PreprocessCfg(), stated), "size": found.size})
            assert vars(found) == {key: tuple(v) if isinstance(v, list) else v for key, v in vars(expected).items()}


@pytest.mark.parametrize(
    "stated",
    [
        {"resize_mode": "longest", "fill_color": 127, "mean": 0.5, "std": [0.2, 0.3, 0.4]},
        {"resize_mode": "squash", "interpolation": "random", "size": [224, 224]},
        {"interpolation": "bilinear", "mean": None, "size": 224},
    ],
)
def test_stated_preprocessing_is_open_clip_s_own(stated: dict[str, Any], file: Path) -> None:
    teacher = loaded(file, stated)
    image = Image.effect_noise((300, 180), 90).convert("RGB")
    cfg = PreprocessCfg(**merge_preprocess_dict(PreprocessCfg(), stated))
    assert torch.equal(teacher.preprocess(image), image_transform_v2(cfg, is_train=False)(image))
    assert teacher.preprocessing.interpolation == ("bilinear" if "bilinear" in stated.values() else "bicubic")


def test_another_size_than_the_model_s_is_overridden_as_in_open_clip_and_said(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "apm_tta"):
        assert loaded(file, {"size": 336}).image_size == 224
    assert "states images of 336 pixels, but its model takes 224" in caplog.text


@pytest.mark.parametrize(
    ("preprocess", "message"),
    [
        ({"sizes": 224}, "is not understood: sizes: Extra inputs"),
        ({"mode": "L"}, "mode: Input should be 'RGB'"),
        ({"mean": [0.5, 0.5]}, "mean"),
        ({"mean": "0.5"}, "mean"),
        ({"mean": [123.7, 116.3, 103.5]}, "mean"),
        ({"std": [1, 1, 0]}, "std"),
        ({"interpolation": "nearest"}, "interpolation: Input should be 'bicubic', 'bilinear' or 'random'"),
        ({"resize_mode": "crop"}, "resize_mode: Input should be 'shortest', 'longest' or 'squash'"),
        ({"fill_color": 300}, "fill_color"),
        ([224], "preprocess_cfg in its open_clip_config.json that is no mapping"),
    ],
)
def test_preprocessing_that_is_not_understood_is_refused_by_name(preprocess: Any, message: str, file: Path) -> None:
    with pytest.raises(UserError, match=message) as refused:
        loaded(file, preprocess)
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)


def changed(tower: str | None, **settings: Any) -> dict[str, Any]:
    model = open_clip.get_model_config(KIND)
    (model if tower is None else model[tower]).update(settings)
    return model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (changed("vision_cfg", head_width=32), "is not a ViT-S-32-alt: .* states vision_cfg.head_width 32, not 64"),
        (changed("vision_cfg", pool_type="avg"), "states vision_cfg.pool_type 'avg', not 'tok'"),
        (
            changed("vision_cfg", act_kwargs={"approximate": "tanh"}),
            "states vision_cfg.act_kwargs",
        ),
        (changed("text_cfg", heads=8), "states text_cfg.heads 8, not 4"),
        (changed("text_cfg", no_causal_mask=True), "states text_cfg.no_causal_mask True, not False"),
        (changed("text_cfg", hf_tokenizer_name="bert-base-uncased"), "states text_cfg.hf_tokenizer_name 'bert"),
        (changed("text_cfg", tokenizer_kwargs={"clean": "whitespace"}), "states text_cfg.tokenizer_kwargs"),
        (changed("text_cfg", pooling="mean"), "not understood .* unexpected keyword argument 'pooling'"),
        (changed(None, temperature=2), "states temperature 2, not None"),
    ],
)
def test_a_model_that_is_not_the_named_architecture_is_refused(model: Any, message: str, file: Path) -> None:
    """All of these leave every tensor's shape as it is."""
    with pytest.raises(UserError, match=message) as refused:
        loaded(file, model_cfg=model)
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)


def test_what_only_training_uses_and_stated_defaults_do_not_matter(file: Path) -> None:
    model = changed("vision_cfg", patch_dropout=0.5, pool_type="tok", mlp_ratio=4.0)
    model["init_logit_scale"] = 1.0
    assert loaded(file, model_cfg=model).image_size == 224


def test_an_unknown_part_of_the_file_is_refused(file: Path) -> None:
    with pytest.raises(UserError, match=r"states label_names in its .*, which is not understood"):
        loaded(file, label_names=["cat"])


def test_images_that_are_not_square_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = changed("vision_cfg", image_size=[224, 320])
    monkeypatch.setattr(open_clip_teacher, "_get_hf_config", lambda _: {"model_cfg": model})
    monkeypatch.setattr(open_clip_teacher, "download_pretrained_from_hf", lambda _: str(tmp_path / "weights"))
    (tmp_path / "weights").touch()
    with pytest.raises(UserError, match="takes images of 224 x 320 pixels; only square images are supported"):
        load_teacher("hf-hub:somebody/something", cache=None)


@pytest.mark.parametrize("value", [200.0, -1e9])
def test_a_logit_scale_without_a_size_is_refused(
    value: float, file: Path, tmp_path: Path, draw_open_clip: Callable[[str], State]
) -> None:
    torch.save({**draw_open_clip(KIND), "logit_scale": torch.tensor(value)}, tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"has a logit scale of (inf|0.0): its weights are damaged"):
        load_teacher(f"{KIND}:{tmp_path / 'weights.pt'}", cache=None)


def test_the_tokenizer_is_the_one_that_the_configuration_states(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """open_clip takes its own tokenizer where it cannot find the stated one."""
    other = open_clip.tokenizer.SimpleTokenizer(context_length=12)
    monkeypatch.setattr(open_clip, "get_tokenizer", lambda _: other)
    with pytest.raises(UserError, match=r"a SimpleTokenizer for 77 tokens, but open_clip gives a .* for 12"):
        loaded(file).class_weights(["cat", "dog"], ("a {}",))


@pytest.mark.parametrize("pool", [{"pool_type": "eos", "eos_id": 2}, {"pool_type": "first"}])
def test_a_text_tower_that_pools_the_wrong_position_is_refused(
    pool: dict[str, Any], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a causal mask the first position sees no word, and open_clip falls back to it where no end is found."""
    monkeypatch.setattr(open_clip_teacher, "_get_hf_config", lambda _: {"model_cfg": changed("text_cfg", **pool)})
    monkeypatch.setattr(open_clip_teacher, "download_pretrained_from_hf", lambda _: str(file))
    monkeypatch.setattr(open_clip, "get_tokenizer", lambda _: open_clip.tokenizer.SimpleTokenizer())
    teacher = load_teacher("hf-hub:somebody/something", cache=None)
    with pytest.raises(UserError, match="gives all of the 2 classes one embedding, though their words differ"):
        teacher.class_weights(["cat", "dog"], ("a photo of a {}.", "a {}"))
