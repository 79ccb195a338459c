"""Dataset cards: the shipped ones hold, and a damaged one is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from apm_tta.data.cards import DatasetCard, card_names, load_card
from apm_tta.data.dataset import Dataset
from apm_tta.data.layouts import LAYOUTS
from apm_tta.errors import UnknownName, UserError
from apm_tta.resources import DATASETS

GOOD = (DATASETS / "fashion-mnist.yaml").read_text(encoding="utf-8")


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that the program takes for its folder of cards."""
    monkeypatch.setattr("apm_tta.data.cards.DATASETS", tmp_path)
    return tmp_path


def test_the_two_shipped_cards_are_found() -> None:
    assert {"fashion-mnist", "imagenet-c"} <= set(card_names())


@pytest.mark.parametrize("name", card_names())
def test_a_shipped_card_can_be_used(name: str) -> None:
    """It has its file's name, a known layout, classes in label order, and says whence and under which licence."""
    card = load_card(name)
    assert card.name == name
    assert card.layout in LAYOUTS.names()
    assert len(card.class_list) == len(card.class_list.folders) > 1
    assert card.images % len(card.class_list) == 0, "as many images of every class"
    for field in ("title", "task", "source", "licence", "citation", "get", "tree"):
        assert getattr(card, field).strip(), field


def test_imagenet_c_is_the_published_one() -> None:
    """50,000 images of 1000 classes under 15 corruptions and the 4 extra ones."""
    card = load_card("imagenet-c")
    assert (card.images, len(card.class_list), len(set(card.stored_corruptions))) == (50_000, 1000, 19)
    assert card.corruption_parameters == "imagenet"


def test_fashion_mnist_classes_are_in_the_published_label_order() -> None:
    names = load_card("fashion-mnist").class_list.names
    assert ",".join(names) == "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"


def test_a_card_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_card("fashion-mnist").images = 3  # type: ignore[misc]


def test_an_unknown_card_lists_those_that_exist() -> None:
    with pytest.raises(UnknownName, match="unknown dataset 'imagenet-d'") as caught:
        load_card("imagenet-d")
    assert all(name in str(caught.value) for name in card_names())
    assert caught.value.exit_code == 2


def test_a_card_is_not_found_outside_its_folder(cards: Path) -> None:
    """A name is a name, not a path."""
    (cards / "inside").mkdir()
    (cards / "inside" / "x.yaml").write_text(GOOD)
    with pytest.raises(UnknownName):
        load_card("inside/x")


def test_a_card_put_into_the_folder_is_found(cards: Path) -> None:
    """The good card that the damaged ones below are made from does load."""
    (cards / "mine.yaml").write_text(GOOD)
    assert card_names() == ["mine"]
    assert load_card("mine").images == 2000


@pytest.mark.parametrize(
    ("damaged", "says"),
    [
        (GOOD + "\nimagse: 3\n", "imagse"),
        (GOOD.replace("images: 2000", "images: 0"), "images"),
        (GOOD.replace("images: 2000", "images: many"), "images"),
        (GOOD.replace("images: 2000\n", ""), "images"),
        (GOOD.replace("corruption_parameters: cifar", "corruption_parameters: tiny"), "corruption_parameters"),
        (GOOD.replace("classes: [", "classes: [["), "YAML"),
        (GOOD + "\n\tx: 1\n", "YAML"),
        ("- just\n- a list\n", "mapping"),
        ("", "mapping"),
    ],
)
def test_a_damaged_card_is_refused_in_one_line_that_names_the_file(cards: Path, damaged: str, says: str) -> None:
    assert damaged != GOOD
    path = cards / "mine.yaml"
    path.write_text(damaged)
    with pytest.raises(UserError) as caught:
        load_card("mine")
    message = str(caught.value)
    assert str(path) in message
    assert says in message
    assert "\n" not in message


def test_a_card_of_an_unknown_layout_is_refused_with_those_that_exist() -> None:
    card = load_card("fashion-mnist").model_copy(update={"layout": "tarball"})
    with pytest.raises(UnknownName, match=r"unknown layout 'tarball'; there are: .*corruption-tree"):
        Dataset(card)


def test_classes_written_out_are_their_own_folders() -> None:
    card = DatasetCard(**{**load_card("fashion-mnist").model_dump(), "classes": ("b", "a")})
    assert card.class_list.names == card.class_list.folders == ("b", "a")


def test_an_unknown_class_list_is_refused() -> None:
    card = load_card("imagenet-c").model_copy(update={"classes": "imagenet-22k"})
    with pytest.raises(UnknownName, match="imagenet-1k"):
        _ = card.class_list
