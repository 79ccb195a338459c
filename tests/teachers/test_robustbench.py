"""RobustBench's CIFAR networks: the tensors of its own code, its own answers, and checkpoints as it publishes them."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_weights import drawn_images, drawn_state, state_digest
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize

from apm_tta.data.cards import load_card
from apm_tta.errors import UserError
from apm_tta.teachers import Teacher, load_teacher
from apm_tta.teachers.robustbench.wide_resnet import SmoothWideResNet
from apm_tta.teachers.robustbench.zoo import CARD_DECKS, ZOO

RECORDED: dict[str, Any] = json.loads(Path(__file__).with_name("robustbench_answers.json").read_text())
SMOOTH = "16 layers, SiLU"
ENTRIES = [(data, name) for data, entries in RECORDED.items() for name in entries if name != SMOOTH]
SMALL = "Hendrycks2020AugMix_WRN"


def network_of(data: str, name: str) -> nn.Module:
    if name != SMOOTH:
        return ZOO[data][name].make()
    large = ZOO[data][next(entry for entry in ZOO[data] if "Fixing_70" in entry or "Uncovering" in entry)].make
    assert isinstance(large, partial)
    assert large.func is SmoothWideResNet
    classes, _, _, normalisation = large.args
    return SmoothWideResNet(classes, 16, 2, normalisation)


def test_our_zoo_has_every_entry_of_one_network() -> None:
    assert {(data, name) for data, entries in ZOO.items() for name in entries} == {*ENTRIES}


@pytest.mark.parametrize(("data", "name"), ENTRIES)
def test_a_network_has_the_tensors_of_the_original(data: str, name: str) -> None:
    """By name and shape, so that its published checkpoint loads strictly."""
    with torch.device("meta"):
        assert state_digest(network_of(data, name)) == RECORDED[data][name]["tensors"]


@pytest.mark.parametrize(
    ("data", "name"), [(data, name) for data, own in RECORDED.items() for name in own if "logits" in own[name]]
)
def test_a_network_answers_as_the_original_does(data: str, name: str) -> None:
    """With the same drawn weights, up to the rounding of another order of additions."""
    network = network_of(data, name)
    network.load_state_dict(drawn_state(network))
    with torch.no_grad():
        found = network.eval()(drawn_images())
    expected = torch.tensor(RECORDED[data][name]["logits"])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return drawn_state(network_of("cifar10", SMALL))


def logits(teacher: Teacher, pixels: Tensor) -> Tensor:
    with torch.no_grad():
        features = teacher.encode_image(pixels)
    weights = teacher.class_weights(load_card("cifar10-c").class_list.names, ())
    return teacher.scales(features) * normalize(features, dim=-1) @ weights.T


@pytest.mark.parametrize("published", ["bare", "parallel", "without normalisation", "in a checkpoint"])
def test_a_checkpoint_as_it_is_published(published: str, state: dict[str, Tensor], tmp_path: Path) -> None:
    """Behind the prefix of data parallelism, without the normalisation that the zoo adds, beside other things."""
    contents: dict[str, Any] = {
        "bare": state,
        "parallel": {f"module.{name}": value for name, value in state.items()},
        "without normalisation": {name: value for name, value in state.items() if name not in ("mu", "sigma")},
        "in a checkpoint": {"state_dict": {f"module.{name}": value for name, value in state.items()}, "epoch": 199},
    }
    torch.save(contents[published], tmp_path / "weights.pt")
    teacher = load_teacher(f"robustbench:{SMALL}:{tmp_path / 'weights.pt'}", cache=None)
    assert (teacher.image_size, teacher.feature_dim, teacher.classifier) == (32, 130, "head")
    expected = torch.tensor(RECORDED["cifar10"][SMALL]["logits"])
    torch.testing.assert_close(logits(teacher, drawn_images()), expected, rtol=1e-3, atol=1e-3)


def test_an_image_of_cifar_is_taken_as_it_is(state: dict[str, Tensor], tmp_path: Path) -> None:
    """Values in 0 .. 1, neither resized nor normalised: the networks do that themselves."""
    torch.save(state, tmp_path / "weights.pt")
    teacher = load_teacher(f"robustbench:{SMALL}:{tmp_path / 'weights.pt'}", cache=None)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    expected = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    assert torch.equal(teacher.preprocess(Image.fromarray(pixels)), expected)
    assert teacher.preprocessing.std == (1.0, 1.0, 1.0)


def test_of_kireev_s_two_sets_the_last_is_taken_and_the_scores_of_binary_ones_are_left(tmp_path: Path) -> None:
    kireev = drawn_state(network_of("cifar10", "Kireev2021Effectiveness_RLAT"))
    other = {name: torch.ones_like(value) for name, value in kireev.items()}
    torch.save({"best": other, "last": kireev}, tmp_path / "kireev.pt")
    binary = drawn_state(network_of("cifar10", "Diffenderfer2021Winning_Binary"))
    scores = {name.replace("weight", "scores"): value for name, value in binary.items() if name.endswith("weight")}
    torch.save({**binary, **scores}, tmp_path / "binary.pt")
    for name, file in (("Kireev2021Effectiveness_RLAT", "kireev"), ("Diffenderfer2021Winning_Binary", "binary")):
        teacher = load_teacher(f"robustbench:cifar10/{name}:{tmp_path / file}.pt", cache=None)
        expected = torch.tensor(RECORDED["cifar10"][name]["logits"])
        torch.testing.assert_close(logits(teacher, drawn_images()), expected, rtol=1e-3, atol=1e-3)


def test_a_file_where_robustbench_downloads_it_to(
    state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"there is no file models/cifar10/corruptions/{SMALL}\.pt") as refused:
        load_teacher(f"robustbench:{SMALL}")
    assert refused.value.exit_code == 2
    Path("models/cifar10/corruptions").mkdir(parents=True)
    torch.save(state, f"models/cifar10/corruptions/{SMALL}.pt")
    assert load_teacher(f"robustbench:{SMALL}", cache=None).identity["architecture"] == f"RobustBench cifar10 {SMALL}"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("robustbench:Standrad", "unknown network of RobustBench for cifar10 and corruptions 'Standrad'"),
        ("robustbench:cifar100/Standard", "unknown network of RobustBench for cifar100 and corruptions 'Standard'"),
        ("robustbench:imagenet/Standard", "unknown data set of RobustBench's networks 'imagenet'"),
        (f"robustbench:{CARD_DECKS[0]}", "averages probabilities of six networks"),
    ],
)
def test_what_is_no_entry_is_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        load_teacher(name)
    assert refused.value.exit_code == 2


def test_a_file_of_other_classes_or_another_network_is_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    """PRIME's normalisation is that of its file, without which the network is not known."""
    torch.save(state, tmp_path / "ten.pt")
    with pytest.raises(UserError, match=r"have another shape \(fc.weight \(10, 128\) for \(100, 128\)"):
        load_teacher(f"robustbench:cifar100/{SMALL}:{tmp_path / 'ten.pt'}", cache=None)
    prime = drawn_state(network_of("cifar10", "Modas2021PRIMEResNet18"))
    del prime["mu"]
    torch.save(prime, tmp_path / "prime.pt")
    with pytest.raises(UserError, match=r"1 tensor is missing \(mu\)"):
        load_teacher(f"robustbench:Modas2021PRIMEResNet18:{tmp_path / 'prime.pt'}", cache=None)


def test_other_classes_than_those_of_cifar_are_refused(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "weights.pt")
    teacher = load_teacher(f"robustbench:{SMALL}:{tmp_path / 'weights.pt'}", cache=None)
    names = load_card("cifar10").class_list.names
    shuffled = teacher.class_weights(names[::-1], ())
    assert torch.equal(shuffled, teacher.class_weights(names, ()).flip(0))
    with pytest.raises(UserError, match="no row of its own for class 'zebra'"):
        teacher.class_weights(("zebra", *names[1:]), ())
