"""Which images are shown, and how large their pictures are."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from records_by_hand import read_plain, write_plain

from apm_tta.data.dataset import open_dataset
from apm_tta.data.sample import Condition
from apm_tta.report.html import Island, write_html
from apm_tta.report.html.pictures import ALLOWED, LARGEST_SIDE, Album, Picture
from apm_tta.report.html.samples import choose_samples
from apm_tta.report.run_data import ReportData, read_report_data


def decode(picture: Picture) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(picture.address.partition(",")[2])))


def noise(side: int) -> Image.Image:
    """Make the image that compresses worst."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8))


def test_images_on_which_methods_differ_come_first(data: ReportData) -> None:
    """By hand: only the fifth image under pixelate 3 and only the second under pixelate 5; the others by digest."""
    gallery = choose_samples(data, 10)
    by_condition: dict[str, list[str]] = {}
    for sample in gallery.samples:
        by_condition.setdefault(sample.condition, []).append(sample.id)
    assert list(by_condition) == ["clean", "pixelate 3", "pixelate 5", "contrast 3", "contrast 5"]
    assert all(len(ids) == 2 for ids in by_condition.values())
    assert by_condition["pixelate 3"][0] == "test/00004"
    assert by_condition["pixelate 5"][0] == "test/00001"
    assert [sample.id for sample in gallery.samples if sample.differ] == ["test/00004", "test/00001"]
    ids = sorted((f"test/{index:05d}" for index in range(8)), key=lambda one: hashlib.sha256(one.encode()).hexdigest())
    assert by_condition["clean"] == ids[:2]


def test_the_answers_are_those_of_the_records(data: ReportData) -> None:
    """By hand: the fifth image under pixelate 3 is of class 4; zero-shot predicts 5, apm predicts 4."""
    (sample,) = [one for one in choose_samples(data, 5).samples if one.condition == "pixelate 3"]
    names = data.manifest.numbers.dataset.class_names
    assert sample.label == names[4]
    assert [(answer.method, answer.prediction, answer.right) for answer in sample.answers] == [
        ("zeroshot", names[5], False),
        ("apm", names[4], True),
    ]


def test_of_more_conditions_than_images_evenly_spaced_ones_are_shown(data: ReportData) -> None:
    gallery = choose_samples(data, 2)
    assert [sample.condition for sample in gallery.samples] == ["clean", "pixelate 5"]
    assert "more conditions than images" in gallery.rule
    assert choose_samples(data, 0).samples == []


def test_a_picture_is_the_corrupted_image(run: Path) -> None:
    data = read_report_data(run)
    (sample, *_) = [one for one in choose_samples(data, 60).samples if one.condition == "contrast 5"]
    condition, dataset = Condition("contrast", 5), open_dataset("fashion-mnist", limit=20)
    (entry,) = [entry for entry in dataset.entries(condition) if entry.id == sample.id]
    assert sample.picture is not None
    assert sample.picture.small
    assert np.array_equal(np.asarray(decode(sample.picture)), np.asarray(dataset.read(entry, condition).image))


@pytest.mark.parametrize("side", [28, 160, 500])
def test_pictures_are_small(side: int) -> None:
    picture = Album().add_image(noise(side), "noise")
    assert picture is not None
    assert max(decode(picture).size) == min(side, LARGEST_SIDE)
    assert len(picture.address) < 50_000


def test_pictures_take_no_more_room_than_allowed() -> None:
    """Pictures that do not fit are left out and counted; a smaller one may still be added."""
    album = Album(allowed=30_000)
    added = [album.add_image(noise(160), "noise") for _ in range(3)]
    assert [picture is not None for picture in added] == [True, False, False]
    assert album.left_out == 2
    assert album.add_image(noise(8), "noise") is not None
    assert album.size <= 30_000
    assert ALLOWED * 4 / 3 < 3_500_000, "in base64: with all of ImageNet-C's numbers the page stays below 5 MB"


def test_a_note_counts_the_pictures_left_out(data: ReportData) -> None:
    island = Island("layer 0", "too large", b"\x89PNG" + bytes(ALLOWED), b"\x89PNG")
    gallery = choose_samples(data, 5, {("clean", choose_samples(data, 5).samples[0].id): [island]})
    assert not any(sample.islands for sample in gallery.samples)
    assert "1 picture was left out to keep the file small." in gallery.notes


def test_islands_are_only_below_their_image_under_their_condition(run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "run"))
    data = read_report_data(other)
    chosen = choose_samples(data, 60).samples
    twice = next(one for one in chosen if sum(one.id == another.id for another in chosen) > 1)
    content = io.BytesIO()
    noise(16).save(content, "PNG")
    islands = {(twice.condition, twice.id): [Island("apm <4>", "islands 4", content.getvalue(), b"\x89PNG")]}
    text = write_html(data, islands=islands).read_text(encoding="utf-8")
    assert text.count("<figcaption>apm &lt;4&gt;: islands 4</figcaption>") == 1
    assert text.count(base64.b64encode(content.getvalue()).decode()) == 1
    (sample,) = [one for one in choose_samples(data, 60, islands).samples if one.islands]
    assert (sample.condition, sample.id) == (twice.condition, twice.id)


def test_without_its_images_the_page_states_so(run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run, tmp_path / "run"))
    manifest = read_plain(other)
    manifest["numbers"]["dataset"]["fingerprint"] = "0" * 64
    write_plain(other, manifest)
    text = write_html(read_report_data(other)).read_text(encoding="utf-8")
    assert "The images here are not those of the run, so no pictures are shown." in text
    assert "data:image" not in text


def test_an_incomplete_run_has_its_pictures(run: Path, tmp_path: Path) -> None:
    """The fingerprint is over all conditions of the run, not only over those that have answers."""
    other = Path(shutil.copytree(run, tmp_path / "run"))
    for gone in (other / "records").glob("*/pixelate-5"):
        shutil.rmtree(gone)
    data = read_report_data(other, partial=True)
    gallery = choose_samples(data, 60)
    assert gallery.notes == []
    assert "pixelate 5" not in {sample.condition for sample in gallery.samples}
    assert all(sample.picture is not None for sample in gallery.samples)
    assert "<strong>Incomplete.</strong>" in write_html(data).read_text(encoding="utf-8")


def test_a_run_without_its_command_states_so(data: ReportData, tmp_path: Path) -> None:
    shutil.copytree(data.run, tmp_path / "run")
    text = write_html(replace(data, run=tmp_path / "run")).read_text(encoding="utf-8")
    assert "The run does not record the command that made it" in text
