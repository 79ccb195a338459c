"""Sample images with every method's answer, shown as the methods received them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from PIL import Image

from apm_tta.data.dataset import ChangedImage, Dataset
from apm_tta.data.image_digests import ImageDigests
from apm_tta.data.image_files import OutOfReach, UnreadImage
from apm_tta.data.layouts import Entry
from apm_tta.data.sample import Condition
from apm_tta.errors import UserError
from apm_tta.harness.compute.rebuild import has_same_images, rebuild_dataset
from apm_tta.harness.storage.carried_images import as_answered
from apm_tta.harness.storage.image_list import read_image_list
from apm_tta.report.html.means import run_conditions
from apm_tta.report.html.pictures import Album, Picture
from apm_tta.report.run_data import ReportData
from apm_tta.report.sampled_images import RULE, SampledImage
from apm_tta.wording import pluralise


@dataclass(frozen=True)
class Island:
    """Islands in an image, to be laid over it.

    Attributes:
        name: where they come from, such as a layer or an iteration.
        caption: their numbers.
        colours: content of a PNG file, a pixel a location.
        contours: content of a PNG file with transparent ground.
    """

    name: str
    caption: str
    colours: bytes
    contours: bytes


Islands = Mapping[tuple[str, str], Sequence[Island]]
"""Pictures by condition (as in the table) and id of an image: under another condition it is a different image."""


@dataclass(frozen=True)
class ShownIsland:
    """An ``Island`` whose pictures have their place on the page; attributes are as there."""

    name: str
    caption: str
    colours: Picture
    contours: Picture


@dataclass(frozen=True)
class MethodAnswer:
    """One method's answer for one image.

    Attributes:
        method: name of the method.
        prediction: name of the predicted class.
        right: whether the prediction is the label.
        confidence: softmax probability of the prediction, 0 .. 1; a share of votes for some methods.
    """

    method: str
    prediction: str
    right: bool
    confidence: float


@dataclass(frozen=True)
class Sample:
    """One image under one condition.

    Attributes:
        id: id of the image.
        condition: the condition, as in the table.
        label: name of its class.
        answers: every method's answer with the run's first seed.
        differ: whether the methods' predictions differ.
        picture: the image as the methods received it; None where it cannot be shown.
        islands: islands to be laid over the picture, in the order of a slider.
    """

    id: str
    condition: str
    label: str
    answers: list[MethodAnswer]
    differ: bool
    picture: Picture | None
    islands: list[ShownIsland]


@dataclass(frozen=True)
class Gallery:
    """The sample images on the page.

    Attributes:
        samples: the images, in the order of the run's conditions.
        rule: how they were chosen, in words.
        notes: sentences on why pictures are missing.
        picture_bytes: size of all pictures together.
    """

    samples: list[Sample]
    rule: str
    notes: list[str]
    picture_bytes: int


def choose_samples(data: ReportData, count: int, islands: Islands | None = None) -> Gallery:
    """Choose at most ``count`` images of a run, with pictures of those that can be read here.

    Args:
        data: data of the run.
        count: largest number of images, at most ``sampled_images.MOST``.
        islands: additional pictures of the images.
    """
    names, dataset, reason = open_run_dataset(data)
    conditions = _evenly_spaced(run_conditions(data), count)
    per_condition = count // max(1, len(conditions))
    album = Album()
    answered = _Answered(data)
    samples = []
    for condition in conditions:
        images = data.samples.get(str(condition), [])[:per_condition]
        reader = _Reader(dataset, condition, album, answered) if dataset is not None and images else None
        samples += [_sample(image, condition, names, reader) for image in images]
    samples = [
        _with_islands(sample, (islands or {}).get((sample.condition, sample.id), ()), album) for sample in samples
    ]
    notes = [reason] if reason else []
    if album.left_out:
        notes.append(f"{pluralise(album.left_out, 'picture was', 'pictures were')} left out to keep the file small.")
    if album.changed:
        subject = pluralise(album.changed, "picture is", "pictures are")
        notes.append(f"{subject} not shown: what is in the file is no longer what the run answered.")
    rule = RULE
    if len(conditions) < len(run_conditions(data)):
        rule += "; only evenly spaced conditions are shown, since there are more conditions than images"
    return Gallery(samples, rule, notes, album.size)


def _evenly_spaced(conditions: Sequence[Condition], count: int) -> list[Condition]:
    """Return all conditions, or ``count`` evenly spaced ones where there are more."""
    if len(conditions) <= count:
        return list(conditions)
    return [conditions[index * len(conditions) // count] for index in range(count)]


class _Answered:
    """The contents that a run's rows are answers to: an image may have been repaired since the run began."""

    def __init__(self, data: ReportData) -> None:
        self._data = data

    @cached_property
    def images(self) -> ImageDigests | None:
        """Look through all records: only where an image is not what it was."""
        numbers = self._data.manifest.numbers
        return as_answered(self._data.run, numbers, read_image_list(self._data.run, numbers))[1]


class _Reader:
    """A reader of the images under one condition, by their ids."""

    def __init__(self, dataset: Dataset, condition: Condition, album: Album, answered: _Answered) -> None:
        self._dataset, self._condition, self._album, self._answered = dataset, condition, album, answered
        self._entries = {entry.id: entry for entry in dataset.entries(condition)}

    def picture(self, sample_id: str, label: str) -> Picture | None:
        """Add the image to the album; None where it does not exist, cannot be read, or does not fit any more."""
        entry = self._entries.get(sample_id)
        if entry is None:
            return None
        try:
            image = self._read(entry)
        except (UnreadImage, OutOfReach):
            return None
        except ChangedImage:
            self._album.changed += 1
            return None
        return self._album.add_image(image, f"{label}, {self._condition}")

    def _read(self, entry: Entry) -> Image.Image:
        try:
            return self._dataset.read(entry, self._condition).image
        except ChangedImage:
            if self._answered.images is None:
                raise
            self._dataset.expect(self._answered.images)
            return self._dataset.read(entry, self._condition).image


def _sample(image: SampledImage, condition: Condition, names: Sequence[str], reader: _Reader | None) -> Sample:
    """Name an image's classes and add its picture."""
    label = " or ".join(_class_name(names, each) for each in image.classes)
    answers = [
        MethodAnswer(answer.method, _class_name(names, answer.prediction), answer.right, answer.confidence)
        for answer in image.answers
    ]
    picture = None if reader is None else reader.picture(image.id, label)
    return Sample(image.id, str(condition), label, answers, image.differ, picture, [])


def _with_islands(sample: Sample, islands: Sequence[Island], album: Album) -> Sample:
    shown = []
    for island in islands:
        colours = album.add_png(island.colours, f"{sample.label}: islands of {island.name}")
        contours = album.add_png(island.contours, "")
        if colours is not None and contours is not None:
            shown.append(ShownIsland(island.name, island.caption, colours, contours))
    return replace(sample, islands=shown)


def open_run_dataset(data: ReportData) -> tuple[Sequence[str], Dataset | None, str]:
    """Open the run's data set on this machine.

    Returns:
        The class names; the data set, or None where it cannot be read here or is not the run's; and why it is None.
    """
    names = data.manifest.numbers.dataset.class_names
    try:
        dataset = rebuild_dataset(data.manifest)
        if not has_same_images(data.manifest, dataset, read_image_list(data.run, data.manifest.numbers)):
            return names, None, "The images here are not those of the run, so no pictures are shown."
    except UserError as error:
        return names, None, f"The images cannot be read here ({error}), so no pictures are shown."
    return names, dataset, ""


def _class_name(names: Sequence[str], index: int) -> str:
    return names[index] if 0 <= index < len(names) else f"class {index}"
