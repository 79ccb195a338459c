"""Sentences of every class in place of templates: what a file must be, and that a run's weights come from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

import apm_tta
from apm_tta.data.cards import load_card
from apm_tta.errors import UserError
from apm_tta.teachers import load_teacher, read_templates
from apm_tta.teachers.descriptions import Descriptions, descriptions_text
from apm_tta.teachers.templates import fill_template, templates_name

CLASSES = load_card("fashion-mnist").class_list.names


def sentences(name: str, count: int) -> list[str]:
    return [f"a {name.lower()} with {number} buttons." for number in range(count)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write 1, 2, 3, ... sentences per class, in another order, with capitals and underscores, and a class too many."""
    content = {name.upper().replace(" ", "_"): sentences(name, 1 + number) for number, name in enumerate(CLASSES)}
    content["a spare class"] = ["nothing of ours."]
    (tmp_path / "cupl.json").write_text(json.dumps(dict(reversed(content.items()))))
    return tmp_path / "cupl.json"


def test_sentences_are_found_by_the_names_of_classes(file: Path) -> None:
    found = read_templates(str(file), "a photo of a {}.", CLASSES)
    assert isinstance(found, Descriptions)
    assert found.of(CLASSES) == [tuple(sentences(name, 1 + number)) for number, name in enumerate(CLASSES)]
    assert found[0] == f"{CLASSES[0]}\t{sentences(CLASSES[0], 1)[0]}"
    assert templates_name(str(file)) == "descriptions"


def test_a_class_weight_is_the_mean_of_its_sentences(file: Path) -> None:
    teacher = load_teacher("embedded", cache=None)
    found = teacher.class_weights(CLASSES, read_templates(str(file), "", CLASSES))
    for index, name in enumerate(CLASSES):
        # A template without a place for the name is the sentence itself.
        each = [teacher.built.class_weights([name], [text])[0] for text in sentences(name, 1 + index)]
        torch.testing.assert_close(found[index], normalize(torch.stack(each).mean(0), dim=0))


def test_as_many_sentences_for_each_give_what_templates_give(tmp_path: Path) -> None:
    """Bit for bit, since what they are computed from is the same."""
    templates = ("a photo of a {}.", "a drawing of a {}.")
    content = {name: [fill_template(template, name) for template in templates] for name in CLASSES}
    (tmp_path / "same.json").write_text(json.dumps(content))
    teacher = load_teacher("embedded", cache=None)
    found = teacher.class_weights(CLASSES, read_templates(str(tmp_path / "same.json"), "", CLASSES))
    assert torch.equal(found, teacher.class_weights(CLASSES, templates))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({name: ["a"] for name in CLASSES[2:]}, r"no sentences of 2 of the 10 classes: 'T-shirt/top', 'Trouser'; its"),
        ([], "is not a file of descriptions"),
        ({}, "is not a file of descriptions"),
        ({"bag": "one sentence"}, "class 'bag' has no list of sentences"),
        ({"bag": []}, "class 'bag' has no list of sentences"),
        ({"bag": ["a bag.", " "]}, "class 'bag' has an empty sentence"),
        ({"bag": ["a bag."], "Bag": ["another."]}, "describes class 'Bag' twice"),
    ],
)
def test_a_file_that_does_not_describe_the_classes_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    (tmp_path / "wrong.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=message) as refused:
        read_templates(str(tmp_path / "wrong.json"), "", CLASSES)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("method", ["watt", "batclip", "clipartt"])
def test_a_method_that_needs_templates_refuses_sentences(method: str, file: Path) -> None:
    """Such a method fills in templates itself: a sentence would silently be taken for one."""
    teacher = load_teacher("embedded-resnet" if method == "watt" else "embedded")
    with pytest.raises(UserError, match="sentences of every class are no templates"):
        apm_tta.load_method(method, teacher, classes=CLASSES, templates=str(file))


def test_a_run_has_them_in_its_identity_its_caption_and_its_reports(file: Path, tmp_path: Path) -> None:
    """Other sentences in the file of that name are another run; a finished one needs the file no more."""
    options: dict[str, Any] = {"methods": "zeroshot,ensemble", "corruptions": "", "limit": 20, "quiet": True}
    options |= {"settings": {"ensemble": {"templates": str(file)}}, "out": tmp_path / "run"}
    run = apm_tta.run("demo", **options)
    recorded = run.manifest.numbers.methods["ensemble"]
    assert recorded.templates == "descriptions"
    assert descriptions_text(recorded.sentences) == descriptions_text(read_templates(str(file), "", CLASSES))
    assert "ensemble descriptions (55 sentences of the classes, sha256 " in run.report().text
    content = json.loads(file.read_text())
    content["BAG"][0] = "a bag."
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match="holds another run"):
        apm_tta.run("demo", **options)
    file.unlink()
    again = apm_tta.open_run(tmp_path / "run").load_method("ensemble")
    assert isinstance(again.method.templates, Descriptions)
