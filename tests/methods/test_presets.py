"""A preset has every setting of the authors' script, except for those that were asked for."""

from __future__ import annotations

from dataclasses import asdict, fields
from types import SimpleNamespace
from typing import Any

import pytest

from apm_tta.data.cards import load_card
from apm_tta.data.task import Task
from apm_tta.errors import UserError
from apm_tta.harness.compute.prepare import Prepared
from apm_tta.methods import METHODS, Batch, Method, Predictions, build_parameters, register
from apm_tta.methods.data_defaults import resolve_defaults
from apm_tta.teachers import Teacher, load_teacher, read_templates

BASELINES = [
    *("dpe", "ensemble", "knn", "memo", "mta", "sar", "tda", "tent", "tps", "tpt", "vte", "zero", "zeroshot"),
]


def task(dataset: str) -> Task:
    card = load_card(dataset)
    return Task(("cat", "dog", "bird"), card.template, card.family, (0.5, 1.0), card.name)


def published(name: str, dataset: str, **settings: Any) -> Any:
    return resolve_defaults(build_parameters(name, {"preset": "published", **settings}), task(dataset))


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_has_one_with_its_source(name: str) -> None:
    kind = METHODS.get(name)
    assert kind.published is not None
    assert "/" in kind.published.source
    assert "." in kind.published.source.partition("/")[2], "no script or configuration is named"
    assert set(kind.published.values) <= {field.name for field in fields(kind.Parameters)}
    suite, own = build_parameters(name, {}), build_parameters(name, {"preset": "published"})
    assert (suite.preset, own.preset) == ("suite", "published")
    changed = {key for key, value in asdict(own).items() if value != asdict(suite)[key]}
    assert changed == {"preset", *kind.published.values}


@pytest.mark.parametrize("name", BASELINES)
def test_what_was_asked_for_comes_first(name: str) -> None:
    kind = METHODS.get(name)
    assert kind.published is not None
    for key in kind.published.values:
        default = getattr(build_parameters(name, {}), key)
        others = {"templates": "simple7", "parameters": "all", "batch_size": 3, "views": 7, "augmix": True}
        asked = others.get(key, default)
        assert getattr(build_parameters(name, {"preset": "published", key: asked}), key) == asked


@pytest.mark.parametrize(
    ("dataset", "alpha", "beta", "views", "augmix", "templates"),
    [
        ("imagenet", 2.0, 5.0, 1, False, "simple7"),
        ("imagenet-a", 2.0, 5.0, 64, True, "simple7"),
        ("imagenet-r", 1.0, 8.0, 64, True, "openai80"),
        ("imagenet-sketch", 2.363, 7.45, 64, True, "openai80"),
        ("imagenet-v2-matched-frequency", 1.0, 8.0, 64, True, "simple7"),
        ("caltech101", 5.0, 5.0, 1, False, "simple7"),
        ("dtd", 2.0, 3.0, 1, False, "dataset"),
        ("food101", 1.0, 1.0, 1, False, "dataset"),
        ("sun397", 2.0, 3.0, 1, False, "simple7"),
    ],
)
def test_tda_has_one_setting_per_data_set(
    dataset: str, alpha: float, beta: float, views: int, augmix: bool, templates: str
) -> None:
    own = published("tda", dataset)
    assert (own.positive_alpha, own.positive_beta) == (alpha, beta)
    assert (own.views, own.augmix, own.templates) == (views, augmix, templates)
    assert (own.positive_shots, own.negative_shots, own.negative_alpha, own.negative_beta) == (3, 2, 0.117, 1.0)


def test_a_data_set_that_the_authors_never_ran_is_refused_in_one_line(embedded_teacher: Teacher) -> None:
    with pytest.raises(UserError) as refused:
        METHODS.get("tda")(embedded_teacher, task("imagenet-c"), build_parameters("tda", {"preset": "published"}), 0)
    assert str(refused.value).startswith(
        "method tda, views: its authors have no value for imagenet-c, only for imagenet"
    )
    assert refused.value.exit_code == 2


def test_views_are_cropped_as_published_whatever_the_suite_says() -> None:
    teacher = load_teacher("embedded")
    for name in ("vte", "tpt", "mta", "zero", "tps", "memo"):
        for preset, scale in (("suite", (0.5, 1.0)), ("published", (0.08, 1.0))):
            settings = {"preset": preset, "views": 2}
            method: Any = METHODS.get(name)(teacher, task("fashion-mnist"), build_parameters(name, settings), 0)
            assert method.spec.crop_scale == scale, name
            assert method.resolved_parameters()["crop_scale"] == list(scale)


def test_prompts_are_those_of_the_scripts() -> None:
    photo = ("a photo of a {}.",)
    for name in ("tpt", "mta", "zero"):
        assert read_templates(published(name, "dtd").templates, "{} texture.") == photo
    assert len(read_templates(published("vte", "dtd").templates, "{} texture.")) == 80
    assert published("vte", "dtd").augmix
    assert not published("vte", "imagenet").augmix
    assert published("tent", "cifar10-c").batch_size == 200
    assert published("tent", "imagenet-c").batch_size == 64
    memo = published("memo", "imagenet-c")
    assert (memo.parameters, memo.crop_in_loss, memo.views) == ("with_head", False, 64)


def test_a_method_of_ones_own_may_not_mean_something_else_by_it() -> None:
    class Mine(Method):
        name, protocol, published = "mine", "episodic", 2026  # type: ignore[assignment]

        def predict(self, batch: Batch) -> Predictions:
            raise AssertionError

    with pytest.raises(UserError, match="method mine states published 2026; write a Published, or another name"):
        register(Mine)


def test_an_attribute_of_an_object_is_no_preset(embedded_teacher: Teacher) -> None:
    """A method may keep what it likes under the name; the table says nothing of it."""
    method: Any = METHODS.get("apm")(embedded_teacher, task("fashion-mnist"), build_parameters("apm", {}), 0)
    method.published = "elsewhere"
    request: Any = SimpleNamespace(suite=SimpleNamespace(seeds=(0,)))
    dataset: Any = None
    prepared = Prepared(request, dataset, embedded_teacher, {("apm", 0): method}, {})
    assert prepared.remarks == []
