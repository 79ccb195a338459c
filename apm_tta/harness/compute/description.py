"""A run in words and numbers: everything that its answers depend on, and where they were computed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from apm_tta.data.dataset import CORRUPTION_SEED
from apm_tta.data.subset import subset_rule
from apm_tta.harness.plan import EPISODIC
from apm_tta.harness.compute.prepare import Prepared
from apm_tta.harness.request.run_request import Request
from apm_tta.harness.request.suite import Suite, command_words
from apm_tta.harness.storage.manifest import environment, versions
from apm_tta.methods import Method


def describe(suite: Suite, request: Request, prepared: Prepared) -> dict[str, Any]:
    """The manifest: ``numbers`` is everything that a number depends on, the rest is everything else."""
    return {
        "numbers": numbers(suite, prepared),
        "title": suite.title,
        "command": command_words(suite),
        "limit": suite.limit,
        "left_out": prepared.left_out,
        "costs": {name: asdict(method.cost()) for name, method in prepared.methods.items()},
        "batch_size": suite.batch_size,
        "environment": {
            **environment(prepared.teacher.device),
            "devices": list(request.devices),
            "data_root": None if request.data_root is None else str(request.data_root),
        },
    }


def numbers(suite: Suite, prepared: Prepared) -> dict[str, Any]:
    """Everything that a number depends on, as plain data."""
    dataset, conditions, teacher, methods = prepared.dataset, prepared.conditions, prepared.teacher, prepared.methods
    first = conditions[0]
    chosen = len(dataset.entries(first))
    support = {"shots": suite.shots} if "support_sha256" in teacher.identity else {}
    online = any(method.protocol == "online" for method in methods.values())
    return {
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
        "seeds": list(suite.seeds),
        "precision": suite.precision,
        "shard_size": suite.shard_size,
        "versions": versions(),
    }


def _plain(method: Method) -> dict[str, Any]:
    """A method's resolved configuration as plain data."""
    templates = list(method.templates) if method.parameters.templates == "dataset" else method.parameters.templates
    plain = {
        "protocol": method.protocol,
        "votes": method.votes,
        **asdict(method.parameters),
        **method.resolved(),
        "templates": templates,
    }
    return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}
