"""What a timm checkpoint states of itself is followed whole: sizes, pooling, arguments, labels; the rest is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.data import ImageNetInfo, resolve_data_config
from timm.models import save_for_hf
from torch import Tensor

from apm_tta.data.class_lists import CLASS_LISTS
from apm_tta.errors import UserError
from apm_tta.teachers import LazyTeacher, load_teacher
from apm_tta.teachers.timm_release import evaluation_settings

State = dict[str, Tensor]
VIT, RESNET = "test_vit", "test_resnet"
FOUR = ["tabby cat", "Dog", "bird", "fish"]
IMAGENET = CLASS_LISTS.get("imagenet-1k")()


def loaded(folder: Path, kind: str, configuration: Any, **settings: Any) -> LazyTeacher:
    """Load a network with random weights, and the configuration beside them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(kind, **settings)
    save_file(model.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(configuration))
    return load_teacher(f"timm:{kind}.r160_in1k:{folder / 'model.safetensors'}", cache=None)


def nested(kind: str, top: dict[str, Any] | None = None, **own: Any) -> dict[str, Any]:
    return {"architecture": kind, **(top or {}), "pretrained_cfg": own}


def test_every_release_is_evaluated_as_timm_publishes_it() -> None:
    """At the test size and crop of a release, which for many are not those of training."""
    at_another_size = refused = 0
    for name in timm.list_pretrained():
        configuration = timm.get_pretrained_cfg(name)
        expected = resolve_data_config({}, pretrained_cfg=configuration.to_dict(), use_test_size=True)
        if expected["input_size"][1] != expected["input_size"][2]:
            with pytest.raises(UserError, match="only square images"):
                evaluation_settings(name, configuration)
            refused += 1
            continue
        settings = evaluation_settings(name, configuration)
        trained = settings.pop("trained_at", {})
        assert settings == expected
        at_another_size += "input_size" in trained
        assert settings | trained == resolve_data_config({}, pretrained_cfg=configuration.to_dict())
    assert at_another_size > 250
    assert refused < 10


def test_a_network_of_any_size_gets_images_of_the_stated_test_size(tmp_path: Path) -> None:
    stated = nested(RESNET, input_size=[3, 96, 96], test_input_size=[3, 128, 128], crop_pct=0.8, test_crop_pct=1.0)
    teacher = loaded(tmp_path, RESNET, stated)
    assert teacher.image_size == 128
    preprocessing = json.loads(teacher.identity["preprocessing"])
    assert (preprocessing["input_size"], preprocessing["crop_pct"]) == ("(3, 128, 128)", "1.0")
    assert preprocessing["trained_at"] == "{'input_size': (3, 96, 96), 'crop_pct': 0.8}"
    assert teacher.encode_image(torch.zeros(1, 3, 128, 128)).shape == (1, teacher.feature_dim)


def test_a_network_of_a_fixed_size_keeps_it(tmp_path: Path) -> None:
    """As in timm's own evaluation, which takes the test crop all the same."""
    stated = nested(VIT, input_size=[3, 64, 64], test_input_size=[3, 96, 96], test_crop_pct=1.0, crop_pct=0.9)
    teacher = loaded(tmp_path, VIT, stated, img_size=64)
    assert teacher.image_size == 64
    assert json.loads(teacher.identity["preprocessing"])["crop_pct"] == "1.0"


def test_a_configuration_without_a_test_size_is_not_evaluated_at_its_release_s(tmp_path: Path) -> None:
    """Fine-tuned at 128 pixels from a release that is tested at 288: the file beside the weights says 128."""
    stated = nested("resnet18", input_size=[3, 128, 128], crop_pct=0.9)
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "w.pt")
    (tmp_path / "config.json").write_text(json.dumps(stated))
    for tag, size in (("a1_in1k", 128), ("tv_in1k", 128)):
        teacher = load_teacher(f"timm:resnet18.{tag}:{tmp_path / 'w.pt'}", cache=tmp_path / "cache", classifier="head")
        assert teacher.image_size == size
        assert "trained_at" not in teacher.identity["preprocessing"]


@pytest.mark.parametrize(
    ("top", "arguments"),
    [({"global_pool": "avg"}, {}), ({"model_args": {"global_pool": "avg"}}, {}), ({"global_pool": "token"}, {})],
)
def test_the_stated_pooling_is_built(top: dict[str, Any], arguments: dict[str, Any], tmp_path: Path) -> None:
    pool = top.get("global_pool") or top["model_args"]["global_pool"]
    teacher = loaded(tmp_path, VIT, nested(VIT, top), global_pool=pool, **arguments)
    built: Any = teacher.built
    pixels = torch.randn(1, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    tokens = built.model.forward_features(pixels)
    expected = tokens[:, 1:].mean(1) if pool == "avg" else tokens[:, 0]
    torch.testing.assert_close(teacher.encode_image(pixels)[:, :-2], built.model.fc_norm(expected))
    assert teacher.identity["global_pool"] == pool


def test_arguments_of_the_model_are_followed(tmp_path: Path) -> None:
    arguments = {"img_size": 64, "depth": 2}
    teacher = loaded(tmp_path, VIT, nested(VIT, {"model_args": arguments}), **arguments)
    assert (teacher.image_size, teacher.layers) == (64, 2)
    assert json.loads(teacher.identity["arguments"]) == arguments


@pytest.mark.parametrize("order", [FOUR, {str(3 - row): name for row, name in enumerate(FOUR)}])
@pytest.mark.parametrize("flat", [False, True])
def test_rows_of_the_head_are_found_by_their_stated_labels(order: Any, flat: bool, tmp_path: Path) -> None:
    stated: dict[str, Any] = {"architecture": RESNET, "num_classes": 4}
    stated |= {"labels": order} if flat else {"label_names": order, "pretrained_cfg": {"num_classes": 4}}
    teacher = loaded(tmp_path, RESNET, stated, num_classes=4)
    head = timm.create_model(
        RESNET, num_classes=4, checkpoint_path=str(tmp_path / "model.safetensors")
    ).get_classifier()
    classes = ("fish", "tabby_cat", "dog")
    rows = [3, 0, 1] if order is FOUR else [0, 3, 2]
    pixels = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = teacher.encode_image(pixels)
        found = teacher.scales(features) * torch.nn.functional.normalize(features, dim=-1)
        found = found @ teacher.class_weights(classes, ()).T
        torch.testing.assert_close(found, head(features[:, :-2])[:, rows], rtol=1e-4, atol=1e-5)
    assert teacher.identity["labels"].startswith("stated: 4 labels, sha256 ")
    with pytest.raises(UserError, match="no row of its own for class 'horse'; its 4 labels are ") as refused:
        teacher.class_weights(("fish", "horse"), ())
    assert refused.value.exit_code == 2


def test_imagenet_in_another_order_is_found_by_synset_or_description(tmp_path: Path) -> None:
    """Not by its published names alone: two pairs of these are equal."""
    synsets = ImageNetInfo().label_names()[::-1]
    numbered = {f"c{row}": synset for row, synset in enumerate(synsets)}
    forms = (
        {"label_names": synsets},
        {"label_names": list(numbered), "label_descriptions": numbered},
        {"label_names": [f"LABEL_{row}" for row in range(1000)]},
    )
    weights = []
    for number, form in enumerate(forms):
        (tmp_path / str(number)).mkdir()
        teacher = loaded(tmp_path / str(number), RESNET, nested(RESNET, form))
        weights.append(teacher.class_weights(IMAGENET.names, ()))
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2].flip(0))
    assert teacher.identity["labels"] == "not stated: ImageNet's in the order of its synsets"


def test_published_names_in_their_order_are_rows_by_place(tmp_path: Path) -> None:
    """Two pairs of these names are equal: as a whole list they are told apart, in another order they are not."""
    stated = loaded(tmp_path, RESNET, nested(RESNET, {"label_names": IMAGENET.names}))
    unstated = loaded(tmp_path, RESNET, nested(RESNET))
    assert torch.equal(stated.class_weights(IMAGENET.names, ()), unstated.class_weights(IMAGENET.names, ()))
    reordered = loaded(tmp_path, RESNET, nested(RESNET, {"label_names": IMAGENET.names[::-1]}))
    with pytest.raises(UserError, match="no row of its own for class 'missile'"):
        reordered.class_weights(IMAGENET.names, ())


def test_a_configuration_that_a_link_no_longer_leads_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.pt").touch()
    (tmp_path / "config.json").symlink_to(tmp_path / "removed")
    with pytest.raises(UserError, match=r"config.json cannot be read as JSON: .*No such file"):
        load_teacher(f"timm:{VIT}:{tmp_path / 'w.pt'}", cache=None)


def test_what_timm_itself_saves_for_the_hub_is_read(tmp_path: Path) -> None:
    kind = "vit_tiny_patch16_224"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(kind, num_classes=4, img_size=64, global_pool="avg", depth=2)
    save_for_hf(model, tmp_path, model_config={"label_names": FOUR}, safe_serialization=True)
    teacher = load_teacher(f"timm:{kind}:{tmp_path / 'model.safetensors'}", cache=None)
    assert teacher.image_size == 64
    assert teacher.class_weights(FOUR, ()).shape == (4, teacher.feature_dim)
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model.eval().forward_head(model.forward_features(pixels), pre_logits=True)
    torch.testing.assert_close(teacher.encode_image(pixels)[:, :-2], expected)


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        (nested(VIT, patch_size=32), "could change answers: pretrained_cfg.patch_size: Extra inputs"),
        (nested(VIT, {"head_dropout": 0.1}), "could change answers: head_dropout: Extra inputs"),
        (nested(VIT, {"image_size": 96}), "could change answers: image_size: Extra inputs"),
        (nested(VIT, input_size=[1, 160, 160]), "pretrained_cfg.input_size.0: Input should be 3"),
        (nested(VIT, input_size=[3, 160]), "pretrained_cfg.input_size.2: Field required"),
        (nested(VIT, input_size="160"), "pretrained_cfg.input_size: Input should be"),
        (nested(VIT, crop_pct=0), "pretrained_cfg.crop_pct: Input should be greater than 0"),
        (nested(VIT, crop_pct=95), "pretrained_cfg.crop_pct: Input should be less than or equal to 1.5"),
        (nested(VIT, mean=[123.7, 116.3, 103.5]), "pretrained_cfg.mean.0: Input should be less than or equal to 1"),
        (nested(VIT, {"global_pool": ""}, num_classes=0), r"gives no vector for an image, but \(101, 64\)"),
        (nested(VIT, crop_pct="0.9"), "pretrained_cfg.crop_pct: Input should be a valid number"),
        (nested(VIT, crop_mode="middle"), "pretrained_cfg.crop_mode: Input should be 'center'"),
        (nested(VIT, interpolation="random"), "pretrained_cfg.interpolation: Input should be 'nearest'"),
        (nested(VIT, mean=[0.5]), "pretrained_cfg.mean.1: Field required"),
        (nested(VIT, std=[0.5, 0.5, 0]), "pretrained_cfg.std.2: Input should be greater than 0"),
        (nested(VIT, label_offset=1), "pretrained_cfg.label_offset: Input should be 0"),
        (nested(VIT, classifier="fc"), "states classifier 'fc', but timm's architecture has 'head'"),
        (nested(VIT, first_conv="stem"), "states first_conv 'stem', but timm's architecture has 'patch_embed.proj'"),
        (nested(VIT, {"model_args": {"in_chans": 1}}), "model_args.in_chans: Input should be 3"),
        (nested(VIT, {"model_args": {"num_classes": 7}}), "model_args.num_classes 7; it would have to be 1000"),
        (nested(VIT, {"model_args": {"global_pool": ["avg"]}}), "model_args.global_pool: Input should be a valid str"),
        (nested(VIT, {"model_args": {"img_size": "64"}}), "model_args.img_size"),
        (nested(VIT, {"model_args": 64}), "model_args: "),
        (nested(VIT, {"model_args": {"checkpoint_path": "x"}}), "model_args.checkpoint_path, which is no argument"),
        (nested(VIT, {"model_args": {"windows": 3}}), "unexpected keyword argument 'windows'"),
        (nested(VIT, {"global_pool": "avg", "model_args": {"global_pool": "max"}}), "global_pool 'avg' and 'max'"),
        (nested(VIT, {"global_pool": "median"}), "Only avg, .* pooling"),
        (nested(VIT, {"global_pool": "avg"}), "is not a checkpoint of this architecture"),
        (nested(VIT, {"label_names": FOUR}), "names 4 labels for a head of 1,000 classes"),
        (nested(VIT, {"label_names": {"1000": "cat"}}), "names 1 label for a head of 1,000 classes"),
        (nested(VIT, {"label_names": ["cat", 7]}), "label_names.*Input should be a valid string"),
        ({"num_classes": 1000, **nested(VIT, num_classes=10), "architecture": "test_vit2"}, "is of test_vit2, but"),
        (nested(VIT, architecture="test_vit3"), "is of test_vit3, but test_vit was requested"),
        (
            {"architectures": ["ViTForImageClassification"], "image_size": 384},
            "is not timm's: it names no architecture",
        ),
        ({"architecture": VIT, "image_size": 384}, "pretrained_cfg.image_size: Extra inputs"),
        ([VIT], "is not timm's"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(configuration: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as refused:
        loaded(tmp_path, VIT, configuration)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ['{"architecture": "test_vit", "architecture": "test_vit"}', '{"num_classes": NaN}'])
def test_json_that_two_readers_would_read_differently_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    (tmp_path / "w.pt").touch()
    with pytest.raises(UserError, match=r"cannot be read as JSON: (a key appears twice|NaN is not a number)"):
        load_teacher(f"timm:{VIT}:{tmp_path / 'w.pt'}", cache=None)


def test_a_file_without_a_tag_whose_configuration_leaves_open_what_releases_do_differently(
    tmp_path: Path, draw_timm: Callable[..., State]
) -> None:
    """The releases of this architecture are normalised in two ways; a configuration must say which."""
    (tmp_path / "w.pt").touch()
    (tmp_path / "config.json").write_text(json.dumps(nested("vit_base_patch16_224", num_classes=10)))
    with pytest.raises(UserError, match="not preprocessed alike: name the one"):
        load_teacher(f"timm:vit_base_patch16_224:{tmp_path / 'w.pt'}", cache=None)
