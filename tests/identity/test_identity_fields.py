"""No field of a suite is forgotten: changed alone, it makes another run, unless it is known to decide no number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from apm_tta.harness.compute.content import hash_content, images_to_hash
from apm_tta.harness.compute.fingerprint import numbers
from apm_tta.harness.compute.prepare import open_data, prepare
from apm_tta.harness.request.run_request import resolve_request
from apm_tta.harness.request.suite import Suite
from apm_tta.harness.storage.manifest import Numbers

BASE: dict[str, Any] = {
    **{"teacher": "embedded", "methods": ("zeroshot", "vte", "tent", "knn"), "classifier": "prototypes", "shots": 2},
    **{"corruptions": ("contrast",), "severities": (5,), "settings": {"vte": {"views": 4}}},
    **{"setting": "dirichlet", "stream": {"gamma": 0.5}},
}
OTHER: dict[str, Any] = {
    "name": "imagenet",
    "teacher": "embedded-resnet",
    "methods": ("zeroshot", "vte", "tent"),
    "clean": False,
    "foreign": "sklearn-digits",
    "corruptions": ("fog",),
    "severities": (3,),
    "jpeg_quality": 80,
    "crop_scale": (0.5, 1.0),
    "setting": "iid",
    "stream": {"gamma": 0.6},
    "window": 4,
    "reset": "never",
    "classifier": "text",
    "shots": 1,
    "limit": 4,
    "seeds": (1,),
    "shard_size": 3,
    "precision": "bfloat16",
    "settings": {"vte": {"views": 5}},
}
DECIDE_NOTHING = {
    "title": "words",
    "batch_size": "answers do not depend on it, or it is a parameter of the method's: see test_identity_accepted",
    "dataset": "another card has other images and classes, which are compared one by one: test_identity_refused",
    "subset": "likewise: it chooses images of ImageNet by name, and is in numbers.dataset.named_subset",
    "domains": "they are conditions, as corruptions are",
}


def numbers_of(place: Path, changes: dict[str, Any]) -> Numbers:
    suite = {**BASE, **changes}
    name = suite.pop("name", "folder")
    if "setting" in changes:
        del suite["stream"]
    if name != "folder":
        suite["dataset"] = "folder"
    request = resolve_request(name, suite, data_root=place / "data", support=place / "support", devices=("cpu",))
    dataset = open_data(request)
    hash_content(dataset, *images_to_hash(dataset, request.every_condition))
    return numbers(prepare(request, request.devices[0], dataset))


def test_every_field_is_known() -> None:
    assert {*OTHER, *DECIDE_NOTHING} == {*Suite.model_fields}
    assert not {*OTHER} & {*DECIDE_NOTHING}


@pytest.fixture(scope="module")
def plain(world: Path) -> Numbers:
    return numbers_of(world, {})


@pytest.mark.parametrize("field", OTHER)
def test_a_field_that_is_changed_makes_another_run(field: str, world: Path, plain: Numbers) -> None:
    assert numbers_of(world, {field: OTHER[field]}).fingerprint != plain.fingerprint


def test_the_same_fields_are_the_same_run(world: Path, plain: Numbers) -> None:
    assert numbers_of(world, {"batch_size": 3, "title": "Others"}).fingerprint == plain.fingerprint
