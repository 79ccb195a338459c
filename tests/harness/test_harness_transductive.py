"""A transductive method answers all images of a condition together, from their features, once and resumably."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from cells import Notebook, mine
from PIL import Image
from torch.nn.functional import normalize

import apm_tta
from apm_tta.cli import main
from apm_tta.data.dataset import open_dataset
from apm_tta.data.sample import CLEAN
from apm_tta.methods import build_parameters
from apm_tta.methods.transclip import assigned
from apm_tta.teachers import Teacher

WORDS = ["demo", "--teacher", "embedded", "--limit", "40", "--corruptions", "contrast", "--severities", "5", "--quiet"]
WORDS += ["--methods"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run with a shard size and a batch size that are smaller than the set."""
    run = tmp_path_factory.mktemp("transductive") / "run"
    words = [*WORDS, "zeroshot,transclip", "--shard-size", "10", "--batch-size", "7", "--out", str(run)]
    assert main(words) == 0
    return run


def table(run: Path, condition: str = "clean") -> pa.Table:
    (file,) = (run / "records" / "transclip" / condition).glob("*.parquet")
    assert file.name == "transductive-seed-0-shard-00000.parquet"
    return pq.read_table(file)


def test_all_images_are_answered_together_whatever_the_batches(finished: Path, embedded_teacher: Teacher) -> None:
    dataset = open_dataset("fashion-mnist", limit=40)
    entries = dataset.entries(CLEAN)
    pixels = torch.stack([embedded_teacher.preprocess(dataset.read(entry, CLEAN).image) for entry in entries])
    weights = embedded_teacher.class_weights(dataset.classes, [dataset.card.template])
    with torch.no_grad():
        unit = normalize(embedded_teacher.encode_image(pixels), dim=-1)
        logits = embedded_teacher.logit_scale * unit @ weights.T
        chosen: Any = build_parameters("transclip", {})
        expected = assigned(unit, logits, weights, chosen)
    recorded = table(finished)
    assert recorded["id"].to_pylist() == [entry.id for entry in entries]
    assert recorded["prediction"].to_pylist() == expected.argmax(1).tolist()
    np.testing.assert_allclose(recorded["confidence"].to_numpy(), expected.amax(1).numpy(), atol=1e-4)


def test_it_can_answer_otherwise_than_the_teacher_and_the_table_says_so(finished: Path) -> None:
    shown = (finished / "results.md").read_text(encoding="utf-8")
    assert "protocol: episodic, transductive" in shown
    assert "| transductive |" in shown
    hard = table(finished, "contrast-5")
    assert hard["prediction"].to_pylist() != hard["teacher_prediction"].to_pylist()


def test_a_condition_that_is_lost_is_answered_again_and_alike(finished: Path) -> None:
    before = table(finished, "contrast-5")
    for file in (finished / "records" / "transclip" / "contrast-5").iterdir():
        file.unlink()
    words = [*WORDS, "zeroshot,transclip", "--shard-size", "10", "--batch-size", "7", "--out", str(finished)]
    assert main(words) == 0
    columns = [name for name in before.column_names if name not in ("batch_ms", "peak_memory_mb")]
    assert table(finished, "contrast-5").select(columns).equals(before.select(columns))


@pytest.mark.usefixtures("nothing_stays_registered")
def test_a_transductive_method_that_wants_pixels_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook = Notebook()
    notebook.run("from apm_tta.methods import register")
    body = "return Predictions(self.logits(self.pixels(batch).flatten(1)[:, :96]))"
    notebook.run(f"@register\n{mine(body).replace('episodic', 'transductive')}")
    assert main([*WORDS, "mine", "--out", str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "a transductive method gets the features of all images, and no pixels" in said


def test_an_unreadable_image_that_can_be_read_later_makes_all_answers_anew(
    tmp_path: Path, clean_images: Callable[[int], Any]
) -> None:
    names = ["bag", "coat", "sandal", "trouser"]
    for index, image in enumerate(clean_images(12).images):
        folder = tmp_path / "data" / names[index % 4]
        folder.mkdir(parents=True, exist_ok=True)
        image.save(folder / f"{index}.png")
    damaged = tmp_path / "data" / "bag" / "0.png"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:60])
    words = [
        "folder",
        "--data-root",
        str(tmp_path / "data"),
        "--methods",
        "transclip",
        "--quiet",
        "--teacher",
        "embedded",
    ]
    assert main([*words, "--out", str(tmp_path / "run")]) == 3
    first = table(tmp_path / "run")
    assert sum(error is not None for error in first["error"].to_pylist()) == 1
    damaged.write_bytes(whole)
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    again = table(tmp_path / "run")
    assert again["error"].null_count == len(again) == 12
    assert main([*words, "--out", str(tmp_path / "other")]) == 0
    assert again["prediction"].to_pylist() == table(tmp_path / "other")["prediction"].to_pylist()


def test_in_python_all_images_of_a_call_are_answered_together(clean_images: Callable[[int], Any]) -> None:
    images = [Image.fromarray(np.asarray(image)) for image in clean_images(20).images]
    classes = open_dataset("fashion-mnist").classes
    together, few = (
        apm_tta.load_method("transclip", classes=classes, batch_size=size)(images).logits for size in (64, 3)
    )
    assert torch.equal(together, few)
