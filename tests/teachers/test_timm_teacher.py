"""DINO and others through timm, with a linear head or without one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor
from torch.nn.functional import normalize

from apm_tta.data.class_lists import CLASS_LISTS, ClassList
from apm_tta.errors import UserError
from apm_tta.teachers import Teacher, load_teacher, teacher_names, timm_teacher

State = dict[str, Tensor]
Draw = Callable[..., State]
Save = Callable[[str, State], Path]
IMAGENET: ClassList = CLASS_LISTS.get("imagenet-1k")()
DINO, SMALL = "vit_small_patch14_reg4_dinov2", "vit_tiny_patch16_224"
TAG = f"{SMALL}.augreg_in21k_ft_in1k"


def logits(teacher: Teacher, pixels: Tensor, weights: Tensor) -> Tensor:
    with torch.no_grad():
        features = teacher.encode_image(pixels)
    return teacher.scales(features) * normalize(features, dim=-1) @ weights.T


def drawn_pixels(count: int, size: int) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_a_dinov2_with_registers_at_its_own_size(checkpoint: Save, draw_timm: Draw) -> None:
    teacher = load_teacher(f"timm:{DINO}:{checkpoint(DINO, draw_timm(DINO))}", cache=None)
    assert (teacher.image_size, teacher.patch_size, teacher.feature_dim) == (518, 14, 384)
    assert (teacher.classifier, teacher.classifiers) == ("prototypes", ("prototypes",))
    assert teacher.logit_scale == pytest.approx(1 / 0.07)
    assert teacher.preprocessing.mean == (0.485, 0.456, 0.406)
    assert teacher.text_tower is None
    assert teacher.support is None
    with torch.no_grad():
        assert teacher.encode_grid(drawn_pixels(1, 518), -2).shape == (1, 37, 37, 384)
    with pytest.raises(UserError, match="no class weights of its own; use --classifier prototypes"):
        teacher.class_weights(IMAGENET.names, ())


def as_the_authors_have_it(state: State) -> State:
    """Rename the state to DINOv2's own: another name for registers, a position for the class token, a mask token."""
    authors = {name: value for name, value in state.items() if name not in ("reg_token", "pos_embed")}
    first = torch.zeros(1, 1, state["pos_embed"].shape[2], dtype=state["pos_embed"].dtype)
    positions = torch.cat([first, state["pos_embed"]], dim=1)
    masks = torch.zeros(1, state["pos_embed"].shape[2])
    return {**authors, "register_tokens": state["reg_token"], "pos_embed": positions, "mask_token": masks}


def test_the_authors_own_checkpoint_yields_the_same_features(tmp_path: Path, draw_timm: Draw) -> None:
    state = draw_timm(DINO, img_size=56)
    configuration = {"architecture": DINO, "pretrained_cfg": {"input_size": [3, 56, 56]}}
    (tmp_path / "config.json").write_text(json.dumps(configuration))
    teachers = []
    for name, content in (("timm.pt", state), ("authors.pt", as_the_authors_have_it(state))):
        torch.save(content, tmp_path / name)
        teachers.append(load_teacher(f"timm:{DINO}:{tmp_path / name}", cache=None))
    pixels = drawn_pixels(2, 56)
    ours, theirs = teachers
    assert ours.image_size == 56
    assert torch.equal(ours.encode_image(pixels), theirs.encode_image(pixels))
    grids = [ours.encode_grid(pixels, layer) for layer in (0, 5, -1)]
    assert all(grid.shape == (2, 4, 4, 384) for grid in grids)
    assert not torch.equal(grids[0], grids[1])
    built: Any = ours.built
    expected = built.model.forward_intermediates(pixels, indices=1, intermediates_only=True, output_fmt="NLC")[0]
    assert torch.equal(grids[2].flatten(1, 2), expected)


@pytest.fixture(scope="module")
def small_state(draw_timm: Draw) -> State:
    return draw_timm(SMALL)


@pytest.fixture(scope="module")
def small(small_state: State, checkpoint: Save) -> Path:
    return checkpoint(SMALL, small_state)


def test_the_head_is_left_out_if_prototypes_are_requested(small: Path, small_state: State) -> None:
    with_head = load_teacher(f"timm:{TAG}:{small}", cache=None)
    without = load_teacher(f"timm:{TAG}:{small}", classifier="prototypes", cache=None)
    assert (with_head.classifier, without.classifier) == ("head", "prototypes")
    assert with_head.classifiers == without.classifiers == ("head", "prototypes")
    assert with_head.identity != without.identity
    pixels = drawn_pixels(2, 224)
    with_constants = with_head.encode_image(pixels)
    assert torch.equal(with_constants[:, :-2], without.encode_image(pixels))
    assert torch.equal(with_constants[:, -2:], torch.tensor([[1.0, 0.0]] * 2))
    model = timm.create_model(SMALL).eval()
    model.load_state_dict({name: value.float() for name, value in small_state.items()})
    found = logits(with_head, pixels, with_head.class_weights(IMAGENET.names, ()))
    torch.testing.assert_close(found, model(pixels).detach(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head.weight": torch.zeros(10, 192), "head.bias": torch.zeros(10)}, "has 10 classes, not 1000; use --class"),
        ({"head.weight": None, "head.bias": None}, r"has no head \(head.weight\); use --classifier prototypes"),
        ({"pos_embed": torch.zeros(1, 577, 192)}, r"another input or patch size: pos_embed is \(1, 577, 192\), not"),
        ({"patch_embed.proj.weight": torch.zeros(192, 3, 32, 32)}, "another input or patch size: patch_embed"),
        ({"norm.weight": None, "blocks.0.new": torch.zeros(1)}, r"missing \(norm.weight\); 1 tensor has no place"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    change: dict[str, Tensor | None], message: str, small_state: State, tmp_path: Path
) -> None:
    state = {name: value for name, value in {**small_state, **change}.items() if value is not None}
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(UserError, match=message) as refused:
        load_teacher(f"timm:{TAG}:{tmp_path / 'weights.pt'}", cache=None)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("change", [{"head.weight": torch.zeros(10, 192), "head.bias": torch.zeros(10)}, {}])
def test_prototypes_need_no_head_in_the_file(change: State, small_state: State, tmp_path: Path) -> None:
    backbone = {name: value for name, value in small_state.items() if not name.startswith("head.")}
    torch.save({**backbone, **change}, tmp_path / "weights.pt")
    teacher = load_teacher(f"timm:{TAG}:{tmp_path / 'weights.pt'}", classifier="prototypes", cache=None)
    assert teacher.feature_dim == 192


def test_a_head_of_other_classes_is_refused(small_state: State, tmp_path: Path) -> None:
    head = {"head.weight": torch.ones(10, 192), "head.bias": torch.zeros(10)}
    torch.save({**small_state, **head}, tmp_path / "weights.pt")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": SMALL, "pretrained_cfg": {"num_classes": 10}}))
    teacher = load_teacher(f"timm:{SMALL}:{tmp_path / 'weights.pt'}", cache=None)
    with pytest.raises(UserError, match="has 10 classes, not these 1000"):
        teacher.class_weights(IMAGENET.names, ())


def test_a_configuration_of_another_head_than_the_file_has_is_what_the_message_names(
    small_state: State, tmp_path: Path
) -> None:
    torch.save(small_state, tmp_path / "weights.pt")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": SMALL, "num_classes": 10}))
    with pytest.raises(UserError, match=r"has 1000 classes, not 10; write num_classes 1000 into .*config.json, or use"):
        load_teacher(f"timm:{SMALL}:{tmp_path / 'weights.pt'}", cache=None)
    (tmp_path / "config.json").write_text(json.dumps({"architecture": SMALL, "num_classes": 1000}))
    assert load_teacher(f"timm:{SMALL}:{tmp_path / 'weights.pt'}", cache=None).classifier == "head"


def test_a_head_that_is_not_linear_in_the_features_is_refused(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = timm_teacher._before_head
    monkeypatch.setattr(timm_teacher, "_before_head", lambda model, pixels: before(model, pixels).relu())
    with pytest.raises(UserError, match="are not linear in its features"):
        load_teacher(f"timm:{TAG}:{small}", cache=None)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:vit_base_dino", "unknown timm architecture 'vit_base_dino'"),
        (
            "timm:vit_base_patch14_dinov2.imagenet",
            "unknown weights of timm's vit_base_patch14_dinov2 'imagenet'.*lvd142m",
        ),
        ("timm:vit_base_patch14_dinov2:/no/such/file", "there is no file /no/such/file"),
        (
            "timm:vit_base_patch16_224:{file}",
            "not preprocessed alike: name the one .* timm:vit_base_patch16_224.augreg",
        ),
        ("embedded:2", "the embedded teacher is named embedded"),
    ],
)
def test_unknown_names_are_refused_in_one_line(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=message) as refused:
        load_teacher(name.format(file=tmp_path / "file"), cache=None)
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "classifier"), [(f"timm:{DINO}", "head"), (f"timm:{TAG}", "text"), ("embedded", "head")]
)
def test_class_weights_that_a_teacher_does_not_have_are_refused(name: str, classifier: str) -> None:
    with pytest.raises(UserError, match=f"has no {classifier}") as refused:
        load_teacher(name, classifier=classifier)
    assert refused.value.exit_code == 2


def test_unavailable_released_weights_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise OSError("no\nnetwork")

    monkeypatch.setattr(timm_teacher, "hf_hub_download", refuse)
    with pytest.raises(UserError, match=f"teacher 'timm:{TAG}' cannot be loaded: OSError: no network") as refused:
        load_teacher(f"timm:{TAG}")
    assert "\n" not in str(refused.value)
    assert str(refused.value).endswith("or --teacher embedded, which the package carries")


def test_a_configuration_of_another_architecture_is_refused(small_state: State, tmp_path: Path) -> None:
    torch.save(small_state, tmp_path / "weights.pt")
    other = {"architecture": "vit_tiny_patch16_384", "pretrained_cfg": {}}
    for content, message in [(json.dumps(other), "is of vit_tiny_patch16_384, but"), ("{", "cannot be read as JSON")]:
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(UserError, match=message):
            load_teacher(f"timm:{SMALL}:{tmp_path / 'weights.pt'}", cache=None)


def test_names_of_released_weights_are_listed() -> None:
    names = teacher_names()
    assert {"embedded", "ViT-B-16:openai", "timm:vit_base_patch14_dinov2.lvd142m"} <= set(names)
