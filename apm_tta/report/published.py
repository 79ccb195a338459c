"""Numbers from papers, beside ours where they are of the same thing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd

from apm_tta.configuration import read_yaml
from apm_tta.harness.storage.manifest import Numbers, StreamFields
from apm_tta.resources import DATASETS, PUBLISHED

# What the sources call by another name than our cards.
_NAMES = {"imagenet-v2": "imagenet-v2-matched-frequency"}
_TEMPLATES_OF_BENCHMARK = "its own templates for each set"


@dataclass(frozen=True)
class Published:
    """One number of a paper.

    Attributes:
        top1: percent.
        source: paper or table.
        differs: in what its protocol differs from this run's; empty where it does not.
    """

    top1: float
    source: str
    differs: str


def published_number(numbers: Numbers, method: str, condition: str) -> Published | None:
    """What has been published for a cell; None where nothing has.

    Args:
        numbers: of the run's manifest.
        method: name.
        condition: as ``str(Condition)``; published numbers are of clean images.
    """
    if condition != "clean":
        return None
    table = published_table()
    same = (
        (table["teacher"] == numbers.teacher.name)
        & (table["dataset"] == numbers.dataset.name)
        & (table["method"] == method)
    )
    found = table[same].to_dict("records")
    if not found:
        return None
    first = found[0]
    differs = [first["differs"]] if first["differs"] else []
    if not numbers.dataset.subset.startswith("all "):
        differs.append("here a subset of the images")
    if numbers.teacher.classifier != "text":
        differs.append("here no class weights from text")
    differs += _other_parameters(numbers, method)
    return Published(float(first["top1"]), str(first["source"]), "; ".join(differs))


def _other_parameters(numbers: Numbers, method: str) -> list[str]:
    """What the run's parameters and stream have otherwise than the publication, in words."""
    protocol = _protocols().get(method, {})
    wanted = dict(protocol.get("parameters", {}))
    if numbers.dataset.name.split("-")[0] == "imagenet":
        wanted |= protocol.get("imagenet", {})
    stated = numbers.methods.get(method)
    own = {} if stated is None else {"templates": stated.templates, **stated.others}
    differs = []
    for name, value in wanted.items():
        # Sentences of the data set itself are recorded as such.
        found = "dataset" if name == "templates" and isinstance(own.get(name), tuple) else own.get(name)
        accepted = value if isinstance(value, list) else [value]
        if name in own and found not in accepted:
            differs.append(f"{name} {accepted[0]} published, {found} here")
    online = stated is not None and stated.protocol == "online"
    if online and isinstance(numbers.streams, StreamFields) and numbers.streams.setting != "iid":
        differs.append(f"here a {numbers.streams.setting} stream")
    return differs


@cache
def _protocols() -> dict[str, Any]:
    return dict(read_yaml(PUBLISHED / "protocols.yaml"))


@cache
def published_table() -> pd.DataFrame:
    """Every published top-1: source, teacher, method, dataset, top1, differs."""
    papers = pd.read_csv(PUBLISHED / "tta_published.csv")
    papers = papers[papers["metric"] == "top1"].rename(columns={"value": "top1"}).assign(differs="")
    benchmark = pd.read_csv(PUBLISHED / "zero_shot_clip_benchmark.csv").assign(
        source="open_clip's zero-shot benchmark", method="ensemble", differs=_TEMPLATES_OF_BENCHMARK
    )
    imagenet = benchmark["dataset"].str.startswith("imagenet")  # there its templates are those of ``ensemble``
    benchmark.loc[imagenet, "differs"] = ""
    columns = ["source", "teacher", "method", "dataset", "top1", "differs"]
    table = pd.concat([papers[columns], benchmark[columns]], ignore_index=True)
    cards = {path.stem.replace("_", "-"): path.stem for path in DATASETS.glob("*.yaml")}
    table["dataset"] = [cards.get(_NAMES.get(name, name), name) for name in table["dataset"]]
    return table
