"""Where BatchNorm sees one value per channel and image, a single image is refused before the run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from small_settings import NEED_SUPPORT, small_settings
from torch import nn

import apm_tta
from apm_tta.data.task import Task
from apm_tta.errors import UserError
from apm_tta.harness.compute.prepare import plan, prepare
from apm_tta.harness.request.run_request import resolve_request
from apm_tta.methods import METHODS, Batch, Method, build_parameters
from apm_tta.methods.encoder import fewest_images
from apm_tta.teachers import load_teacher
from apm_tta.teachers.preprocessing import Preprocessing

CLASSES = ("one", "two", "three")
SETTINGS = small_settings(views=2, batch_size=4)
ANSWERED = [
    name
    for name, own in SETTINGS.items()
    if "batch_size" in own and name not in NEED_SUPPORT and not METHODS.get(name).needs_text
]


def network(maps: int) -> nn.Module:
    """Build a network whose last BatchNorm sees maps of that side."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(maps)]
        head = [
            nn.Conv2d(8, 8, 1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 3),
        ]
        return nn.Sequential(*body, *head).eval()


def teacher(maps: int) -> Any:
    preprocessing = Preprocessing(12, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "bilinear")
    return load_teacher(network(maps), classes=CLASSES, preprocessing=preprocessing)


def build(name: str, maps: int, **settings: Any) -> Method:
    return METHODS.get(name)(teacher(maps), Task(CLASSES), build_parameters(name, settings), 0)


def images(count: int) -> list[Image.Image]:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(256, (count, 12, 12, 3), generator=generator, dtype=torch.uint8)
    return [Image.fromarray(each.numpy()) for each in pixels]


@pytest.mark.parametrize(("maps", "fewest"), [(1, 2), (2, 1)])
def test_how_many_images_statistics_take(maps: int, fewest: int) -> None:
    assert fewest_images(teacher(maps)) == fewest
    for name in ("tent", "sar", "eta", "rdumb", "norm", "deyo", "roid", "cmf", "cotta"):
        assert build(name, maps).least_batch == fewest


@pytest.mark.parametrize("name", ANSWERED)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_batch_of_one_of_two_and_the_streams_last_smaller_one_are_answered(name: str, count: int) -> None:
    method = build(name, 2, **SETTINGS[name])
    with torch.no_grad():
        for part in (images(count)[:4], images(count)[4:]):
            if part:
                answer = method.predict(Batch(tuple(map(str, range(len(part)))), tuple(part))).logits
                assert answer.shape == (len(part), 3)
                assert answer.isfinite().all()


@pytest.mark.parametrize(("name", "settings"), [("tent", {"mode": "episodic"}), ("memo", {})])
def test_a_method_of_single_images_is_refused_when_it_is_built(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"method {name} takes BatchNorm's statistics of single images") as refused:
        build(name, 1, **settings)
    assert refused.value.exit_code == 2
    build(name, 2, **settings)


def test_in_python_a_single_image_is_refused_in_one_line() -> None:
    method = apm_tta.load_method("tent", teacher(1))
    with pytest.raises(UserError, match=r"method tent needs 2 images at once over teacher \S+, and got 1$"):
        method(images(1))
    assert len(method(images(2))) == 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a data set of five images in three classes."""
    for index, image in enumerate(images(5)):
        place = tmp_path / "data" / CLASSES[index % 3]
        place.mkdir(parents=True, exist_ok=True)
        image.save(place / f"{index}.png")
    return tmp_path / "data"


@pytest.mark.parametrize(("size", "last"), [(1, 1), (4, 1), (2, 1)])
def test_a_run_is_refused_before_it_begins(folder: Path, monkeypatch: pytest.MonkeyPatch, size: int, last: int) -> None:
    """Five images: in batches of one, of two and of four, the last one is alone."""
    monkeypatch.setattr("apm_tta.harness.compute.prepare._teacher", lambda *_: teacher(1))
    monkeypatch.setattr("apm_tta.harness.compute.prepare.taking_crops", lambda given, _side: given)

    def request(batch: int) -> Any:
        settings = {"methods": ["tent"], "settings": {"tent": {"batch_size": batch}}, "teacher": "embedded"}
        return resolve_request("folder", settings, data_root=folder, devices=("cpu",), quiet=True)

    with pytest.raises(UserError) as refused:
        prepare(request(size), torch.device("cpu"))
    assert refused.value.exit_code == 2
    assert re.fullmatch(
        r"method tent needs 2 images at once over teacher \S+, and the last batch of a stream of 5 would have "
        rf"{last}; choose another number of images per batch, or another --limit",
        str(refused.value),
    )
    assert plan(prepare(request(3), torch.device("cpu")))[1]
