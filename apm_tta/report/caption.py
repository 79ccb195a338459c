"""The captions and notes that go with a table's numbers."""

from __future__ import annotations

import hashlib

from apm_tta.data.corruptions.revisions import C_BAR
from apm_tta.data.sample import parse_condition
from apm_tta.harness.storage.manifest import Manifest, MethodFields, Numbers, StreamFields
from apm_tta.method_rows import spelt_settings
from apm_tta.report.run_data import ReportData
from apm_tta.report.sites import Sites, is_pooled
from apm_tta.teachers import TEMPLATES
from apm_tta.teachers.learned_prompts import shortened
from apm_tta.teachers.templates import DESCRIPTIONS
from apm_tta.wording import pluralise


def caption(manifest: Manifest, sites: Sites) -> str:
    """State what every table must: n, subset rule, teacher, templates, protocol, seeds, commits and machines."""
    numbers = manifest.numbers
    data, teacher = numbers.dataset, numbers.teacher
    templates = ", ".join(f"{name} {_templates(method)}" for name, method in numbers.methods.items())
    protocols = sorted({method.protocol for method in numbers.methods.values()})
    templates = templates if teacher.classifier == "text" else "none"
    prompts = f" ({shortened(teacher.others['prompts'])})" if teacher.classifier == "prompts" else ""
    return (
        f"{manifest.dataset_title} ({data.name}): {data.subset} under each condition; "
        f"{_corruptions(numbers, manifest.dataset_title)}{_foreign(numbers)}"
        f"{_several_labels(data.several_labels)}"
        f"Teacher {teacher.name} (weights {teacher.weights_sha256[:12]}), class weights from "
        f"{teacher.classifier}{prompts}; templates: {templates}; protocol: {', '.join(protocols)}{_streams(numbers)}; "
        f"seeds {', '.join(map(str, numbers.seeds))}; {numbers.precision}. "
        f"apm-tta {numbers.versions['apm-tta']}, {sites.text()}."
    )


def _corruptions(numbers: Numbers, title: str) -> str:
    """Describe where the corrupted images came from; empty where there are none."""
    data = numbers.dataset
    if not any(parse_condition(name).corrupted for name in numbers.conditions):
        return ""
    made_for = "CIFAR-10-C" if data.corruption_parameters == "cifar" else "ImageNet-C"
    families = {*numbers.revisions.corruptions}
    made = ([made_for] if families - {C_BAR} else []) + ([f"{made_for}-bar"] if C_BAR in families else [])
    authors = title if data.corruptions == "stored" else " and ".join(made)
    generated = "" if data.corruptions == "stored" else f", applied as images were read, {_jpeg(data.jpeg_quality)}"
    frame = "" if data.corruption_frame is None else f", on images of {data.corruption_frame}"
    return f"severities as set by the authors of {authors}{frame}{generated}. "


def _several_labels(images: int) -> str:
    """State what the numbers mean where several classes of an image are right; empty where none has several."""
    if not images:
        return ""
    number = pluralise(images, "image has", "images have")
    return (
        f"{number} several right classes: an answer is right if it is any of them; NLL and Brier score are of the one "
        "with the highest probability; the worst classes and the balanced numbers count an image under the first. "
    )


def _foreign(numbers: Numbers) -> str:
    """Name the foreign images; empty where there are none."""
    return "" if numbers.foreign is None else f"Foreign images: {numbers.foreign.name}, {numbers.foreign.subset}. "


def _jpeg(quality: int | None) -> str:
    return "not recompressed" if quality is None else f"then recompressed as JPEG of quality {quality}"


def _templates(method: MethodFields) -> str:
    if method.templates in TEMPLATES:
        return method.templates
    if method.templates == DESCRIPTIONS:
        digest = hashlib.sha256("\n".join(method.sentences).encode()).hexdigest()[:12]
        return f"{DESCRIPTIONS} ({pluralise(len(method.sentences), 'sentence')} of the classes, sha256 {digest})"
    return ", ".join(f'"{sentence}"' for sentence in method.sentences)


def _streams(numbers: Numbers) -> str:
    streams = numbers.streams
    if not isinstance(streams, StreamFields):
        return ""
    reset = f"every {streams.reset} steps" if streams.reset.isdecimal() else streams.reset
    window = "" if streams.window is None else f"; images one by one, of which methods see the last {streams.window}"
    shown = ", which show images several times" if streams.repeats(numbers.conditions) else ""
    return f" ({streams.streaming.setting} streams{shown}, reset: {reset}{window})"


def disagreement_sentence(method: str, counts: dict[str, int]) -> str:
    """State who was right where a distilled method and its teacher differ.

    Args:
        method: name of the method.
        counts: its row of ``ReportData.disagreements``.
    """
    agreement = 100 * (1 - counts["different"] / counts["answers"])
    answers = pluralise(counts["answers"], "answer")
    return (
        f"{method} gave the same answer as its teacher {agreement:.1f} % of the time. They differed in "
        f"{counts['different']} of {answers}, of which {method} was right in "
        f"{counts['method_right']} and the teacher in {counts['teacher_right']}."
    )


def notes(data: ReportData) -> list[str]:
    """List what a reader must know besides the caption: images without an answer, remarks, what is left out."""
    manifest, damaged = data.manifest, data.damaged
    sentences = []
    if len(damaged):
        first_ids = ", ".join(str(sample_id) for sample_id in damaged["id"].unique()[:3])
        count = damaged["id"].nunique()
        subject = pluralise(count, "image could not be read and has", "images could not be read and have")
        sentences.append(f"{subject} no answer (column errors; errors.csv): {first_ids}.")
    sentences += [f"{note}." for note in manifest.notes]
    sentences += data.remarks
    pairs = zip(data.results["measured_on"], data.results["batch_size"], strict=True)
    if pooled := sum(is_pooled(*pair) for pair in pairs):
        sentences.append(
            f"Times and memory of {pooled} of {pluralise(len(data.results), 'cell')} are left out: the shards were "
            "answered on different hardware, with different numbers of threads, or at different batch sizes (columns "
            "measured_on and batch_size of results.csv)."
        )
    sentences += data.timing_notes
    if manifest.tuned:
        settings = "; ".join(f"{row} with {spelt_settings(own)}" for row, own in manifest.tuned.items())
        sentences.append(f"Tuned, not the defaults: {settings}.")
    if manifest.left_out:
        sentences.append("Left out: " + "; ".join(dict.fromkeys(manifest.left_out.values())) + ".")
    return sentences
