"""``run-bench check`` and ``run-bench list datasets`` as typed by a user, on trees of the real size."""

from __future__ import annotations

import os
import re
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
    """Make ImageNet-V2's 10,000 files below a data root: one image per class, linked."""
    from PIL import Image

    root = tmp_path_factory.mktemp("data")
    place = root / "imagenet-v2-top-images" / "imagenetv2-top-images-format-val"
    for label in range(1000):
        (place / str(label)).mkdir(parents=True)
        first = place / str(label) / "0.jpeg"
        Image.new("RGB", (8, 8), "teal").save(first)
        for image in range(1, 10):
            os.link(first, first.with_name(f"{image}.jpeg"))
    return root


def test_a_correct_tree_of_the_real_size_passes(v2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "imagenet-v2-top-images", "--data-root", str(v2)]) == 0
    captured = capsys.readouterr()
    lines = [line.split() for line in captured.out.splitlines()]
    assert ["classes", "1,000", "1,000"] in lines
    assert ["images", "10,000", "10,000"] in lines
    assert ["images", "per", "class", "10", "10"] in lines
    assert captured.out.endswith("everything is as expected\n")
    assert captured.err == ""


def test_a_wrong_tree_ends_with_1_and_advice(v2: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = v2 / "imagenet-v2-top-images" / "imagenetv2-top-images-format-val"
    assert main(["check", "imagenet", "--data-root", str(place)]) == 1
    captured = capsys.readouterr()
    problems = captured.out[captured.out.index("problems:") : captured.out.index("how to get it:")].splitlines()
    assert "use imagenet-v2-matched-frequency or imagenet-v2-threshold-0.7 or imagenet-v2-top-images" in problems[1]
    assert load_card("imagenet").get in captured.out
    assert captured.err == f"run-bench: imagenet does not match its card: {len(problems) - 1} problems, listed above\n"


def test_a_data_root_from_the_environment_is_used(
    v2: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It does not affect data sets that the package carries."""
    monkeypatch.setenv("APM_TTA_DATA_ROOT", str(v2))
    assert main(["check", "imagenet-v2-top-images"]) == 0
    assert main(["check", "fashion-mnist", "--deep"]) == 0
    assert main(["check", "imagenet"]) == 1
    assert main(["list", "datasets"]) == 0
    shown = capsys.readouterr().out
    assert re.search("imagenet-v2-top-images +10,000 images  1,000 classes  found  ", shown)


def test_a_data_root_for_a_carried_data_set_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "fashion-mnist", "--data-root", str(tmp_path)]) == 2
    assert "is carried by the package; leave out --data-root" in capsys.readouterr().err


def test_without_a_data_root_the_output_states_how_to_name_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "objectnet"]) == 1
    captured = capsys.readouterr().out
    assert "no folder given: use --data-root FOLDER, or set APM_TTA_DATA_ROOT" in captured
    assert load_card("objectnet").get in captured


def test_an_unknown_name_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "imagenet-o"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "unknown dataset 'imagenet-o'; there are: imagenet-r, " in captured.err
    assert captured.err.count("\n") == 1


def test_deep_decodes_every_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.repeat(np.arange(10), 200)
    np.save(tmp_path / "cifar10.1_v6_labels.npy", labels)
    levels = labels.astype(np.uint8)[:, None, None, None]
    np.save(tmp_path / "cifar10.1_v6_data.npy", np.broadcast_to(levels, (2000, 32, 32, 3)))
    assert main(["check", "cifar10.1", "--data-root", str(tmp_path), "--deep"]) == 0
    assert "everything is as expected" in capsys.readouterr().out


def test_the_sample_of_imagenet_passes_as_imagenet_part(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It has 250 real images, one of every fourth class; all of them are decoded."""
    root = shared / "data" / "imagenet-sample"
    if not root.is_dir():
        pytest.skip("the sample of ImageNet is not beside the checkout")
    for given in (root, root / "val"):
        assert main(["check", "imagenet-part", "--data-root", str(given), "--deep"]) == 0
        captured = capsys.readouterr().out
        assert f"place: {root / 'val'}" in captured
        assert "250 of the 1,000 classes, all of which can be predicted" in captured
    assert main(["check", "imagenet", "--data-root", str(root)]) == 1
    assert "for any subset use imagenet-part" in capsys.readouterr().out


def test_list_shows_every_data_set_aligned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "datasets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == card_names()
    carried = ("fashion-mnist", "sklearn-digits")
    for line, card in zip(lines, map(load_card, card_names()), strict=True):
        assert line.endswith(card.licence)
        assert f"  {card.title}  " in line
        known = [number for number in card.domains.values() or [card.images] if number]
        counted = " .. ".join(f"{number:,}" for number in sorted({min(known), max(known)})) if known else "any"
        assert f" {counted} images  " in line
        assert ("  carried  " in line) == (card.name in carried)
        assert ("  needs --data-root  " in line) == (card.name not in carried)
    assert len({line.index(" images  ") for line in lines}) == 1
    assert main(["list", "datasets", "--data-root", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("  not found  ") == len(lines) - len(carried)
