"""A run in words and numbers: everything that its answers depend on, and where they were computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from apm_tta.data.dataset import CORRUPTION_SEED, Dataset
from apm_tta.data.sample import Condition
from apm_tta.data.subset import subset_rule
from apm_tta.harness.manifest import environment, versions
from apm_tta.harness.plan import EPISODIC
from apm_tta.harness.suite import Suite
from apm_tta.methods import Method
from apm_tta.teachers import Teacher


def describe(
    suite: Suite, dataset: Dataset, conditions: Sequence[Condition], teacher: Teacher, methods: dict[str, Method]
) -> dict[str, Any]:
    """The manifest: ``numbers`` is everything that a number depends on, ``environment`` everything else."""
    first = conditions[0]
    chosen = len(dataset.entries(first))
    support = {"shots": suite.shots} if "support_sha256" in teacher.identity else {}
    online = any(method.protocol == "online" for method in methods.values())
    return {
        "numbers": {
            "suite": suite.name,
            "dataset": {
                "name": suite.dataset,
                "title": dataset.title,
                "classes": len(dataset.classes),
                "fingerprint": dataset.fingerprint(conditions),
                "images_a_condition": chosen,
                "subset": subset_rule(suite.limit, chosen, dataset.available(first)),
                "corruptions": dataset.corruption_source,
                "corruption_parameters": dataset.card.corruption_parameters,
                "corruption_seed": CORRUPTION_SEED,
                "jpeg_quality": suite.jpeg_quality,
            },
            "conditions": [str(condition) for condition in conditions],
            "teacher": {"name": suite.teacher, "classifier": teacher.classifier, **teacher.identity, **support},
            "methods": {name: _plain(method) for name, method in methods.items()},
            "streams": {"setting": suite.setting, "reset": suite.resets} if online else EPISODIC,
            "crop_scale": list(suite.crop_scale),
            "seed": suite.seed,
            "precision": suite.precision,
            "versions": versions(),
        },
        "title": suite.title,
        "batch_size": suite.batch_size,
        "environment": environment(teacher.device),
    }


def _plain(method: Method) -> dict[str, Any]:
    """A method's resolved configuration as plain data."""
    templates = list(method.templates) if method.parameters.templates == "dataset" else method.parameters.templates
    plain = {"protocol": method.protocol, **asdict(method.parameters), **method.resolved(), "templates": templates}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}
