"""Torchvision's ImageNet networks: its own builders, transforms and classes, without its silent changes."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import torchvision
from drawn_weights import drawn_state
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize
from torchvision.models import get_model_builder, get_model_weights

from apm_tta.data.class_lists import CLASS_LISTS
from apm_tta.errors import UserError
from apm_tta.teachers import load_teacher, teacher_names, torchvision_teacher
from apm_tta.teachers.head_labels import HeadLabels

NAMES = CLASS_LISTS.get("imagenet-1k")().names
RELEASE = "mobilenet_v3_small.IMAGENET1K_V1"


def original(kind: str, tag: str, state: dict[str, Tensor]) -> nn.Module:
    """Build a network as torchvision itself does, from the state in place of a download."""
    released = OrderedDict(state)
    released._metadata = {"": {"version": 2}}  # type: ignore[attr-defined]
    with patch("torchvision.models._api.WeightsEnum.get_state_dict", lambda *_, **__: released):
        network: nn.Module = get_model_builder(kind)(weights=get_model_weights(kind)[tag])
    return network.eval()


def undrawn(kind: str, tag: str) -> nn.Module:
    release = get_model_weights(kind)[tag]
    network: nn.Module = get_model_builder(kind)(**torchvision_teacher._arguments(kind, release.meta["min_size"]))
    return network


@pytest.mark.parametrize(
    ("kind", "tag"),
    [
        ("mobilenet_v3_small", "IMAGENET1K_V1"),
        ("googlenet", "IMAGENET1K_V1"),
        ("mnasnet0_5", "IMAGENET1K_V1"),
        ("densenet121", "IMAGENET1K_V1"),
        ("squeezenet1_1", "IMAGENET1K_V1"),
    ],
)
def test_a_teacher_answers_as_torchvision_s_own_network_does(kind: str, tag: str, tmp_path: Path) -> None:
    """Names of old releases, auxiliary heads, counters that are missing, and a head that is not linear included."""
    state = drawn_state(undrawn(kind, tag))
    published = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    if kind == "densenet121":
        old = [(f".{part}{number}.", f".{part}.{number}.") for part in ("norm", "conv") for number in "12"]
        for new, before in old:
            published = {
                name.replace(new, before) if "denselayer" in name else name: value for name, value in published.items()
            }
        assert "features.denseblock1.denselayer1.norm.1.weight" in published
    torch.save(published, tmp_path / "weights.pth")
    teacher = load_teacher(f"torchvision:{kind}.{tag}:{tmp_path / 'weights.pth'}", cache=None)
    image = Image.effect_noise((300, 260), 60).convert("RGB")
    pixels = teacher.preprocess(image)[None]
    assert torch.equal(pixels[0], get_model_weights(kind)[tag].transforms()(image))
    weights = teacher.class_weights(NAMES, ())
    with torch.no_grad():
        features = teacher.encode_image(pixels)
        found = teacher.scales(features) * normalize(features, dim=-1) @ weights.T
        expected = original(kind, tag, state)(pixels)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@pytest.mark.parametrize(("kind", "tag"), [("vit_b_16", "IMAGENET1K_SWAG_E2E_V1"), ("inception_v3", "IMAGENET1K_V1")])
def test_what_a_builder_adds_along_with_weights_is_added(kind: str, tag: str) -> None:
    """The size of a ViT's input, the other normalisation of an Inception."""
    plain = (int, float, bool, str)
    with torch.device("meta"), patch.object(nn.Module, "load_state_dict"):
        pair = undrawn(kind, tag), original(kind, tag, {})
    ours, theirs = (
        {f"{name}.{key}": value for name, part in each.named_modules() for key, value in vars(part).items()}
        for each in pair
    )
    assert ours.keys() >= theirs.keys() - {"AuxLogits"}
    differing = {key for key, value in theirs.items() if isinstance(value, plain) and ours[key] != value}
    assert differing <= {".aux_logits", ".training"} | {key for key in theirs if key.endswith(".training")}


def test_every_name_that_is_listed_is_of_a_release() -> None:
    listed = [name for name in teacher_names() if name.startswith("torchvision:")]
    assert f"torchvision:{RELEASE}" in listed
    assert "torchvision:resnet50.IMAGENET1K_V2" in listed
    assert "torchvision:vgg16.IMAGENET1K_FEATURES" not in listed  # without a head


def test_categories_are_compared_with_our_classes_row_by_row() -> None:
    categories = get_model_weights("resnet50")["IMAGENET1K_V1"].meta["categories"]
    assert torchvision_teacher._labels("it", categories) == HeadLabels.of(1000, None, None)
    swapped = [categories[1], categories[0], *categories[2:]]
    with pytest.raises(UserError, match="states 'goldfish' as class 0, which in ImageNet is 'tench, Tinca tinca'"):
        torchvision_teacher._labels("it", swapped)
    with pytest.raises(UserError, match="states 999 classes"):
        torchvision_teacher._labels("it", categories[:-1])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("torchvision") / "mobilenet.pth"
    torch.save(drawn_state(undrawn(*RELEASE.split("."))), path)
    return path


def test_prototypes_get_the_features_without_the_head(small: Path) -> None:
    with_head = load_teacher(f"torchvision:{RELEASE}:{small}", cache=None)
    without = load_teacher(f"torchvision:{RELEASE}:{small}", classifier="prototypes", cache=None)
    pixels = with_head.preprocess(Image.effect_noise((300, 260), 60).convert("RGB"))[None]
    with torch.no_grad():
        assert torch.equal(with_head.encode_image(pixels)[:, :-2], without.encode_image(pixels))
    assert with_head.identity != without.identity
    with pytest.raises(UserError, match="has no text; its class weights come from its head"):
        load_teacher(f"torchvision:{RELEASE}:{small}", classifier="text")


def test_a_release_in_torchvision_s_cache_is_used_and_a_damaged_one_refused(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is downloaded then; the name of a release begins with its digest."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    tried: list[str] = []

    def no_network(url: str, *_: Any, **__: Any) -> None:
        tried.append(url)
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(UserError, match=r"https://.* cannot be downloaded \(.*no route to host\); get it"):
        load_teacher(f"torchvision:{RELEASE}")
    (file,) = (url.rpartition("/")[2] for url in tried)
    (tmp_path / "checkpoints" / file).write_bytes(small.read_bytes())
    with pytest.raises(UserError, match=r"is damaged: its SHA-256 begins with .*; delete it and start again"):
        load_teacher(f"torchvision:{RELEASE}")
    assert len(tried) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:resnet5", "unknown classification network of torchvision 'resnet5'"),
        (
            "torchvision:resnet50",
            "unknown weights of torchvision's resnet50 ''; there are: IMAGENET1K_V1, IMAGENET1K_V2",
        ),
        ("torchvision:resnet50.V1", "unknown weights of torchvision's resnet50 'V1'"),
        ("torchvision:vgg16.IMAGENET1K_FEATURES", "state no classes"),
        ("torchvision:resnet50.IMAGENET1K_V1:/nowhere", "there is no file /nowhere"),
    ],
)
def test_what_does_not_exist_is_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        load_teacher(name)
    assert refused.value.exit_code == 2


def test_weights_of_another_network_are_refused(small: Path) -> None:
    with pytest.raises(UserError, match="is not a checkpoint of this architecture"):
        load_teacher(f"torchvision:mobilenet_v3_large.IMAGENET1K_V1:{small}", cache=None)


def test_the_versions_of_torchvision_that_rename_weights_are_known() -> None:
    """Where an architecture begins to translate names of old files, this fails, and we have to translate them too."""
    models = Path(torchvision.models.__file__).parent
    translating = {path.stem for path in models.glob("*.py") if "def _load_from_state_dict" in path.read_text()}
    assert translating == {"mnasnet", "vision_transformer"}
