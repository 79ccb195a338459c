"""A field learns, its checkpoints hold all of it, and a killed training ends with the same weights as any other."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn.functional import cosine_similarity

from apm_tta.apm import APM, APMConfig
from apm_tta.cli import main
from apm_tta.data.unlabelled import all_images, one_image
from apm_tta.field.checkpoint import fold, load_field
from apm_tta.field.fastest_precision import fastest_precision
from apm_tta.field.field_answers import answer, column_of, teacher_grid
from apm_tta.field.samples import Samples, split, view_of
from apm_tta.field.settings import Schedule, schedule_for
from apm_tta.field.training import learning_rate_at, target_scale
from apm_tta.teachers import Teacher

FLOAT32: dict[str, Any] = {"precision": "float32"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write forty real images as files; return their folder."""
    images = tmp_path / "images"
    images.mkdir()
    for index, image in enumerate(all_images("fashion-mnist")[:40]):
        image.read().save(images / f"{index:02d}.png")
    return images


def rows_of(checkpoint: Path) -> list[dict[str, str]]:
    with (checkpoint.parent / "epochs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_it_learns_more_than_an_answer_that_ignores_the_image(
    words: list[str], checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = rows_of(checkpoint)
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    cosines = [float(row["validation cosine"]) for row in rows]
    assert cosines == sorted(cosines)
    assert main([*words, "--out", str(checkpoint.parent)]) == 0  # already complete: it prints the result
    output = capsys.readouterr().out
    baseline = float(output.partition("ignores the image: ")[2].partition(". ")[0])
    assert 0.4 < baseline < cosines[-1]
    assert float(rows[-1]["validation mse"]) < float(rows[0]["validation mse"])
    assert {path.name for path in checkpoint.parent.iterdir()} >= {"curve.png", "settings.json", "field.safetensors"}


def test_the_loaded_field_has_the_validation_cosine_that_was_recorded(
    checkpoint: Path, embedded_teacher: Teacher
) -> None:
    """Compute it from the file alone, image by image, by another path than the training's."""
    field = load_field(checkpoint, torch.device("cpu"))
    _, held_out = split(all_images("fashion-mnist"))
    assert field.held_out == {image.id for image in held_out}
    cosines = []
    for image in held_out:
        pixels = image.read()
        grid = answer(field, column_of(field, pixels)).grid
        cosines.append(cosine_similarity(grid, teacher_grid(field, embedded_teacher, 3, pixels), dim=-1).mean())
    recorded = float(rows_of(checkpoint)[-1]["validation cosine"])
    assert torch.stack(cosines).mean().item() == pytest.approx(recorded, abs=1e-5)


def test_a_training_that_is_killed_again_and_again_ends_with_the_same_weights(
    words: list[str], folder: Path, tmp_path: Path, start: Callable[..., BaseProcess]
) -> None:
    """Run real processes, killed without warning after another epoch."""
    command = [*words, "--data", str(folder), "--epochs", "60"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    uninterrupted = start([*command, "--out", str(whole)])
    uninterrupted.join()
    assert uninterrupted.exitcode == 0
    kills, finished = 0, False
    while not finished:
        process = start([*command, "--out", str(killed)])
        path = killed / "field.safetensors"
        before = path.stat().st_mtime_ns if path.exists() else None
        while process.is_alive() and kills < 2:
            if path.exists() and path.stat().st_mtime_ns != before:
                process.kill()
                kills += 1
                break
            time.sleep(0.005)
        process.join()
        finished = process.exitcode == 0
    assert kills == 2
    one, other = (load_file(folder / "field.safetensors") for folder in (whole, killed))
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_ctrl_c_says_how_to_resume(
    words: list[str], folder: Path, tmp_path: Path, start: Callable[..., BaseProcess]
) -> None:
    out, errors = tmp_path / "out", tmp_path / "errors"
    process = start([*words, "--data", str(folder), "--epochs", "100000", "--out", str(out)], errors)
    while not (out / "field.safetensors").exists():
        assert process.is_alive()
        time.sleep(0.01)
    os.kill(process.pid or 0, signal.SIGINT)
    process.join()
    assert process.exitcode == 130
    assert errors.read_text().strip().splitlines()[-1].endswith(f"rerun the same command with --out {out} to resume")


def test_another_training_in_the_folder_is_refused_by_field(
    words: list[str], checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(checkpoint, tmp_path / checkpoint.name)
    assert main([*words, "--out", str(tmp_path), "--seed", "1", "--layer", "0"]) == 1
    error = capsys.readouterr().err
    assert "schedule.layer: 3 there, 0 now" in error
    assert "schedule.seed: 0 there, 1 now" in error
    assert error.count("\n") == 1


def test_a_folder_of_files_and_another_layer(
    words: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    more = ["--data", str(folder), "--layer", "-3", "--views", "3", "--locations", "0", "--precision", "bfloat16"]
    more += ["--out", str(out)]
    assert main([*words, *more]) == 0
    capsys.readouterr()
    settings = json.loads((out / "settings.json").read_text())
    assert (settings["training_images"], settings["validation_images"]) == (36, 4)
    assert settings["schedule"]["layer"] == 1
    (folder / "07.png").write_bytes(b"no image")
    assert main([*words, *more, "--out", str(tmp_path / "other")]) == 1
    assert "07.png is not a readable image" in capsys.readouterr().err


def test_samples_are_the_same_whether_they_are_kept_or_not(embedded_teacher: Teacher) -> None:
    images = all_images("fashion-mnist")[:10]
    config = APMConfig(image_size=32, patch_size=4, hidden=(8,), feature_dim=128)
    kept, computed = (Samples(images, embedded_teacher, 2, config, 3, 0) for _ in range(2))
    assert kept.keep(lambda batches: batches)
    assert len(kept) == 30
    for one, other in zip(kept.get([29, 0, 13]), computed.get([29, 0, 13]), strict=True):
        torch.testing.assert_close(one, other)


def test_views_are_seeded_crops_and_the_first_is_the_image() -> None:
    image = one_image("fashion-mnist:test/00004").read()
    assert view_of(image, "id", 0, 0) is image
    sizes = set()
    for view in range(1, 20):
        crop = view_of(image, "id", view, 0)
        assert crop.tobytes() == view_of(image, "id", view, 0).tobytes()
        assert 0.6 * 28 * 28 <= crop.width * crop.height <= 28 * 28
        sizes.add(crop.size)
    assert len(sizes) > 5
    assert view_of(image, "id", 1, 0).tobytes() != view_of(image, "id", 1, 1).tobytes()


def test_one_in_ten_is_held_out_whatever_the_order() -> None:
    images = all_images("fashion-mnist")[:95]
    training, held_out = split(images)
    assert (len(training), len(held_out)) == (85, 10)
    _, again = split(images[::-1])
    assert {image.id for image in again} == {image.id for image in held_out}
    with pytest.raises(ValueError, match="1 image cannot be split"):
        split(images[:1])


def test_folding_the_scale_into_the_weights_changes_no_answer() -> None:
    config = APMConfig(image_size=16, patch_size=4, hidden=(32, 24), feature_dim=24, rgb_hidden=8, readout="mean")
    apm = APM(config)
    apm.initialise(torch.Generator().manual_seed(0))
    apm.double()
    generator = torch.Generator().manual_seed(1)
    mean, std = torch.randn(24, generator=generator).double(), torch.rand(24, generator=generator).double() + 0.5
    images, everywhere = torch.randn(2, 3, 16, 16, generator=generator).double(), torch.arange(16)
    with torch.no_grad():
        column = apm.column(images)
        standardised = apm.query(column, everywhere)
        colours = apm.colours(column, standardised, everywhere)
        fold(apm, mean, std)
        features = apm.query(column, everywhere)
        torch.testing.assert_close(features, standardised * std + mean)
        torch.testing.assert_close(apm.colours(column, features, everywhere), colours)
    assert colours.std() > 0


def test_the_scale_is_that_of_the_training_targets_alone(embedded_teacher: Teacher) -> None:
    config = APMConfig(image_size=32, patch_size=4, hidden=(8,), feature_dim=136)
    samples = Samples(all_images("fashion-mnist")[:12], embedded_teacher, 3, config, 1, 0)
    mean, std = target_scale(samples)
    targets = samples.get(range(12)).tokens.flatten(0, 1)
    torch.testing.assert_close(mean, targets.mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(std[:128], targets.std(0, correction=0)[:128], rtol=1e-4, atol=1e-5)
    assert torch.equal(std[128:], torch.ones(8)), "channels that only pad the width"


def test_defaults_suit_the_sizes() -> None:
    small = APMConfig(image_size=32, patch_size=4, hidden=(1024, 512), feature_dim=128)
    assert schedule_for(small, 3, FLOAT32) == Schedule(layer=3, learning_rate=3e-3, locations=8, **FLOAT32)
    assert schedule_for(APMConfig(), 3, {"seed": 4, **FLOAT32}) == Schedule(
        layer=3, learning_rate=1e-4, locations=128, seed=4, **FLOAT32
    )
    chosen = {"locations": 0, "learning_rate": 0.5, **FLOAT32}
    assert schedule_for(small, 1, chosen) == Schedule(layer=1, learning_rate=0.5, locations=64, **FLOAT32)


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    schedule = Schedule(layer=0, learning_rate=1.0, locations=8, **FLOAT32)
    rates = [learning_rate_at(schedule, step, 1000) for step in range(1000)]
    assert rates[19] == 1.0
    assert rates[:20] == sorted(rates[:20])
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert 0 < rates[-1] < 1e-4


def test_fresh_layers_are_uniform_within_one_over_the_root_of_their_inputs() -> None:
    apm = APM(APMConfig(image_size=32, patch_size=4, hidden=(256, 128), feature_dim=64))
    apm.initialise(torch.Generator().manual_seed(0))
    weight = apm.mlp[1].weight
    assert isinstance(weight, torch.Tensor)
    assert weight.abs().max().item() == pytest.approx(256**-0.5, rel=1e-3)
    assert weight.std().item() == pytest.approx(256**-0.5 / 3**0.5, rel=0.02)
    assert torch.equal(apm.state_dict()["rgb_head.2.bias"], torch.full((3,), 0.5))


def test_the_colours_learn_images_of_one_colour(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Use forty images of one colour each: a field that sees no more than a column decodes them."""
    folder = tmp_path / "plain"
    folder.mkdir()
    for index in range(40):
        shade = (6 * index, 255 - 6 * index, 128)
        Image.new("RGB", (32, 32), shade).save(folder / f"{index:02d}.png")
    out = tmp_path / "out"
    more = ["--data", str(folder), "--epochs", "30", "--rgb-weight", "20", "--locations", "0", "--out", str(out)]
    assert main([*words, *more]) == 0
    capsys.readouterr()
    rows = rows_of(out / "field.safetensors")
    assert float(rows[-1]["validation rgb mse"]) < 0.05 * float(rows[0]["validation rgb mse"])


def test_precision_auto_is_recorded_and_kept_when_a_training_resumes(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is faster differs by machine: resumed on another one, a training goes on in the type that it began with."""
    auto = [*words, "--precision", "auto", "--epochs", "2", "--limit", "64", "--out", str(tmp_path)]
    measured: Any = lambda _device: ("bfloat16", {"bfloat16": 1.0, "float32": 4.0})  # noqa: E731
    monkeypatch.setattr("apm_tta.field.train_field.fastest_precision", measured)
    assert main(auto) == 0
    assert "precision auto: bfloat16, whose product takes 1/4.0 of the time of float32" in capsys.readouterr().err
    assert json.loads((tmp_path / "settings.json").read_text())["schedule"]["precision"] == "bfloat16"
    monkeypatch.setattr("apm_tta.field.train_field.fastest_precision", lambda _device: pytest.fail("measured again"))
    assert main(auto) == 0
    assert main([*auto, "--precision", "float32"]) == 1
    assert "schedule.precision: bfloat16 there, float32 now" in capsys.readouterr().err


def test_the_faster_precision_is_the_one_whose_product_took_less(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**6))
    monkeypatch.setattr("apm_tta.field.fastest_precision.time.perf_counter", lambda: float(next(clock)))
    chosen, seconds = fastest_precision(torch.device("cpu"))
    assert seconds == {"float32": 1.0, "bfloat16": 1.0}
    assert chosen == "float32"
    times = {torch.float32: 4.0, torch.bfloat16: 3.0}
    monkeypatch.setattr("apm_tta.field.fastest_precision._timed", lambda factor: times[factor.dtype])
    assert fastest_precision(torch.device("cpu"))[0] == "bfloat16"
