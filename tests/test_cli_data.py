"""``run-bench check`` and ``run-bench list datasets`` as they are typed, on trees of the true size."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from apm_tta.cli import main
from apm_tta.data.cards import card_names, load_card


@pytest.fixture(autouse=True)
def no_data_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("APM_TTA_DATA_ROOT", raising=False)


@pytest.fixture(scope="module")
def v2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ImageNet-V2's 10,000 files below a data root: one image, linked."""
    from PIL import Image

    root = tmp_path_factory.mktemp("data")
    place = root / "imagenet-v2-top-images" / "imagenetv2-top-images-format-val"
    first = root / "first.jpeg"
    Image.new("RGB", (8, 8), "teal").save(first)
    for label in range(1000):
        (place / str(label)).mkdir(parents=True)
        for image in range(10):
            os.link(first, place / str(label) / f"{image}.jpeg")
    return root


def test_a_right_tree_of_the_true_size_passes(v2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "imagenet-v2-top-images", "--data-root", str(v2)]) == 0
    said = capsys.readouterr()
    lines = [line.split() for line in said.out.splitlines()]
    assert ["classes", "1,000", "1,000"] in lines
    assert ["images", "10,000", "10,000"] in lines
    assert ["images", "a", "class", "10", "10"] in lines
    assert said.out.endswith("all there\n")
    assert said.err == ""


def test_a_wrong_tree_ends_with_1_and_says_what_to_do(v2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = v2 / "imagenet-v2-top-images" / "imagenetv2-top-images-format-val"
    assert main(["check", "imagenet", "--data-root", str(place)]) == 1
    said = capsys.readouterr()
    problems = said.out[said.out.index("problems:") : said.out.index("how to get it:")].splitlines()
    assert "use imagenet-v2-matched-frequency or imagenet-v2-threshold-0.7 or imagenet-v2-top-images" in problems[1]
    assert load_card("imagenet").get in said.out
    assert said.err == f"run-bench: imagenet is not as it has to be: {len(problems) - 1} problems, listed above\n"


def test_a_data_root_from_the_environment_is_taken(
    v2: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And does not stand in the way of what the package carries."""
    monkeypatch.setenv("APM_TTA_DATA_ROOT", str(v2))
    assert main(["check", "imagenet-v2-top-images"]) == 0
    assert main(["check", "fashion-mnist", "--deep"]) == 0
    assert main(["check", "imagenet"]) == 1
    assert main(["list", "datasets"]) == 0
    shown = capsys.readouterr().out
    assert "imagenet-v2-top-images         10,000 images  1,000 classes  there  " in shown


def test_a_data_root_of_what_the_package_carries_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "fashion-mnist", "--data-root", str(tmp_path)]) == 2
    assert "is carried by the package; leave out --data-root" in capsys.readouterr().err


def test_without_a_data_root_the_way_to_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "objectnet"]) == 1
    said = capsys.readouterr().out
    assert "no folder is given: --data-root FOLDER, or APM_TTA_DATA_ROOT" in said
    assert load_card("objectnet").get in said


def test_an_unknown_name_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "imagenet-d"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "unknown dataset 'imagenet-d'; there are: caltech101, " in said.err
    assert said.err.count("\n") == 1


def test_deep_decodes_every_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.repeat(np.arange(10), 200)
    np.save(tmp_path / "cifar10.1_v6_labels.npy", labels)
    np.save(tmp_path / "cifar10.1_v6_data.npy", np.zeros((2000, 32, 32, 3), np.uint8))
    assert main(["check", "cifar10.1", "--data-root", str(tmp_path), "--deep"]) == 0
    assert "all there" in capsys.readouterr().out


def test_the_sample_of_imagenet_passes_as_a_part(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """250 real images, one of every fourth class; every one is decoded."""
    root = shared / "data" / "imagenet-sample"
    if not root.is_dir():
        pytest.skip("the sample of ImageNet is not beside the checkout")
    for given in (root, root / "val"):
        assert main(["check", "imagenet-part", "--data-root", str(given), "--deep"]) == 0
        said = capsys.readouterr().out
        assert f"place: {root / 'val'}" in said
        assert "250 of the 1,000 classes, all of which can be predicted" in said
    assert main(["check", "imagenet", "--data-root", str(root)]) == 1
    assert "for any part of it use imagenet-part" in capsys.readouterr().out


def test_list_shows_every_data_set_aligned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "datasets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == card_names()
    for line, card in zip(lines, map(load_card, card_names()), strict=True):
        assert line.endswith(card.licence)
        assert f"  {card.title}  " in line
        assert f"{card.images or 'any':,} images" in line if card.images else "any images" in line
        assert ("  carried  " in line) == (card.name == "fashion-mnist")
        assert ("  needs --data-root  " in line) == (card.name != "fashion-mnist")
    assert len({line.index(" images  ") for line in lines}) == 1
    assert main(["list", "datasets", "--data-root", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("  not there  ") == len(lines) - 1
