"""What a run's numbers depend on, as the manifest states it."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any

from apm_tta.data.corruptions import corruption_revisions
from apm_tta.data.dataset import CORRUPTION_SEED, Dataset
from apm_tta.data.decoding import decoder_versions
from apm_tta.data.sample import CLEAN
from apm_tta.data.subset import subset_rule, subset_rules
from apm_tta.harness.compute.prepare import Prepared
from apm_tta.harness.compute.tuned import tuned_settings
from apm_tta.harness.plan import EPISODIC, Streaming
from apm_tta.harness.request.suite import run_title
from apm_tta.harness.storage.code_identity import refuse_edited_code, uncommitted
from apm_tta.harness.storage.manifest import (
    DatasetFields,
    ForeignFields,
    Manifest,
    MethodFields,
    Numbers,
    RevisionFields,
    SourceFields,
    StreamFields,
    TeacherFields,
)
from apm_tta.harness.storage.records import SCHEMA_VERSION
from apm_tta.method_rows import method_of
from apm_tta.methods import Method
from apm_tta.methods.stated import stated_cost, stated_parameters, stated_prompts
from apm_tta.revision import ENGINE_REVISION
from apm_tta.sources import method_source
from apm_tta.teachers.templates import templates_name

_LIBRARIES = (
    *("torch", "torchvision", "open_clip_torch", "timm", "safetensors"),
    *("numpy", "scipy", "scikit-image", "pillow", "opencv-python-headless", "pyarrow"),
    *("ftfy", "regex"),  # of open_clip's own tokenizer
)
"""Every library on the way from a file of images to a number in the records."""

_TOKENIZER_LIBRARIES = ("transformers", "tokenizers")
"""Of the text towers whose tokenizer is Hugging Face's."""


def describe(prepared: Prepared, notes: Sequence[str] = ()) -> Manifest:
    """Describe a run: what its numbers depend on, and what was asked for.

    Args:
        prepared: the run.
        notes: see ``Manifest.notes``.
    """
    request = prepared.request
    return Manifest(
        numbers=numbers(prepared),
        title=run_title(
            request.suite, prepared.dataset.title, [len(prepared.dataset.entries(each)) for each in request.conditions]
        ),
        dataset_title=prepared.dataset.title,
        notes=(*notes, *prepared.remarks),
        command=tuple(request.command()),
        limit=request.suite.limit,
        left_out=prepared.left_out,
        costs={name: stated_cost(method) for name, method in prepared.methods.items()},
        devices=request.device_names,
        data_root=None if request.data_root is None else str(request.data_root),
        prompts=None if request.prompts is None else str(request.prompts.absolute()),
        tuned=tuned_settings(prepared),
    )


def numbers(prepared: Prepared) -> Numbers:
    """State everything that a number of this run depends on.

    Raises:
        UserError: when a user-defined method refers to something that cannot be compared between processes, or files of
            this package were edited since they were imported.
    """
    refuse_edited_code()
    request, dataset, teacher = prepared.request, prepared.dataset, prepared.teacher
    suite, content = request.suite, dataset.expected
    counts = {str(each): (len(dataset.entries(each)), dataset.available(each)) for each in request.conditions}
    chosen = {name: count for name, (count, _) in counts.items()}
    assert content is not None, "the images are hashed before the numbers are stated"
    shots = {} if teacher.support is None else {"shots": suite.shots}
    digest = teacher.tokenizer_sha256
    tokenizer = {} if digest is None else {"tokenizer_sha256": digest}
    online = any(method.protocol == "online" for method in prepared.methods.values())
    made = (
        [] if dataset.layout.stores_corruptions else [each.corruption for each in request.conditions if each.corrupted]
    )
    corrupted = any(each.corrupted for each in request.conditions)
    return Numbers(
        suite=suite.name,
        dataset=DatasetFields(
            name=dataset.card.name,
            ids=dataset.layout.ids,
            classes=len(dataset.classes),
            class_names=dataset.classes,
            fingerprint=dataset.fingerprint(request.conditions),
            images=content.images,
            images_hashed=len(content.by_id),
            images_sha256=content.sha256,
            reading=dataset.layout.reading,
            images_per_condition=chosen if len(set(chosen.values())) > 1 else next(iter(chosen.values())),
            several_labels=sum(bool(entry.others) for each in request.conditions for entry in dataset.entries(each)),
            named_subset=suite.subset,
            subset=subset_rules(suite.limit, list(counts.values()), suite.subset),
            corruptions=dataset.corruption_source,
            corruption_parameters=dataset.card.corruption_parameters,
            corruption_frame=str(dataset.frame) if dataset.frame is not None and corrupted else None,
            corruption_seed=CORRUPTION_SEED,
            jpeg_quality=suite.jpeg_quality,
        ),
        conditions=tuple(str(condition) for condition in request.conditions),
        teacher=TeacherFields.model_validate(
            {"name": request.teacher.name, "classifier": teacher.classifier, **teacher.identity, **tokenizer, **shots}
        ),
        methods={name: _resolved(method, suite.batch_size) for name, method in prepared.methods.items()},
        streams=_streams(suite.streaming) if online else EPISODIC,
        crop_scale=suite.crop_scale,
        seeds=suite.seeds,
        precision=suite.precision,
        shard_size=suite.shard_size,
        versions=versions(teacher.identity),
        revisions=RevisionFields(
            engine=ENGINE_REVISION,
            methods={method_of(name): method.revision for name, method in prepared.methods.items()},
            corruptions=corruption_revisions(made),
            uncommitted=uncommitted(),
            sources=_sources(prepared.methods),
        ),
        foreign=None if dataset.foreign is None else _foreign(dataset.foreign, suite.limit),
    )


def _streams(streaming: Streaming) -> StreamFields:
    setting = streaming.setting
    return StreamFields(
        setting=setting.name, reset=str(streaming.reset), parameters=setting.parameters, window=streaming.window
    )


def _foreign(dataset: Dataset, limit: int) -> ForeignFields:
    chosen = len(dataset.entries(CLEAN))
    return ForeignFields(
        name=dataset.card.name,
        images=chosen,
        subset=subset_rule(limit, chosen, dataset.available(CLEAN)),
        fingerprint=dataset.fingerprint([CLEAN]),
        reading=dataset.layout.reading,
    )


def versions(teacher_identity: Mapping[str, str]) -> dict[str, str]:
    """Return the versions of this package, its record schema, and the libraries that compute the numbers.

    Args:
        teacher_identity: tells whether the teacher's tokenizer comes from a library of its own.
    """
    tokenizer = _TOKENIZER_LIBRARIES if '"hf_tokenizer_name"' in teacher_identity.get("architecture", "") else ()
    return {
        "apm-tta": importlib.metadata.version("apm-tta"),
        "record_schema": str(SCHEMA_VERSION),
        **{name: _version(name) for name in (*_LIBRARIES, *tokenizer)},
        **decoder_versions(),
    }


def _sources(methods: Mapping[str, Method[Any]]) -> dict[str, SourceFields]:
    """State the code of every method that is not of this package, as it is in memory now."""
    kinds = {method_of(name): type(method) for name, method in methods.items()}
    sources = {name: method_source(name, kind) for name, kind in kinds.items()}
    return {name: SourceFields.model_validate(asdict(source)) for name, source in sources.items() if source is not None}


def _version(library: str) -> str:
    return _version_on(tuple(sys.path), library)


@cache  # to find and read a library's metadata takes milliseconds, for each of them and in every run of a process
def _version_on(_path: tuple[str, ...], library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _resolved(method: Method[Any], batch_size: int) -> MethodFields:
    """State a method's resolved parameters as plain data, and the batch size where its answers depend on it."""
    parameters = {
        **asdict(method.parameters),
        **stated_parameters(method),
        "templates": templates_name(method.parameters.templates),
        "sentences": method.templates,
    }
    prompts = stated_prompts(method)
    further = {
        **({"run_batch_size": batch_size} if method.batch_dependent else {}),
        **({"prompts": prompts} if prompts != method.templates else {}),
    }
    return MethodFields.model_validate({"protocol": method.protocol, "votes": method.votes, **parameters, **further})
