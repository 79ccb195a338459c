"""A layout's options are its own: every shipped card has the right ones, and other packages can define theirs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from PIL import Image

from apm_tta.configuration import Configuration
from apm_tta.data.cards import DatasetCard, card_names, load_card
from apm_tta.data.dataset import Dataset
from apm_tta.data.layouts import LAYOUTS, Entry, Layout, Survey
from apm_tta.data.sample import CLEAN, Condition, ReadImage, StoredImage
from apm_tta.errors import UserError
from apm_tta.resources import DATASETS


def with_options(name: str, **options: str | bool) -> DatasetCard:
    return load_card(name).model_copy(update={"layout_options": options})


@pytest.mark.parametrize("name", card_names())
def test_every_card_has_the_options_of_its_layout(name: str) -> None:
    """Each is read as written, and no card spells out a default."""
    card = load_card(name)
    layout = LAYOUTS.get(card.layout)(card, None)
    assert isinstance(layout.options, layout.Options)
    assert layout.options.model_dump(exclude_defaults=True) == card.layout_options
    assert layout.partial == bool(card.layout_options.get("partial", False))


@pytest.mark.parametrize("name", LAYOUTS.names())
def test_options_are_immutable_and_accept_no_other_field(name: str) -> None:
    config = LAYOUTS.get(name).Options.model_config
    assert (config["frozen"], config["extra"]) == (True, "forbid")


@pytest.mark.parametrize(
    ("card", "says"),
    [
        (with_options("dtd", image_folder="images"), "split: Field required"),
        (with_options("dtd", split=True), "split: Input should be a valid string"),
        (with_options("dtd", split="a.json", splitt="b"), "splitt: Extra inputs are not permitted"),
        (with_options("cifar10"), "split: Field required"),
        (with_options("cifar100", split="train"), "split: Input should be 'test_batch' or 'test'"),
        (with_options("cifar10.1", data="a.npy"), "labels: Field required"),
        (with_options("imagenet-part", partial="some"), "partial: Input should be a valid boolean"),
        (with_options("imagenet-part", split="a.json"), "split: Extra inputs are not permitted"),
        (with_options("imagenet-v2-top-images", partial=True), "partial: Extra inputs are not permitted"),
        (with_options("folder", partial=True), "partial: Extra inputs are not permitted"),
        (with_options("imagenet-c", partial=True), "partial: Extra inputs are not permitted"),
        (with_options("objectnet", data="x"), "data: Extra inputs are not permitted"),
        (with_options("fashion-mnist", data="x"), "data: Extra inputs are not permitted"),
    ],
    ids=lambda value: value.name if isinstance(value, DatasetCard) else None,
)
def test_wrong_options_are_refused_in_one_line_that_names_card_and_field(card: DatasetCard, says: str) -> None:
    with pytest.raises(UserError) as caught:
        Dataset(card)
    message = str(caught.value)
    assert message.startswith(f"card {card.name}, layout_options: ")
    assert says in message
    assert "\n" not in message


class StripOptions(Configuration):
    """The name of the one file, and the direction in which its images are arranged."""

    file: str
    direction: Literal["across", "down"] = "across"


class StripLayout(Layout[StripOptions]):
    """Square images side by side in one picture: a layout as another package would define it."""

    Options = StripOptions

    def fits(self, folder: Path) -> bool:
        return (folder / self.options.file).is_file()

    def walk(self, condition: Condition) -> Survey:
        with Image.open(self.place / self.options.file) as strip:
            count = max(strip.size) // min(strip.size)
        return Survey([Entry(f"{number}", number % 2) for number in range(count)])

    def file_of(self, sample_id: str) -> None:
        """Return None: the one file holds all images."""

    def stored(self, sample_id: str) -> StoredImage:
        with Image.open(self.place / self.options.file) as strip:
            side, start = min(strip.size), int(sample_id) * min(strip.size)
            corner = (start, 0) if self.options.direction == "across" else (0, start)
            image = strip.convert("RGB").crop((*corner, corner[0] + side, corner[1] + side))
        return StoredImage(image.tobytes())

    def decode(self, sample_id: str, stored: StoredImage) -> ReadImage:
        side = math.isqrt(len(stored.content) // 3)
        return ReadImage(Image.frombytes("RGB", (side, side), stored.content), stored.sha256)


@pytest.fixture
def strip() -> Iterator[type[Layout[Any]]]:
    """Register the layout above as an installed package would register its own."""
    yield LAYOUTS.register("strip")(StripLayout)
    del LAYOUTS._entries["strip"]


def test_a_layout_from_outside_has_options_of_its_own(strip: type[Layout[Any]], tmp_path: Path) -> None:
    colours = ["red", "green", "blue", "white"]
    picture = Image.new("RGB", (5, 20))
    for number, colour in enumerate(colours):
        picture.paste(colour, (0, 5 * number, 5, 5 * number + 5))
    picture.save(tmp_path / "all.png")
    few = {"layout": "strip", "classes": ("odd", "even"), "class_count": 2, "images": 4, "images_per_class": 2}
    card = load_card("cifar10").model_copy(update=few)

    with pytest.raises(UserError, match="card cifar10, layout_options: file: Field required; split: Extra inputs"):
        Dataset(card)
    with pytest.raises(UserError, match="direction: Input should be 'across' or 'down'"):
        Dataset(card.model_copy(update={"layout_options": {"file": "all.png", "direction": "up"}}))

    options = {"file": "all.png", "direction": "down"}
    dataset = Dataset(card.model_copy(update={"layout_options": options}), tmp_path)
    entries = dataset.entries(CLEAN)
    assert [(entry.id, entry.label) for entry in entries] == [("0", 0), ("1", 1), ("2", 0), ("3", 1)]
    for entry, colour in zip(entries, colours, strict=True):
        image = dataset.read(entry, CLEAN).image
        assert image.tobytes() == Image.new("RGB", (5, 5), colour).tobytes()


def test_a_card_file_may_hold_options_that_only_its_layout_knows(
    strip: type[Layout[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text and truth values are allowed; anything else is not an option of a tree."""
    written = (DATASETS / "cifar10.yaml").read_text(encoding="utf-8")
    mine = written.replace("layout: cifar\n", "layout: strip\n").replace("split: test_batch", "file: all.png")
    monkeypatch.setattr("apm_tta.data.cards.DATASETS", tmp_path)
    (tmp_path / "mine.yaml").write_text(mine)
    assert Dataset(load_card("mine")).layout.options == StripOptions(file="all.png")
    (tmp_path / "mine.yaml").write_text(mine.replace("file: all.png", "file: [all.png]"))
    with pytest.raises(UserError, match=r"mine\.yaml: layout_options\.file"):
        load_card("mine")
