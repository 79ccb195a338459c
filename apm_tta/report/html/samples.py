"""Images with what each method said of them: a few, chosen by a fixed rule, as the methods were given them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from apm_tta.data.cards import load_card
from apm_tta.data.dataset import Dataset
from apm_tta.data.layouts import DamagedImage
from apm_tta.data.sample import Condition
from apm_tta.errors import UserError
from apm_tta.report.cell_answers import Answers, condition_files, positions, read_condition
from apm_tta.report.html.means import conditions_of
from apm_tta.report.html.pictures import Album, Picture
from apm_tta.report.run_data import ReportData

RULE = (
    "images on which methods disagree first, then the others, each in the order of the SHA-256 of their ids; as many "
    "under every condition"
)


@dataclass(frozen=True)
class Island:
    """A picture of what went on in a method while it answered.

    Attributes:
        caption: what it shows, such as a method and an iteration.
        png: its content.
    """

    caption: str
    png: bytes


Islands = Mapping[tuple[str, str], Sequence[Island]]
"""By condition (as in the table) and id of an image: under another condition it is another image."""


@dataclass(frozen=True)
class MethodAnswer:
    """One method's answer for one image."""

    method: str
    prediction: str
    right: bool
    confidence: float


@dataclass(frozen=True)
class Sample:
    """One image under one condition.

    Attributes:
        id: of the image.
        condition: as in the table.
        label: name of its class.
        answers: of every method, of the run's first seed.
        differ: whether methods gave different answers.
        picture: the image as methods were given it; None where it cannot be shown.
        islands: pictures of what went on while it was answered.
    """

    id: str
    condition: str
    label: str
    answers: list[MethodAnswer]
    differ: bool
    picture: Picture | None
    islands: list[Picture]


@dataclass(frozen=True)
class Gallery:
    """What the page shows of single images.

    Attributes:
        samples: in the order of the run's conditions.
        rule: by which they were chosen, in words.
        notes: why pictures are missing, in sentences.
        picture_bytes: of all pictures.
    """

    samples: list[Sample]
    rule: str
    notes: list[str]
    picture_bytes: int


def choose_samples(data: ReportData, count: int, islands: Islands | None = None) -> Gallery:
    """At most ``count`` images of a run, and pictures of those that can be read here.

    Args:
        data: of the run.
        count: images, at most.
        islands: further pictures of them.
    """
    names, dataset, why = classes_and_images(data)
    conditions = _spread(conditions_of(data), count)
    share = count // max(1, len(conditions))
    album = Album()
    chosen: dict[str, list[Sample]] = {}
    for files in condition_files(data.run).values() if share else ():
        cells = [cell for cell in read_condition(data.run, files) if cell.cell["seed"] == data.seeds[0] and len(cell)]
        if not cells:
            continue
        condition = Condition(cells[0].cell["corruption"], cells[0].cell["severity"])
        if condition in conditions:
            reader = None if dataset is None else _Reader(dataset, condition, album)
            chosen[str(condition)] = _of_condition(cells, condition, data.methods, share, names, reader)
    samples = [shown for condition in conditions for shown in chosen.get(str(condition), [])]
    samples = [_with_islands(shown, (islands or {}).get((shown.condition, shown.id), ()), album) for shown in samples]
    spread = len(conditions) < len(conditions_of(data))
    notes = [why] if why else []
    if album.left_out:
        notes.append(f"{album.left_out} pictures are left out, to keep the file small.")
    rule = f"{RULE}, of which every so many were taken: there are more conditions than images" if spread else RULE
    return Gallery(samples, rule, notes, album.taken)


def _spread(conditions: Sequence[Condition], count: int) -> list[Condition]:
    """All, or ``count`` of them at even distances."""
    if len(conditions) <= count:
        return list(conditions)
    return [conditions[index * len(conditions) // count] for index in range(count)]


class _Reader:
    """Reads images of one condition by their ids."""

    def __init__(self, dataset: Dataset, condition: Condition, album: Album) -> None:
        self._dataset, self._condition, self._album = dataset, condition, album
        self._entries = {entry.id: entry for entry in dataset.entries(condition)}

    def picture(self, sample_id: str, label: str) -> Picture | None:
        """None where there is no such image, where it cannot be read, or where there is no room left."""
        entry = self._entries.get(sample_id)
        if entry is None:
            return None
        try:
            image = self._dataset.read(entry, self._condition).image
        except DamagedImage:
            return None
        return self._album.add_image(image, f"{label}, {self._condition}")


def _of_condition(
    cells: Sequence[Answers],
    condition: Condition,
    methods: Sequence[str],
    share: int,
    names: Sequence[str],
    reader: _Reader | None,
) -> list[Sample]:
    cells = sorted(cells, key=lambda cell: methods.index(cell.cell["method"]))
    ids = cells[0].ids
    places = [positions(ids, cell.ids) for cell in cells]
    common = np.flatnonzero(np.all([place >= 0 for place in places], axis=0))
    predictions = np.stack([cell.prediction[place[common]] for cell, place in zip(cells, places, strict=True)])
    differ = (predictions != predictions[0]).any(axis=0)
    ranked = sorted(
        range(len(common)),
        key=lambda index: (not differ[index], hashlib.sha256(ids[int(common[index])].as_py().encode()).hexdigest()),
    )
    found = []
    for index in ranked[:share]:
        at = int(common[index])
        sample_id, label = ids[at].as_py(), _name(names, int(cells[0].label[at]))
        answers = [
            MethodAnswer(
                cell.cell["method"],
                _name(names, int(cell.prediction[place[at]])),
                bool(cell.right[place[at]]),
                float(cell.confidence[place[at]]),
            )
            for cell, place in zip(cells, places, strict=True)
        ]
        picture = None if reader is None else reader.picture(sample_id, label)
        found.append(Sample(sample_id, str(condition), label, answers, bool(differ[index]), picture, []))
    return found


def _with_islands(shown: Sample, islands: Sequence[Island], album: Album) -> Sample:
    added = [album.add_png(island.png, f"{shown.label}: {island.caption}", island.caption) for island in islands]
    return replace(shown, islands=[picture for picture in added if picture is not None])


def classes_and_images(data: ReportData) -> tuple[Sequence[str], Dataset | None, str]:
    """Class names, the data set where it can be read here and is the run's, and why not where it is not."""
    described, stored = data.manifest.numbers.dataset, data.manifest.environment.data_root
    try:
        data_root = None if stored is None else Path(stored)
        dataset = Dataset(
            load_card(described.name), data_root, data.manifest.limit, jpeg_quality=described.jpeg_quality
        )
        if dataset.fingerprint(conditions_of(data)) != described.fingerprint:
            return dataset.classes, None, "The images that lie here now are not the run's: no pictures are shown."
    except UserError as error:
        return [], None, f"The images cannot be read here ({error}): no pictures are shown."
    return dataset.classes, dataset, ""


def _name(names: Sequence[str], index: int) -> str:
    return names[index] if 0 <= index < len(names) else f"class {index}"
