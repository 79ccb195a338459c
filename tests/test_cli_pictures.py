"""The drawing commands as typed: their files, their numbers, and one line for every mistake."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.models.video import mvit_v2_s

from apm_tta.cli import main
from apm_tta.commands.field import train_field_command
from apm_tta.field.settings import Schedule
from apm_tta.teachers import FAMILIES, Teacher
from apm_tta.teachers.base import Source
from apm_tta.teachers.grids import Grids

IMAGE = "fashion-mnist:test/00000"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_islands_of_a_fresh_apm_are_the_same_files_every_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the threads, and whatever an earlier call left there."""
    words = ["islands", IMAGE, "--iterations", "20", "--every", "20"]
    assert main([*words, "--out", str(tmp_path / "b"), "--seed", "1", "--animation", "none"]) == 0
    other = (tmp_path / "b" / "islands.png").read_bytes()
    capsys.readouterr()
    before = torch.get_num_threads()
    for name, threads in (("a", 1), ("b", 2)):
        torch.set_num_threads(threads)
        assert main([*words, "--out", str(tmp_path / name)]) == 0
    torch.set_num_threads(before)
    output = capsys.readouterr().out
    names = {"islands.png", "islands.gif", "islands.csv", "fit.csv"}
    assert {path.name for path in (tmp_path / "a").iterdir()} == names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert (tmp_path / "a" / "islands.png").read_bytes() != other
    rows, fitted = rows_of(tmp_path / "a" / "islands.csv"), rows_of(tmp_path / "a" / "fit.csv")
    assert [row["of"] for row in rows] == ["iteration 0", "iteration 20"]
    assert [int(row["iteration"]) for row in fitted] == list(range(21))
    assert [row["loss"] for row in rows] == [fitted[at]["loss"] for at in (0, 20)]
    assert float(fitted[20]["cosine"]) > float(fitted[0]["cosine"]) + 0.5
    assert f"| {float(rows[1]['cosine']):8.3f} |" in output
    with Image.open(tmp_path / "a" / "islands.gif") as animation:
        assert animation.n_frames == 2  # type: ignore[attr-defined]


def test_levels_of_one_image_and_the_claim_over_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["islands", IMAGE, "--levels", "0,3", "--out", str(tmp_path / "one"), "--animation", "none"]) == 0
    assert [row["of"] for row in rows_of(tmp_path / "one" / "levels.csv")] == ["level 0", "level 3"]
    assert {path.name for path in (tmp_path / "one").iterdir()} == {"levels.png", "levels.csv", "agreement.png"}
    capsys.readouterr()
    words = ["islands", "fashion-mnist", "--levels", "all", "--limit", "30", "--out", str(tmp_path / "many")]
    assert main(words) == 0
    output = capsys.readouterr().out
    each, growth = rows_of(tmp_path / "many" / "levels.csv"), rows_of(tmp_path / "many" / "growth.csv")
    assert len(each) == 30 * 4
    assert [row["with the level"] for row in growth] == ["neighbours", "any two", "beyond", "islands"]
    by_image: dict[str, list[float]] = {}
    for row in each:
        by_image.setdefault(row["image"], []).append(float(row["neighbours"]))
    change = sum(values[-1] - values[0] for values in by_image.values()) / 30
    assert growth[0]["last - first (95 % interval)"].startswith(f"{change:.3f} (")
    assert growth[0]["verdict"] in output


def test_a_convolutional_teacher_s_stages_on_real_photographs(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = shared / "weights" / "tf_efficientnet_lite0.safetensors"
    photographs = shared / "data" / "imagenet-sample" / "val"
    teacher = f"timm:tf_efficientnet_lite0.in1k:{weights}"
    words = ["islands", str(photographs), "--teacher", teacher, "--levels", "3,4", "--limit", "5"]
    assert main([*words, "--out", str(tmp_path)]) == 0
    rows = rows_of(tmp_path / "levels.csv")
    assert len(rows) == 10
    assert all(float(row["neighbours"]) > float(row["any two"]) for row in rows)
    assert "The levels have grids of 14 x 14, 7 x 7" in capsys.readouterr().out


def test_a_video_in_which_nothing_happens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Use a real checkpoint of torchvision's model, with random weights."""
    weights, out = tmp_path / "mvit.safetensors", tmp_path / "out"
    save_file(mvit_v2_s().state_dict(), weights)
    words = ["video", IMAGE, "--weights", str(weights), "--frames", "4", "--out", str(out)]
    assert main([*words, "--block", "14,15", "--frame", "1"]) == 0
    assert "4 frames of one image through mvit_v2_s" in capsys.readouterr().out
    assert [(row["of"], row["grid"]) for row in rows_of(out / "video.csv")] == [
        ("block 14", "7 x 7"),
        ("block 15", "7 x 7"),
    ]
    assert {path.name for path in out.iterdir()} == {"video.png", "video.gif", "video.csv"}
    assert main([*words, "--frame", "2"]) == 2
    assert "the tokens have frames 0 to 1; there is no frame 2" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--levels", "0,3", "--fine", "stride"], ["--iterations", "1", "--fine", "field"]])
def test_a_finer_resolution_is_in_the_title_and_in_the_numbers(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--animation", "none", "--out", str(tmp_path)]
    assert main(["islands", IMAGE, *words, "--resolution", "40" if "--levels" not in words else "16", *out]) == 0
    side = "16" if "--levels" in words else "40"
    assert f", {side} x {side} by {words[-1]}" in capsys.readouterr().out
    (table,) = (path for path in tmp_path.glob("*.csv") if path.stem in ("levels", "islands"))
    rows = rows_of(table)
    assert {row["grid"] for row in rows} == {f"{side} x {side}"}
    # More than 32 locations per side are drawn by their principal components alone.
    assert ("1-D t-SNE: trust" in rows[0]) == (side == "16")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["islands", "nowhere.png"], 1, "there is no image file nowhere.png"),
        (["islands", "fashion-mnist"], 2, "is a folder: name one image, or test its images with --levels all"),
        (["islands", IMAGE, "--levels", "0,9"], 2, "teacher embedded has layers 0 to 3; there is no layer 9"),
        (["islands", IMAGE, "--target", "grid", "--layer", "5"], 2, "there is no layer 5"),
        (["islands", IMAGE, "--levels", "x"], 2, "'x' is not a list of layers"),
        (["islands", IMAGE, "--teacher", "nobody"], 2, "unknown teacher 'nobody'"),
        (["islands", IMAGE, "--levels", "3", "--resolution", "30"], 2, "is no multiple of a grid of 8 x 8"),
        (["islands", IMAGE, "--levels", "3", "--fine", "field"], 2, "--fine field is not for the layers of teacher"),
        (
            ["islands", IMAGE, "--resolution", "16", "--fine", "stride"],
            2,
            "--fine stride is not for the features of an",
        ),
        (["islands", IMAGE, "--levels", "3", "--resolution", "64", "--colours", "all"], 2, "choose --colours pca"),
        (["video", IMAGE, "--weights", "nowhere"], 2, "no such name, no such file"),
        (["field", IMAGE, "--checkpoint", "nowhere"], 1, "there is no checkpoint nowhere"),
        (["interpolate", IMAGE, "nowhere", "--checkpoint", "nowhere"], 1, "there is no image file nowhere"),
        (["train-field", "--data", "nowhere"], 1, "there is no folder nowhere"),
        (["train-field", "--layer", "4"], 2, "there is no layer 4"),
        (["train-field", "--hidden", "12,x"], 2, "'12,x' is not a list of widths"),
    ],
)
def test_mistakes_get_one_line(
    words: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--out", str(tmp_path / "out")]) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("words", [["islands", IMAGE], ["train-field", "--data", "fashion-mnist"]])
def test_pictures_are_not_written_among_images(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    (tmp_path / "islands.png").touch()
    assert main([*words, "--out", str(tmp_path)]) == 1
    assert f"{tmp_path} holds images of others (1.png)" in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 2


def test_an_unreadable_image_gets_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    assert main(["islands", str(tmp_path / "broken.jpg"), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "broken.jpg is not a readable image" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_help_of_train_field_states_the_actual_defaults() -> None:
    options = {
        option.name: str(getattr(option, "help", ""))
        for option in train_field_command.params
        if not getattr(option, "is_flag", False)
    }
    defaults = {
        name: field.default
        for name, field in Schedule.model_fields.items()
        if name in options and not field.is_required()
    }
    assert len(defaults) == 6
    for name, default in defaults.items():
        assert options[name].endswith(f"[default: {default}]"), name


def test_levels_count_from_either_end_and_appear_once_each_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["islands", IMAGE, "--levels", "3,-4,-1,0", "--animation", "none", "--out", str(tmp_path)]
    assert main(words) == 0
    capsys.readouterr()
    assert [row["of"] for row in rows_of(tmp_path / "levels.csv")] == ["level 0", "level 3"]


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    out = tmp_path / "file" / "below"
    assert main(["islands", IMAGE, "--iterations", "100000", "--out", str(out)]) == 1
    assert f"{out} cannot be written: {tmp_path / 'file'} is not a writable folder" in capsys.readouterr().err


@pytest.fixture
def tokenless() -> Iterator[str]:
    """Register a teacher, as another package may, whose image tower exposes no layers."""

    def family(name: str, classifier: str) -> Source:
        plain = FAMILIES.get("embedded")("embedded", classifier)

        def build(device: torch.device) -> Teacher:
            teacher: Any = plain.build(device)
            teacher._grids = Grids(name, None, torch.zeros(1, 3, 32, 32))
            return teacher  # type: ignore[no-any-return]

        return replace(plain, name=name, build=build)

    FAMILIES.register("tokenless")(family)
    yield "tokenless"
    del FAMILIES._entries["tokenless"]


@pytest.mark.parametrize("words", [["islands", IMAGE, "--levels", "all"], ["islands", IMAGE, "--target", "grid"]])
def test_a_teacher_without_patch_tokens_is_refused(
    words: list[str], tokenless: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (words, ["train-field"]):
        assert main([*command, "--teacher", tokenless, "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err
        assert "teacher tokenless gives no tokens by location; choose a ViT" in error
        assert error.count("\n") == 1


def test_an_animation_of_an_earlier_call_does_not_stay_beside_a_new_picture(tmp_path: Path) -> None:
    """It would be taken for that of the picture; files of other names are not of this program."""
    words = ["islands", IMAGE, "--levels", "0,3", "--colours", "pca", "--out", str(tmp_path), "--animation"]
    (tmp_path / "notes.gif.txt").write_text("mine")
    for kind, expected in (("gif", {".gif"}), ("webp", {".webp"}), ("none", set())):
        assert main([*words, kind]) == 0
        assert {path.suffix for path in tmp_path.glob("levels.*")} == {".png", ".csv", *expected}
    assert (tmp_path / "notes.gif.txt").exists()
