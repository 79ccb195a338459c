"""What a table must say beside its numbers."""

from __future__ import annotations

from typing import Any

import pandas as pd

from apm_tta.harness.compute.plan import EPISODIC


def caption(manifest: dict[str, Any]) -> str:
    """What every table must state: n, subset rule, teacher, templates, protocol, seed, commit, machine."""
    numbers, place = manifest["numbers"], manifest["environment"]
    data, teacher, versions = numbers["dataset"], numbers["teacher"], numbers["versions"]
    templates = ", ".join(f"{name} {_templates(method['templates'])}" for name, method in numbers["methods"].items())
    protocols = sorted({method["protocol"] for method in numbers["methods"].values()})
    templates = templates if teacher["classifier"] == "text" else "none"
    return (
        f"{data['title']} ({data['name']}): {data['subset']} under each condition; {_corruptions(numbers)}"
        f"Teacher {teacher['name']} (weights {teacher['weights_sha256'][:12]}), class weights from "
        f"{teacher['classifier']}; templates: {templates}; protocol: {', '.join(protocols)}{_streams(numbers)}; "
        f"seeds {', '.join(map(str, numbers['seeds']))}; {numbers['precision']}. "
        f"apm-tta {versions['apm-tta']}, commit {versions['commit'][:12]}; "
        f"{place['device_name']}, {place['threads']} threads, {place['started']}."
    )


def _corruptions(numbers: dict[str, Any]) -> str:
    """Where corrupted images came from; nothing where there are none."""
    data = numbers["dataset"]
    if numbers["conditions"] == ["clean"]:
        return ""
    authors = "CIFAR-10-C" if data["corruption_parameters"] == "cifar" else "ImageNet-C"
    quality = data["jpeg_quality"]
    made = "" if data["corruptions"] == "stored" else f", made as images were read, {_jpeg(quality)}"
    return f"severities as the authors of {authors} set them{made}. "


def _jpeg(quality: int | None) -> str:
    return "not compressed again" if quality is None else f"then through JPEG of quality {quality}"


def _templates(templates: str | list[str]) -> str:
    return templates if isinstance(templates, str) else ", ".join(f'"{template}"' for template in templates)


def _streams(numbers: dict[str, Any]) -> str:
    streams = numbers["streams"]
    return "" if streams == EPISODIC else f" ({streams['setting']} streams, reset: {streams['reset']})"


def disagreement_sentence(method: str, counts: dict[str, int]) -> str:
    """Who was right where a distilled method and its teacher differ."""
    agreement = 100 * (1 - counts["different"] / counts["answers"])
    return (
        f"{method} gave its teacher's answer {agreement:.1f} % of the time. It differed in {counts['different']} of "
        f"{counts['answers']} answers: there {method} was right {counts['method_right']} times, "
        f"the teacher {counts['teacher_right']} times."
    )


def notes(manifest: dict[str, Any], damaged: pd.DataFrame) -> list[str]:
    """What a reader of the table must know beside its caption: images without an answer, methods left out."""
    said = []
    if len(damaged):
        named = ", ".join(str(name) for name in damaged["id"].unique()[:3])
        count = damaged["id"].nunique()
        said.append(f"{count} images could not be read and have no answer (column errors; errors.csv): {named}.")
    if left_out := manifest.get("left_out"):
        said.append("Left out: " + "; ".join(left_out.values()) + ".")
    return said
