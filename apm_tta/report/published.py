"""Numbers from papers, to be shown next to ours where both measure the same thing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd

from apm_tta.configuration import read_yaml
from apm_tta.harness.storage.manifest import Numbers, StreamFields
from apm_tta.method_rows import method_of
from apm_tta.resources import DATASETS, PUBLISHED

# Data sets that the sources and our cards name differently.
_NAMES = {"imagenet-v2": "imagenet-v2-matched-frequency"}
_BENCHMARK_TEMPLATES = "its own templates for each set"


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
    differs = [first["differs"]] if first["differs"] else []
    if not numbers.dataset.subset.startswith("all "):
        differs.append("here a subset of the images")
    if numbers.teacher.classifier != "text":
        differs.append("here no class weights from text")
    differs += _protocol_differences(numbers, method)
    tuned = _protocols().get(method_of(method), {}).get("tuned", "")
    return Published(float(first["top1"]), str(first["source"]), "; ".join(differs), tuned)


def _protocol_differences(numbers: Numbers, method: str) -> list[str]:
    """Describe how the run's parameters and stream differ from the publication's."""
    protocol = _protocols().get(method_of(method), {})
    published = dict(protocol.get("parameters", {}))
    if numbers.dataset.name.split("-")[0] == "imagenet":
        published |= protocol.get("imagenet", {})
    recorded = numbers.methods.get(method)
    own = {} if recorded is None else {"templates": recorded.templates, **recorded.others}
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
    """Return every published top-1, with the columns source, teacher, method, dataset, top1 and differs."""
    papers = pd.read_csv(PUBLISHED / "tta_published.csv")
    papers = papers[papers["metric"] == "top1"].rename(columns={"value": "top1"}).assign(differs="")
    benchmark = pd.read_csv(PUBLISHED / "zero_shot_clip_benchmark.csv").assign(
        source="open_clip's zero-shot benchmark", method="ensemble", differs=_BENCHMARK_TEMPLATES
    )
    imagenet = benchmark["dataset"].str.startswith("imagenet")  # on which it uses the same templates as ``ensemble``
    benchmark.loc[imagenet, "differs"] = ""
    columns = ["source", "teacher", "method", "dataset", "top1", "differs"]
    table = pd.concat([papers[columns], benchmark[columns]], ignore_index=True)
    cards = {path.stem.replace("_", "-"): path.stem for path in DATASETS.glob("*.yaml")}
    table["dataset"] = [cards.get(_NAMES.get(name, name), name) for name in table["dataset"]]
    return table
