"""What a table must say beside its numbers."""

from __future__ import annotations

import pandas as pd

from apm_tta.harness.storage.manifest import Manifest, Numbers, StreamFields


def caption(manifest: Manifest) -> str:
    """State what every table must: n, subset rule, teacher, templates, protocol, seeds, commit, machine."""
    numbers, place = manifest.numbers, manifest.environment
    data, teacher = numbers.dataset, numbers.teacher
    templates = ", ".join(f"{name} {_templates(method.templates)}" for name, method in numbers.methods.items())
    protocols = sorted({method.protocol for method in numbers.methods.values()})
    templates = templates if teacher.classifier == "text" else "none"
    return (
        f"{data.title} ({data.name}): {data.subset} under each condition; {_corruptions(numbers)}"
        f"Teacher {teacher.name} (weights {teacher.weights_sha256[:12]}), class weights from "
        f"{teacher.classifier}; templates: {templates}; protocol: {', '.join(protocols)}{_streams(numbers)}; "
        f"seeds {', '.join(map(str, numbers.seeds))}; {numbers.precision}. "
        f"apm-tta {numbers.versions['apm-tta']}, commit {place.commit[:12]}; "
        f"{place.device_name}, {place.threads} threads, {place.started}."
    )


def _corruptions(numbers: Numbers) -> str:
    """Say where corrupted images came from; nothing where there are none."""
    data = numbers.dataset
    if numbers.conditions == ("clean",):
        return ""
    authors = "CIFAR-10-C" if data.corruption_parameters == "cifar" else "ImageNet-C"
    made = "" if data.corruptions == "stored" else f", made as images were read, {_jpeg(data.jpeg_quality)}"
    return f"severities as the authors of {authors} set them{made}. "


def _jpeg(quality: int | None) -> str:
    return "not compressed again" if quality is None else f"then through JPEG of quality {quality}"


def _templates(templates: str | tuple[str, ...]) -> str:
    return templates if isinstance(templates, str) else ", ".join(f'"{template}"' for template in templates)


def _streams(numbers: Numbers) -> str:
    streams = numbers.streams
    if not isinstance(streams, StreamFields):
        return ""
    return f" ({streams.setting} streams, reset: {streams.reset})"


def disagreement_sentence(method: str, counts: dict[str, int]) -> str:
    """Say who was right where a distilled method and its teacher differ.

    Args:
        method: name.
        counts: a row of ``ReportData.disagreements``.
    """
    agreement = 100 * (1 - counts["different"] / counts["answers"])
    return (
        f"{method} gave its teacher's answer {agreement:.1f} % of the time. It differed in {counts['different']} of "
        f"{counts['answers']} answers: there {method} was right {counts['method_right']} times, "
        f"the teacher {counts['teacher_right']} times."
    )


def notes(manifest: Manifest, damaged: pd.DataFrame) -> list[str]:
    """Say what a reader must know beside the caption: images without an answer, methods left out.

    Args:
        manifest: of the run.
        damaged: of ``ReportData``.
    """
    sentences = []
    if len(damaged):
        named = ", ".join(str(name) for name in damaged["id"].unique()[:3])
        count = damaged["id"].nunique()
        sentences.append(f"{count} images could not be read and have no answer (column errors; errors.csv): {named}.")
    if manifest.left_out:
        sentences.append("Left out: " + "; ".join(manifest.left_out.values()) + ".")
    return sentences
