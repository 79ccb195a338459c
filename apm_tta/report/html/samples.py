"""Images with what each method said of them: a few, chosen by a fixed rule, as the model saw them."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from apm_tta.data.cards import load_card
from apm_tta.data.dataset import Dataset
from apm_tta.data.layouts import LAYOUTS, DamagedImage
from apm_tta.data.sample import Condition
from apm_tta.errors import UserError
from apm_tta.report.answers import Answers, condition_files, positions, read_condition
from apm_tta.report.data import ReportData
from apm_tta.report.results import condition_name

LARGEST_SIDE = 160
RULE = (
    "images on which methods disagree first, then the others, each in the order of the SHA-256 of their ids; as many "
    "under every condition"
)


@dataclass(frozen=True)
class Said:
    """One method's answer for one image."""

    method: str
    prediction: str
    right: bool
    confidence: float


@dataclass(frozen=True)
class Shown:
    """One image under one condition.

    Attributes:
        id: of the image.
        condition: as in the table.
        label: name of its class.
        answers: of every method.
        picture: ``data:`` address of the image as the model saw it; empty where the data cannot be read here.
    """

    id: str
    condition: str
    label: str
    answers: list[Said]
    picture: str


def choose_samples(data: ReportData, count: int) -> tuple[list[Shown], str]:
    """At most ``count`` images, and why there are no pictures of them (empty where there are)."""
    names, dataset, why = _classes(data)
    numbers = data.manifest["numbers"]
    order = list(numbers["conditions"])
    share = max(1, count // max(1, len(order)))
    chosen: dict[str, list[Shown]] = {}
    for files in condition_files(data.run).values():
        cells = [cell for cell in read_condition(data.run, files) if cell.cell["seed"] == data.seeds[0] and len(cell)]
        if cells:
            condition = condition_name(cells[0].cell["corruption"], cells[0].cell["severity"])
            chosen[condition] = _of_condition(cells, condition, data.methods, share, names, dataset)
    return [shown for condition in order for shown in chosen.get(condition, [])][:count], why


def _of_condition(
    cells: Sequence[Answers],
    condition: str,
    methods: Sequence[str],
    share: int,
    names: Sequence[str],
    dataset: Dataset | None,
) -> list[Shown]:
    cells = sorted(cells, key=lambda cell: methods.index(cell.cell["method"]))
    ids = cells[0].ids
    places = [positions(ids, cell.ids) for cell in cells]
    common = np.flatnonzero(np.all([place >= 0 for place in places], axis=0))
    predictions = np.stack([cell.prediction[place[common]] for cell, place in zip(cells, places, strict=True)])
    differ = (predictions != predictions[0]).any(axis=0)
    ranked = sorted(
        range(len(common)),
        key=lambda index: (
            not differ[index],
            hashlib.sha256(ids[int(common[index])].as_py().encode()).hexdigest(),
        ),
    )
    found = []
    for index in ranked[:share]:
        at = int(common[index])
        sample_id, label = ids[at].as_py(), int(cells[0].label[at])
        answers = [
            Said(
                cell.cell["method"],
                _name(names, int(cell.prediction[place[at]])),
                bool(cell.right[place[at]]),
                float(cell.confidence[place[at]]),
            )
            for cell, place in zip(cells, places, strict=True)
        ]
        picture = _picture(dataset, sample_id, cells[0].cell) if dataset is not None else ""
        found.append(Shown(sample_id, condition, _name(names, label), answers, picture))
    return found


def _classes(data: ReportData) -> tuple[Sequence[str], Dataset | None, str]:
    """Class names, the data set where it can be read here and is the run's, and why not where it is not."""
    numbers, manifest = data.manifest["numbers"], data.manifest
    described = numbers["dataset"]
    try:
        card = load_card(described["name"])
        stored = manifest["environment"].get("data_root")
        root = None if stored is None or LAYOUTS.get(card.layout).carried else Path(stored)
        dataset = Dataset(card, root, manifest.get("limit", 0), jpeg_quality=described["jpeg_quality"])
        wanted = numbers["conditions"]
        conditions = [condition for condition in _conditions(data) if str(condition) in wanted]
        if dataset.fingerprint(conditions) != described["fingerprint"]:
            return dataset.classes, None, "The images that lie here now are not the run's: no pictures are shown."
    except UserError as error:
        return [], None, f"The images cannot be read here ({error}): no pictures are shown."
    return dataset.classes, dataset, ""


def _conditions(data: ReportData) -> list[Condition]:
    pairs = data.results[["corruption", "severity"]].drop_duplicates().itertuples(index=False, name=None)
    return [Condition(str(corruption), int(severity)) for corruption, severity in pairs]


def _picture(dataset: Dataset, sample_id: str, cell: dict[str, Any]) -> str:
    condition = Condition(cell["corruption"], cell["severity"])
    entry = next((entry for entry in dataset.entries(condition) if entry.id == sample_id), None)
    if entry is None:
        return ""
    try:
        image = dataset.read(entry, condition).image
    except DamagedImage:
        return ""
    content = io.BytesIO()
    if max(image.size) > LARGEST_SIDE:
        image.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
        image.save(content, "JPEG", quality=90)
        kind = "jpeg"
    else:
        image.save(content, "PNG")
        kind = "png"
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"


def _name(names: Sequence[str], index: int) -> str:
    return names[index] if 0 <= index < len(names) else f"class {index}"
