"""Runs on one's own files: they are read as a viewer shows them, corrupted at a stated size, and the run says so."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from apm_tta.cli import main
from apm_tta.data.dataset import open_dataset
from apm_tta.data.sample import CLEAN

NAMES = {1: "Trouser", 3: "Dress", 7: "Sneaker", 9: "Ankle boot"}


def pictures() -> dict[str, Image.Image]:
    """Return two real images of each of four classes, by the path that they are to have."""
    dataset, found = open_dataset("fashion-mnist"), dict[str, Image.Image]()
    for entry in dataset.entries(CLEAN):
        name = NAMES.get(entry.label)
        path = next((f"{name}/{number}" for number in range(2) if f"{name}/{number}" not in found), None)
        if name and path:
            found[path] = dataset.read(entry, CLEAN).image.resize((112, 112), Image.Resampling.BICUBIC)
    return found


def run(root: Path, *words: str) -> tuple[dict[str, tuple[str, float]], dict[str, object]]:
    """Run ``zeroshot`` over the folder; return results by condition, and what the manifest says of the data."""
    out = root.with_name(f"run-{root.name}")
    words = ("folder", "--teacher", "embedded", "--methods", "zeroshot", "--data-root", str(root), *words)
    assert main([*words, "--out", str(out), "--quiet"]) == 0
    with (out / "results.csv").open(encoding="utf-8") as file:
        rows = {row["corruption"]: (row["n"], float(row["top1"])) for row in csv.DictReader(file)}
    return rows, yaml.safe_load((out / "run.yaml").read_text(encoding="utf-8"))["numbers"]["dataset"]


def save(root: Path, path: str, image: Image.Image, **options: object) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    image.save(root / f"{path}.png", **options)


def test_photographs_on_their_side_and_pictures_of_16_bits_get_the_answers_of_plain_ones(tmp_path: Path) -> None:
    tagged = Image.Exif()
    tagged[0x0112] = 8
    for path, image in pictures().items():
        save(tmp_path / "plain", path, image)
        save(tmp_path / "turned", path, image.transpose(Image.Transpose.ROTATE_270), exif=tagged)
        deep = np.asarray(image.convert("L")).astype(np.uint16) * 257
        save(tmp_path / "deep", path, Image.fromarray(deep))
    rows, said = run(tmp_path / "plain")
    assert rows["clean"][1] > 80
    assert (said["reading"], said["corruption_frame"]) == ("as a viewer shows", None)
    assert run(tmp_path / "turned")[0] == run(tmp_path / "deep")[0] == rows


def test_the_size_at_which_a_folder_is_corrupted_is_stated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path, image in pictures().items():
        save(tmp_path / "small", path, image)
        save(tmp_path / "large", path, image.resize((448, 448), Image.Resampling.BICUBIC))
    corrupted = ("--corruptions", "contrast", "--severities", "1")
    rows, said = run(tmp_path / "small", *corrupted)
    frame = "224 x 224 from the middle, the shorter side at 256 (bilinear)"
    assert said["corruption_frame"] == frame
    assert f"authors of ImageNet-C, on images of {frame}, applied as images were read" in capsys.readouterr().out
    assert run(tmp_path / "large", *corrupted)[0]["contrast"] == rows["contrast"]


def test_a_run_says_what_it_does_not_use_and_what_is_no_name(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    for path, image in pictures().items():
        save(root, path.replace("Ankle boot", "n01440764"), image)
        save(root, path.replace("Ankle boot", "n01440764").replace("/", "/more/"), image)
    run(root)
    notes = (tmp_path / "run-tree" / "results.md").read_text(encoding="utf-8")
    log = (tmp_path / "run-tree" / "run.log").read_text(encoding="utf-8")
    for said in (
        f"8 files below {root} are not used: 8 in folders below a class folder (Dress/more/0.png)",
        "1 class is named by an identifier, of which no prompt can be made (n01440764): for ImageNet's synsets use",
    ):
        assert said in notes
        assert said in log
