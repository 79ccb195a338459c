"""One method by itself: bit for bit what a run records, on images in any form, over any network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import apm_tta
from apm_tta.data.dataset import Dataset, pixel_digest
from apm_tta.data.sample import CLEAN, Condition
from apm_tta.teachers import Teacher

CLASSES = ["T-shirt", "trouser", "pullover"]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return apm_tta.open_dataset("fashion-mnist", limit=70)


def loaded(name: str, teacher: Teacher, dataset: Dataset, **parameters: Any) -> apm_tta.LoadedMethod:
    """Load a method as the small run has it."""
    return apm_tta.load_method(
        name,
        teacher,
        dataset.classes,
        template=dataset.template,
        family=dataset.card.family,
        crop_scale=(0.5, 1.0),
        **parameters,
    )


def as_text(column: pd.Series) -> list[str]:
    """Return values as text; what is unknown is a NaN or a NA, depending on pandas."""
    return ["unknown" if isna else text for isna, text in zip(column.isna(), column.astype(str), strict=True)]


@pytest.mark.parametrize("condition", [CLEAN, Condition("contrast", 5)], ids=str)
@pytest.mark.parametrize(
    ("name", "parameters"),
    [("zeroshot", {}), ("mta", {"views": 4}), ("apm", {"iterations": 2}), ("tent", {})],
)
def test_predictions_are_those_of_a_run_bit_for_bit(
    name: str,
    parameters: dict[str, Any],
    condition: Condition,
    small_run: apm_tta.Run,
    embedded_teacher: Teacher,
    dataset: Dataset,
) -> None:
    """Every recorded column of a prediction is equal, over two batches, for episodic and online methods alike."""
    recorded = small_run.answers(name, condition.corruption)
    entries = {entry.id: entry for entry in dataset.entries(condition)}
    images = [dataset.read(entries[each], condition).image for each in recorded["id"]]
    method = loaded(name, embedded_teacher, dataset, **parameters)
    predicted = method(images, ids=recorded["id"].tolist())
    assert len(predicted) == 70
    for column in predicted.table:
        assert as_text(predicted.table[column]) == as_text(recorded[column]), column
    assert [dataset.classes.index(each) for each in predicted.class_names] == recorded["prediction"].tolist()
    assert predicted.confidences.tolist() == recorded["confidence"].tolist()
    assert torch.equal(predicted.logits.softmax(1).max(1).values, predicted.confidences)


@pytest.mark.parametrize("name", ["zeroshot", "mta", "apm", "tent"])
def test_a_run_s_own_method_predicts_what_it_recorded(name: str, small_run: apm_tta.Run, dataset: Dataset) -> None:
    """Loaded from the run folder alone: its parameters, classes, template and crop scale come from the manifest."""
    recorded = small_run.answers(name, "contrast")
    condition = Condition("contrast", 5)
    entries = {entry.id: entry for entry in dataset.entries(condition)}
    images = [dataset.read(entries[each], condition).image for each in recorded["id"]]
    predicted = apm_tta.open_run(small_run.folder).load_method(name, device="cpu")(images, recorded["id"].tolist())
    for column in predicted.table:
        assert as_text(predicted.table[column]) == as_text(recorded[column]), column


def test_a_method_that_the_run_does_not_have_is_refused(small_run: apm_tta.Run) -> None:
    with pytest.raises(apm_tta.UserError, match="has no method 'memo'; it has zeroshot, mta, apm, tent"):
        small_run.load_method("memo")
    with pytest.raises(apm_tta.UserError, match="has no seed 3; it has 0"):
        small_run.load_method("mta", seed=3)
    for wrong in (None, ["mta"]):
        with pytest.raises(apm_tta.UserError, match="has no method"):
            small_run.load_method(wrong)  # type: ignore[arg-type]


def test_online_methods_remember_until_they_are_reset(embedded_teacher: Teacher, dataset: Dataset) -> None:
    images = [dataset.read(entry, CLEAN).image for entry in dataset.entries(CLEAN)[:40]]
    method = loaded("tent", embedded_teacher, dataset, learning_rate=0.05)
    first, second = method(images).logits, method(images).logits
    assert not torch.equal(first, second)
    method.reset()
    assert torch.equal(method(images).logits, first)


def test_an_image_is_the_same_as_a_path_an_array_or_an_image_of_pil(
    embedded_teacher: Teacher, dataset: Dataset, tmp_path: Path
) -> None:
    """Its id is the digest of its pixels, so that its random views are the same too."""
    method = loaded("mta", embedded_teacher, dataset, views=8)
    image = dataset.read(dataset.entries(CLEAN)[0], CLEAN).image
    image.save(tmp_path / "image.png")
    array = np.asarray(image)
    forms = [
        image,
        image.convert("L"),
        tmp_path / "image.png",
        str(tmp_path / "image.png"),
        array,
        array[::1, ::-1][:, ::-1],
    ]
    expected = method(image, ids=[pixel_digest(image)]).logits
    for form in forms:
        assert torch.equal(method(form).logits, expected)
    together = method(iter(forms))
    assert together.ids == (pixel_digest(image),) * len(forms)
    assert torch.equal(together.logits.argmax(1), expected.argmax(1).expand(len(forms)))
    assert method(np.stack([array, array])).logits.shape == (2, 10)
    assert not torch.equal(method(image, ids=["other views"]).logits, expected)


def test_no_images_have_no_predictions(embedded_teacher: Teacher) -> None:
    method = apm_tta.load_method("zeroshot", embedded_teacher, CLASSES)
    predicted = method([])
    assert len(predicted) == 0
    assert predicted.logits.shape == (0, 3)
    assert list(predicted.table) == list(
        apm_tta.load_method("zeroshot", embedded_teacher, CLASSES)(Image.new("L", (4, 4))).table
    )


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((4, 4), "uint8"), "image 0 is an array (4,) of uint8"),
        (np.zeros((4, 4, 3)), "image 0 is an array (4, 4, 3) of float64"),
        (np.zeros((4, 4, 4), "uint8"), "image 0 is an array (4, 4, 4) of uint8"),
        (np.zeros((3, 4, 4), "uint8"), "image 0 is an array (3, 4, 4) of uint8"),
        (np.zeros((0, 4, 3), "uint8"), "image 0 is an array (0, 4, 3), which has no pixels"),
        (torch.zeros(1, 3, 4, 4), "images is a tensor (1, 3, 4, 4) of torch.float32"),
        ([torch.zeros(3, 4, 4)], "image 0 is a tensor (3, 4, 4) of torch.float32"),
        ([Image.new("RGB", (4, 4)), None], "image 1 is of type NoneType"),
        (Image.new("I", (4, 4)), "image 0 cannot be shown: its levels are signed or of 32 bits"),
        (Image.new("F", (4, 4), 7), "image 0 cannot be shown: its levels are floats from 7 to 7, outside 0 to 1"),
        (Image.new("RGBA", (4, 4)), "image 0 cannot be shown: every pixel is transparent"),
        (np.ma.masked_array(np.zeros((4, 4, 3), "uint8")), "image 0 is a masked array"),
        (b"bytes", "images is of type bytes"),
        (7, "images is of type int"),
        ("nowhere.png", "nowhere.png is missing"),
        ("a\0b.png", "which is not a path"),
        (np.array(3, "uint8"), "images is an array () of uint8"),
    ],
)
def test_anything_else_is_refused(images: Any, message: str, embedded_teacher: Teacher) -> None:
    method = apm_tta.load_method("zeroshot", embedded_teacher, CLASSES)
    with pytest.raises(apm_tta.UserError) as caught:
        method(images)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ids", [["a"], ["a", "b", "c"], "ab", [1, 2], 3, {"a", "b"}, iter("abc")])
def test_ids_that_are_not_one_per_image_are_refused(ids: Any, embedded_teacher: Teacher) -> None:
    method = apm_tta.load_method("zeroshot", embedded_teacher, CLASSES)
    with pytest.raises(apm_tta.UserError, match="ids"):
        method([Image.new("RGB", (4, 4))] * 2, ids=ids)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "mtaa"}, "unknown method 'mtaa'"),
        ({"views": 0}, "method mta: views"),
        ({"viewz": 3}, "unknown key of method mta 'viewz'"),
        ({"classes": None}, "needs class names"),
        ({"classes": "cat"}, "not a single string"),
        ({"classes": []}, "a non-empty list of strings"),
        ({"classes": ["cat", "cat"]}, "two classes have one name"),
        ({"template": "a photo"}, "does not have one {}"),
        ({"precision": "float16"}, "precision 'float16' does not exist"),
        ({"family": "imagenett"}, "family 'imagenett' does not exist"),
        ({"seed": -1}, "seed -1"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"batch_size": 10**30}, "is not a whole number from 1 to"),
        ({"name": ["mta"]}, "method must be a name, got list"),
        ({"classes": 3}, "a non-empty list of strings"),
        ({"template": 3}, "template 3 is not a text"),
        ({"crop_scale": 3}, "crop_scale 3 is not a pair"),
        ({"crop_scale": (0.5, 0.2)}, "is not a pair of shares"),
        ({"memory": "much"}, "memory 'much' is not a number above 0"),
        ({"memory": float("nan")}, "is not a number above 0"),
        ({"teacher": None}, "got NoneType"),
        ({"teacher": torch.nn.Linear(2, 2)}, "got Linear"),
        ({"teacher": "ViT-Z"}, "unknown teacher 'ViT-Z'"),
        ({"name": "knn"}, "needs labelled images"),
    ],
)
def test_a_method_that_cannot_be_loaded_is_refused_in_one_line(arguments: dict[str, Any], message: str) -> None:
    chosen = {"name": "mta", "teacher": "embedded", "classes": CLASSES, **arguments}
    with pytest.raises(apm_tta.UserError) as caught:
        apm_tta.load_method(**chosen)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_method_that_fails_names_the_images(embedded_teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    method = apm_tta.load_method("zeroshot", embedded_teacher, CLASSES)

    def fail(_batch: apm_tta.Batch) -> apm_tta.Predictions:
        raise IndexError("list index out of range")

    monkeypatch.setattr(method.method, "predict", fail)
    with pytest.raises(
        apm_tta.UserError, match="method zeroshot failed on one to two: IndexError: list index"
    ) as caught:
        method([Image.new("RGB", (4, 4))] * 2, ids=["one", "two"])
    assert isinstance(caught.value.__cause__, IndexError)
    monkeypatch.setattr(
        method.method, "predict", lambda batch: apm_tta.Predictions(torch.full((len(batch), 3), float("nan")))
    )
    with pytest.raises(apm_tta.UserError, match="not finite, first for image one"):
        method([Image.new("RGB", (4, 4))], ids=["one"])


def test_what_is_loaded_says_what_it_is(embedded_teacher: Teacher) -> None:
    method = apm_tta.load_method("mta", embedded_teacher, CLASSES, rounds=3)
    assert repr(method).startswith("<Method mta over embedded, 3 classes: MTAParameters(views=64")
    assert "rounds=3" in repr(method)
    assert repr(method(Image.new("RGB", (4, 4)))).startswith("<1 predictions: ")
