"""Compare TPT and the ensemble of prompts with the authors' code, on a small CLIP with random weights."""

from __future__ import annotations

from typing import Any

import pytest

from apm_tta.data.task import Task
from apm_tta.teachers import TEMPLATES, Teacher


def classes(published: Any) -> Task:
    return Task(tuple(published.meta["classes"]), family="imagenet")


@pytest.mark.vectors("method_vectors/tpt_*.npz")
def test_tpt_is_the_authors(published: Any, drawn_clip: Teacher, build: Any, answer: Any) -> None:
    views = published.images("views")
    for name, run in published.runs.items():
        chosen = {key: run[key] for key in ("steps", "learning_rate", "share", "context")}
        method = build("tpt", drawn_clip, classes(published), **chosen)
        logits = answer(method, published.normalized(views[:, 0]), [image[1:] for image in views])
        assert published.max_difference(logits, f"logits_{name}") <= 1e-4, name


@pytest.mark.vectors("method_vectors/ensemble_*.npz")
def test_class_weights_are_those_of_clip(published: Any, drawn_clip: Teacher, build: Any) -> None:
    """One template and eighty are by OpenAI's notebook; eighty by CLIP_benchmark as well."""
    task = classes(published)
    ensemble = build("ensemble", drawn_clip, task).class_weights
    assert published.max_difference(ensemble, "openai80") <= 1e-6
    assert published.max_difference(ensemble, "clip_benchmark") <= 1e-6
    assert published.max_difference(build("zeroshot", drawn_clip, task).class_weights, "simple") <= 1e-6
    assert set(TEMPLATES["openai80"]) == set(published.meta["templates"])
