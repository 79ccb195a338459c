"""Numbers from papers, to be shown next to ours where both measure the same thing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd

from apm_tta.configuration import read_yaml
from apm_tta.harness.storage.manifest import Numbers, StreamFields
from apm_tta.method_rows import method_of
from apm_tta.report.published_rows import Protocol, published_rows, sentences
from apm_tta.resources import PUBLISHED
from apm_tta.teachers.templates import DATASET


@dataclass(frozen=True)
class Published:
    """One number from a paper.

    Attributes:
        top1: top-1 accuracy, percent.
        source: the paper or table that it comes from.
        differs: how its protocol differs from this run's; empty where it does not.
        tuned: what its authors chose for each data set or by test labels; empty where they did not.
    """

    top1: float
    source: str
    differs: str
    tuned: str


def published_number(numbers: Numbers, method: str, condition: str) -> Published | None:
    """Return the number published for a cell; None where there is none.

    Args:
        numbers: ``numbers`` of the run's manifest.
        method: name of the row.
        condition: the condition as ``str(Condition)``; published numbers are for clean images.
    """
    if condition != "clean":
        return None
    table = published_table()
    same = (
        (table["teacher"] == numbers.teacher.name)
        & (table["dataset"] == numbers.dataset.name)
        & (table["method"] == method_of(method))
    )
    matching = table[same].to_dict("records")
    if not matching:
        return None
    first = matching[0]
    differs = _source_differences(first["protocol"], numbers, method)
    if not numbers.dataset.subset.startswith("all "):
        differs.append("here a subset of the images")
    if numbers.teacher.classifier != "text":
        differs.append("here no class weights from text")
    differs += _protocol_differences(numbers, method, first["protocol"])
    tuned = _protocols().get(method_of(method), {}).get("tuned", "")
    return Published(float(first["top1"]), str(first["source"]), "; ".join(differs), tuned)


def _source_differences(protocol: Protocol, numbers: Numbers, method: str) -> list[str]:
    """Describe how the images, classes and sentences of a publication differ from the run's."""
    differs = [f"published of {protocol.split}"] if protocol.split else []
    if protocol.other_classes:
        differs.append(f"published with classes named with {protocol.other_classes}")
    if protocol.names == "underscored":
        differs.append("published with underscores in class names")
    recorded = numbers.methods.get(method)
    if protocol.templates is None or recorded is None:
        return differs
    same = protocol.templates == recorded.templates == DATASET or (
        protocol.templates != DATASET and recorded.sentences == sentences(protocol.templates)
    )
    return differs if same else [*differs, "published with its own templates for this set"]


def _protocol_differences(numbers: Numbers, method: str, of_source: Protocol) -> list[str]:
    """Describe how the run's parameters and stream differ from the publication's."""
    protocol = _protocols().get(method_of(method), {})
    published = dict(protocol.get("parameters", {}))
    if numbers.dataset.name.split("-")[0] == "imagenet":
        published |= protocol.get("imagenet", {})
    recorded = numbers.methods.get(method)
    own = {} if recorded is None else {"templates": recorded.templates, **recorded.others}
    if of_source.templates is not None:
        published.pop("templates", None)
    differs = []
    for name, value in published.items():
        own_value = own.get(name)
        accepted = value if isinstance(value, list) else [value]
        if name in own and own_value not in accepted:
            differs.append(f"{name} {accepted[0]} published, {own_value} here")
    online = recorded is not None and recorded.protocol == "online"
    if online and isinstance(numbers.streams, StreamFields) and str(numbers.streams.streaming) != "iid":
        differs.append(f"here a {numbers.streams.streaming} stream")
    return differs


@cache
def _protocols() -> dict[str, Any]:
    return dict(read_yaml(PUBLISHED / "protocols.yaml"))


@cache
def published_table() -> pd.DataFrame:
    """Return every published top-1 of clean images, with the columns source, teacher, method, dataset, top1, protocol.

    A mean over several sets stands under its published name, which no run has.
    """
    rows = [row for row in published_rows() if row.metric == "top1" and row.protocol.severity is None]
    return pd.DataFrame(
        {
            "source": [row.source for row in rows],
            "teacher": [row.teacher for row in rows],
            "method": [row.method for row in rows],
            "dataset": [row.datasets[0] if len(row.datasets) == 1 else row.published_set for row in rows],
            "top1": [float(row.value) for row in rows],
            "protocol": [row.protocol for row in rows],
        }
    )
