"""A field's answers, the checkpoints that it loads, and the interpolation between two images."""

from __future__ import annotations

import csv
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from apm_tta.apm import APM, APMConfig
from apm_tta.apm.reference import reference_config
from apm_tta.cli import main
from apm_tta.data.unlabelled import one_image
from apm_tta.errors import UserError
from apm_tta.field.checkpoint import load_field
from apm_tta.field.field_answers import answer, column_of, true_colours
from apm_tta.field.pixels import ReleasedPixels

CPU = torch.device("cpu")
IMAGE = "fashion-mnist:test/00002"


def released(config: APMConfig, seed: int) -> tuple[APM, dict[str, Tensor]]:
    """Return a field, and its weights under the public pretrained checkpoint's names, without a global token."""
    apm = APM(config, torch.Generator().manual_seed(seed))
    own = apm.state_dict()
    layers = {"mlp.0": "fc1", "mlp.1": "fc2", "mlp.2": "fc3", "mlp.3": "fc4", "mlp.4": "fc5", "convolution": "conv1"}
    layers |= {"feature_head": "feat_proj_head"} | {f"rgb_head.{i}": f"rgb_head_{i + 1}" for i in range(3)}
    state = {f"{new}.{kind}": own[f"{old}.{kind}"] for old, new in layers.items() for kind in ("weight", "bias")}
    return apm, state


SEVEN_LAYERS = APMConfig(
    image_size=56, patch_size=14, hidden=(40, 40, 40, 32, 24), feature_dim=24, rgb_hidden=256, readout="mean"
)


def test_the_public_seven_layer_checkpoint_loads_by_its_own_names(tmp_path: Path) -> None:
    apm, state = released(SEVEN_LAYERS, 1)
    path = tmp_path / "model_15.pth"
    torch.save(state, path)
    field = load_field(path, CPU)
    assert field.apm.config == SEVEN_LAYERS
    assert field.settings is None
    image = one_image(IMAGE).read()
    answers = answer(field, column_of(field, image))
    with torch.no_grad():
        expected = apm(ReleasedPixels(SEVEN_LAYERS).prepare(image)[None])
    torch.testing.assert_close(answers.grid, expected.grid[0])
    torch.testing.assert_close(answers.rgb, expected.rgb[0].permute(1, 2, 0).flip(-1))


def test_the_published_sizes_are_read_off_the_shapes(reference: ModuleType) -> None:
    assert reference_config(reference.reference_state_dict(1)) == APMConfig()


def test_released_pixels_are_stretched_blue_green_red_as_opencv_reads_them(tmp_path: Path) -> None:
    """Compare with the same steps on the file itself, by OpenCV alone."""
    image = Image.effect_mandelbrot((90, 60), (-2, -1, 1, 1), 60).convert("RGB")
    image.putpixel((3, 4), (10, 200, 77))
    image.save(tmp_path / "image.png")
    pixels = ReleasedPixels(SEVEN_LAYERS)
    array = cv2.resize(cv2.imread(str(tmp_path / "image.png")), (56, 56))  # type: ignore[arg-type]
    expected = (array - array.min()) / (array.max() - array.min())
    prepared = pixels.prepare(image)
    np.testing.assert_allclose(prepared.permute(1, 2, 0).numpy(), expected, atol=1e-6)
    colours = pixels.to_rgb(pixels.target_colours(prepared[None], SEVEN_LAYERS.patch_size))[0, 5]
    np.testing.assert_allclose(colours.numpy(), expected[14:28, 14:28, ::-1].mean((0, 1)), atol=1e-6)
    assert pixels.prepare(Image.new("RGB", (9, 9), "red")).isfinite().all()


def test_checkpoints_that_cannot_be_used_are_refused_in_one_line(checkpoint: Path, tmp_path: Path) -> None:
    _, state = released(SEVEN_LAYERS, 1)

    def refused(content: dict[str, Tensor], message: str) -> None:
        path = tmp_path / "field.pth"
        torch.save(content, path)
        with pytest.raises(UserError, match=message) as error:
            load_field(path, CPU)
        assert "\n" not in str(error.value)

    refused({"weight": torch.zeros(3)}, "neither a checkpoint of run-bench train-field nor a released APM")
    refused({**state, "fc2.weight": torch.zeros(8, 8)}, r"mlp.1.weight is \(8, 8\), not \(8, 40\)")
    refused({**state, "fc1.weight": torch.zeros(40, 30)}, "15 for the column, which is not a square grid")
    refused({**state, "little_query": torch.zeros(24)}, "missing")
    tensors = load_file(checkpoint)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(UserError, match="is no safetensors file"):
        load_field(cut, CPU)
    from safetensors import safe_open

    with safe_open(checkpoint, "pt") as file:
        metadata = file.metadata()
    wrong = tmp_path / "wrong.safetensors"
    save_file({**tensors, "apm.mlp.1.weight": torch.zeros(3, 3)}, wrong, metadata)
    with pytest.raises(UserError, match=r"is damaged \(apm.mlp.1.weight is of another shape\)"):
        load_field(wrong, CPU)


def test_answers_do_not_depend_on_the_chunk(checkpoint: Path) -> None:
    field = load_field(checkpoint, CPU)
    column = column_of(field, one_image(IMAGE).read())
    whole, one_by_one = answer(field, column), answer(field, column, 1)
    torch.testing.assert_close(whole.grid, one_by_one.grid, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(whole.rgb, one_by_one.rgb, rtol=1e-5, atol=1e-5)


def test_the_command_prints_what_its_files_say(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["field", IMAGE, "--checkpoint", str(checkpoint), "--out", str(tmp_path), "--animation", "webp"]
    assert main(words) == 0
    output = capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"field.png", "field.webp", "field.csv"}
    with (tmp_path / "field.csv").open(newline="") as file:
        ours, teacher = csv.DictReader(file)
    assert f"{float(ours['cosine']):.3f}" in output
    assert (teacher["cosine"], teacher["mse"]) == ("1", "0")
    field, image = load_field(checkpoint, CPU), one_image(IMAGE).read()
    error = (answer(field, column_of(field, image)).rgb - true_colours(field, image)).square().mean().item()
    assert float(ours["rgb mse"]) == pytest.approx(error, rel=1e-4)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--teacher", "embedded", "--layer", "7"], "there is no layer 7"),
        (["--teacher", "nowhere"], "unknown teacher 'nowhere'"),
    ],
)
def test_a_comparison_that_cannot_be_made_is_refused(
    words: list[str], message: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["field", IMAGE, "--checkpoint", str(checkpoint), "--out", str(tmp_path), *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_teacher_of_another_width_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.pth"
    torch.save(released(SEVEN_LAYERS, 1)[1], path)
    words = ["field", IMAGE, "--checkpoint", str(path), "--out", str(tmp_path)]
    assert main([*words, "--teacher", "embedded"]) == 2
    assert (
        "the field answers with 24 numbers per location, layer -1 of teacher embedded with 128"
        in capsys.readouterr().err
    )
    assert main(words) == 0  # a released checkpoint does not name its teacher: nothing is compared
    assert "cosine" not in capsys.readouterr().out.splitlines()[2]


def test_an_image_turns_into_another(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["interpolate", IMAGE, "fashion-mnist:test/00000", "--checkpoint", str(checkpoint), "--out", str(tmp_path)]
    assert main([*words, "--steps", "7"]) == 0
    capsys.readouterr()
    with (tmp_path / "interpolation.csv").open(newline="") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    assert len(rows) == 7
    to_a, to_b = [row["cosine to A"] for row in rows], [row["cosine to B"] for row in rows]
    assert to_a[0] == pytest.approx(1, abs=1e-5) == to_b[-1]
    assert to_a == sorted(to_a, reverse=True)
    assert to_b == sorted(to_b)
    assert rows[0]["rgb mse to A"] == rows[-1]["rgb mse to B"] == 0
    field = load_field(checkpoint, CPU)
    one, other = (column_of(field, one_image(name).read()) for name in (IMAGE, "fashion-mnist:test/00000"))
    middle = answer(field, (one + other) / 2).grid
    cosine = torch.nn.functional.cosine_similarity(middle, answer(field, one).grid, dim=-1).mean().item()
    assert rows[3]["cosine to A"] == pytest.approx(cosine, abs=1e-5)
    with Image.open(tmp_path / "interpolation.gif") as picture:
        assert picture.n_frames == 12  # type: ignore[attr-defined]  forth and back


def test_a_field_is_asked_between_its_locations(checkpoint: Path, tmp_path: Path) -> None:
    """Four places in every cell, in the middle of its quarters: their colours are compared with the image's there."""
    words = ["field", IMAGE, "--checkpoint", str(checkpoint), "--animation", "none", "--colours", "pca"]
    for way in ("field", "bilinear"):
        assert main([*words, "--resolution", "16", "--fine", way, "--out", str(tmp_path / way)]) == 0
    tables = [(tmp_path / way / "field.csv").read_text().splitlines() for way in ("field", "bilinear")]
    assert tables[0] != tables[1]
    assert all(",16 x 16," in line for table in tables for line in table[1:])
    field = load_field(checkpoint, torch.device("cpu"))
    column = column_of(field, one_image(IMAGE).read())
    fine = answer(field, column, factor=2)
    centres = torch.tensor([[3.25, 4.75]])
    torch.testing.assert_close(fine.grid[7, 10], field.apm.query(column, centres)[0, 0, : field.width])
    colours = field.apm.colours(column, field.apm.query(column, centres), centres)[0, 0]
    torch.testing.assert_close(fine.rgb[7, 10], field.pixels.to_rgb(colours))


def test_a_resolution_beyond_the_pixels_of_a_field_is_refused(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["field", IMAGE, "--checkpoint", str(checkpoint), "--out", str(tmp_path), "--resolution"]
    assert main([*words, "24"]) == 2
    assert "the field's image has 32 pixels per side: --resolution has to divide that" in capsys.readouterr().err
    assert main([*words, "20"]) == 2
    assert "--resolution 20 is no multiple of a grid of 8 x 8" in capsys.readouterr().err
