"""Images of which several classes are right: a layout states them, records keep them, and any of them is right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml

import apm_tta
from apm_tta.data.dataset import open_dataset
from apm_tta.data.layouts import LAYOUTS, Entry, Survey
from apm_tta.data.layouts.embedded import EmbeddedLayout
from apm_tta.data.sample import CLEAN, Condition
from apm_tta.harness.compute.answer_columns import count_right, label_columns, nearest_labels, probability_columns
from apm_tta.report.further_labels import FurtherLabels
from apm_tta.teachers import load_teacher
from apm_tta.verification.evaluation import Evaluation
from apm_tta.verification.setup import teacher_setup

EXTRA = 8
"""A class that is right too for every image whose label is below it."""


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the embedded images of the classes 0 to 7 have class 8 as another right one."""
    found = EmbeddedLayout.walk

    def walk(self: EmbeddedLayout, condition: Condition) -> Survey:
        survey = found(self, condition)
        survey.entries = [replace(entry, others=(EXTRA,)) if entry.label < EXTRA else entry for entry in survey.entries]
        return survey

    monkeypatch.setattr(EmbeddedLayout, "walk", walk)
    yield
    assert LAYOUTS.get("embedded") is EmbeddedLayout


def run(out: Path) -> apm_tta.Run:
    return apm_tta.run(
        "demo",
        methods="zeroshot,apm",
        corruptions="fog",
        severities="5",
        limit=60,
        quiet=True,
        devices="cpu",
        workers=0,
        out=out,
        settings={"apm": {"iterations": 2}},
    )


def test_any_of_several_labels_is_right(tmp_path: Path, several: None) -> None:
    """Numbers are those of the records, computed here by hand, and the caption says what they mean."""
    made = run(tmp_path / "run")
    for row in made.results.to_dict("records"):
        answers = made.answers(row["method"], row["corruption"])
        others = [() if each is None else tuple(each) for each in answers.other_labels]
        assert {label < EXTRA: other for label, other in zip(answers.label, others, strict=True)} == {
            True: (EXTRA,),
            False: (),
        }
        rights = [{label, *other} for label, other in zip(answers.label, others, strict=True)]
        right = [prediction in each for prediction, each in zip(answers.prediction, rights, strict=True)]
        assert row["top1"] == pytest.approx(100 * np.mean(right))
        top5 = [bool(each & set(best)) for best, each in zip(answers.top5, rights, strict=True)]
        assert row["top5"] == pytest.approx(100 * np.mean(top5))
    assert (made.answers("zeroshot", "fog").prediction == EXTRA).any(), "some answer is right by the other class alone"
    text = (tmp_path / "run" / "results.md").read_text(encoding="utf-8")
    assert "96 images have several right classes: an answer is right if it is any of them" in text
    stated = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text(encoding="utf-8"))["numbers"]["dataset"]
    assert stated["several_labels"] == 96


def test_verify_counts_any_of_them_too(several: None) -> None:
    """Against the answers of the same teacher to the same images, counted by hand."""
    dataset, teacher, fog = (
        open_dataset("fashion-mnist", limit=60),
        load_teacher("embedded-resnet"),
        Condition("fog", 5),
    )
    setup = teacher_setup(teacher, dataset, (dataset.template,), dataset.classes)
    (tally,) = Evaluation(teacher, dataset, [fog]).tally([setup])
    answer = apm_tta.load_method("zeroshot", teacher, classes=dataset.classes, template=dataset.template)
    entries = dataset.entries(fog)
    predictions = answer([dataset.read(entry, fog).image for entry in entries]).table["prediction"].tolist()
    right = [given in (entry.label, *entry.others) for given, entry in zip(predictions, entries, strict=True)]
    assert (
        tally.right == sum(right) > sum(given == each.label for given, each in zip(predictions, entries, strict=True))
    )


def test_other_right_classes_are_another_fingerprint(several: None) -> None:
    with_others = open_dataset("fashion-mnist", limit=20)
    entries = [replace(entry, others=()) for entry in with_others.entries(CLEAN)]
    first = with_others.fingerprint([CLEAN])
    with_others._chosen[CLEAN] = entries
    assert with_others.fingerprint([CLEAN]) != first


def test_probabilities_are_scored_against_the_nearest_right_class() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0], [1.0, 3.0, 2.0], [0.0, 0.0, 5.0]])
    entries = [Entry("a", 0), Entry("b", 0, (2, 1)), Entry("c", 1, (0,))]
    assert nearest_labels(logits, entries) == [0, 1, 1]
    scored = probability_columns(logits, nearest_labels(logits, entries))
    log_p = logits.double().log_softmax(1)
    assert scored["nll"].to_pylist() == pytest.approx(
        [-float(log_p[0, 0]), -float(log_p[1, 1]), -float(log_p[2, 1])], abs=1e-6
    )
    columns = label_columns(entries)
    assert columns["other_labels"].to_pylist() == [None, [2, 1], [0]]
    assert label_columns(entries[:1])["other_labels"].null_count == 1
    assert count_right(columns.append_column("prediction", pa.array([1, 2, 2], pa.int32()))) == 1


def test_further_labels_are_found_in_rows_of_any_shape() -> None:
    column = pa.chunked_array([pa.array([None, [4, 1], None, [0]], pa.list_(pa.int32()))])
    further = FurtherLabels.of(column)
    assert further is not None
    rows, predictions = np.arange(4), np.array([[4, 1], [4, 1], [1, 1], [0, 4]])
    assert further.among(rows, predictions[:, 0]).tolist() == [False, True, False, True]
    assert further.among(rows[:, None], predictions).tolist() == [[False] * 2, [True] * 2, [False] * 2, [True, False]]
    assert further.by_id(pa.array(list("abcd"))) == {"b": {4, 1}, "d": {0}}
    assert FurtherLabels.of(pa.chunked_array([pa.nulls(3, pa.list_(pa.int32()))])) is None
