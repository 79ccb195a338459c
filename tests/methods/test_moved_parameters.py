"""The parameters that methods move are those that the authors' rules give, as the committed file says."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import timm
import yaml

from apm_tta.data.task import Task
from apm_tta.methods import METHODS, build_parameters
from apm_tta.methods.encoder import AdaptableEncoder, normalisation_layers
from apm_tta.teachers import load_teacher
from apm_tta.teachers.preprocessing import Preprocessing

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made() -> str:
    if not (ROOT / "docs").is_dir():
        pytest.skip("docs/ is part of a checkout, not of the source distribution")
    text: str = runpy.run_path(str(ROOT / "docs" / "moved_parameters.py"))["text"]()
    return text


def test_the_committed_file_is_what_the_code_makes(made: str) -> None:
    """Run ``python docs/moved_parameters.py`` if this fails."""
    assert made == (ROOT / "docs" / "moved_parameters.yaml").read_text(encoding="utf-8")


def test_only_layer_normalisation_and_other_names_set_them_apart_from_the_authors(made: str) -> None:
    """TENT adapts BatchNorm alone, WATT LayerNorm; open_clip's last norm has a name that SAR's rule does not know."""
    lists: dict[str, Any] = yaml.safe_load(made)
    differing = {
        (network, method): own["authors"]
        for network, methods in lists.items()
        for method, own in methods.items()
        if own["authors"] != "same" and not str(own["authors"]).startswith("as for ")
    }
    assert differing.pop(("open_clip ViT-B-16", "sar")) == {"+": ["ln_post.bias", "ln_post.weight"]}
    without_layer_norm = ("timm resnet50", "timm resnext101_32x8d", "open_clip RN50")
    assert set(differing) == {
        *((network, "tent") for network in ("timm vit_base_patch16_224", "open_clip ViT-B-16")),
        *((network, name) for network in without_layer_norm for name in ("watt", "clipartt")),
    }
    for (network, _), own in differing.items():
        assert own == {"-": sorted(lists[network]["tent"]["names"])}
    assert {name: own["memo"]["optimizer"] for name, own in lists.items()} == {
        "timm resnet50": "sgd",
        "timm resnext101_32x8d": "adamw",
        "timm vit_base_patch16_224": "adamw",
        "open_clip RN50": "sgd",
        "open_clip ViT-B-16": "adamw",
    }


def test_what_an_optimiser_gets_are_the_listed_parameters(made: str) -> None:
    network = timm.create_model("resnet50", num_classes=0)
    encoder = AdaptableEncoder(network, normalisation_layers(network), "batch")
    shapes = [
        tuple(network.get_parameter(name).shape) for name in yaml.safe_load(made)["timm resnet50"]["tent"]["names"]
    ]
    assert [tuple(each.shape) for each in encoder.parameters] == shapes


@pytest.mark.parametrize(
    ("name", "as_named"),
    [("eta", "tent"), ("rdumb", "tent"), ("deyo", "sar"), ("roid", "tent"), ("cmf", "tent"), ("cotta", "cotta")],
)
def test_a_method_moves_what_its_list_has(name: str, as_named: str, made: str) -> None:
    """On ResNet-50 with its head, as the method itself builds it."""
    preprocessing = Preprocessing(32, (0.5,) * 3, (0.25,) * 3, "bilinear")
    network = timm.create_model("resnet50", num_classes=3)
    teacher = load_teacher(network, classes=("a", "b", "c"), preprocessing=preprocessing)
    method: Any = METHODS.get(name)(teacher, Task(("a", "b", "c")), build_parameters(name, {}), 0)
    adapted = method.student if name == "cotta" else method.encoder
    listed = yaml.safe_load(made)["timm resnet50"][as_named]["names"]
    moved = [each.removeprefix("network.").replace("head.", "fc.") for each in adapted.names]
    assert len(moved) == len(listed)
    assert {each.rpartition("body.")[2] for each in moved} == set(listed)
