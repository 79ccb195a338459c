"""Dataset cards: the shipped ones are correct, and a damaged one is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from apm_tta.data.cards import DatasetCard, card_names, load_card
from apm_tta.data.dataset import Dataset
from apm_tta.data.downloads import Download
from apm_tta.data.layouts import LAYOUTS
from apm_tta.errors import UnknownName, UserError
from apm_tta.resources import DATASETS

GOOD = (DATASETS / "fashion-mnist.yaml").read_text(encoding="utf-8")


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replace the program's folder of cards by an empty one."""
    monkeypatch.setattr("apm_tta.data.cards.DATASETS", tmp_path)
    return tmp_path


PUBLISHED = {  # images under one condition, or under all domains together; classes
    "pacs": (9_991, 7),
    "vlcs": (10_729, 5),
    "office-home": (15_588, 65),
    "terra-incognita": (None, 10),
    "domainnet": (586_575, 345),
    "domainnet-126": (142_334, 126),
    "visda-c": (55_388, 12),
    "imagenet-d": (4_835, 113),
    "imagenet-d109": (192_499, 109),
    "ccc": (None, 1000),
    "imagenet": (50_000, 1000),
    "imagenet-a": (7_500, 200),
    "imagenet-r": (30_000, 200),
    "imagenet-sketch": (50_889, 1000),
    "imagenet-hard": (10_980, 1000),
    "imagenet-v2-matched-frequency": (10_000, 1000),
    "imagenet-v2-threshold-0.7": (10_000, 1000),
    "imagenet-v2-top-images": (10_000, 1000),
    "imagenet-c": (50_000, 1000),
    "imagenet-c-bar": (50_000, 1000),
    "imagenet-3dcc": (50_000, 1000),
    "tiny-imagenet": (10_000, 200),
    "tiny-imagenet-c": (10_000, 200),
    "objectnet": (18_574, 113),
    "caltech101": (2_465, 100),
    "oxford_pets": (3_669, 37),
    "stanford_cars": (8_041, 196),
    "flowers102": (2_463, 102),
    "food101": (30_300, 101),
    "fgvc_aircraft": (3_333, 100),
    "sun397": (19_850, 397),
    "dtd": (1_692, 47),
    "eurosat": (8_100, 10),
    "ucf101": (3_783, 101),
    "cifar10": (10_000, 10),
    "cifar100": (10_000, 100),
    "cifar10-c": (10_000, 10),
    "cifar100-c": (10_000, 100),
    "cifar10.1": (2_000, 10),
    "fashion-mnist": (2_000, 10),
    "sklearn-digits": (1_797, 10),
    "imagenet-part": (None, 1000),
    "folder": (None, None),
}


def test_the_shipped_cards_have_the_published_numbers() -> None:
    cards = map(load_card, card_names())
    assert {
        card.name: (card.images or sum(filter(None, card.domains.values())) or None, card.class_count) for card in cards
    } == PUBLISHED


COOP_PROMPTS = {
    "caltech101": "a photo of a lamp.",
    "oxford_pets": "a photo of a lamp, a type of pet.",
    "stanford_cars": "a photo of a lamp.",
    "flowers102": "a photo of a lamp, a type of flower.",
    "food101": "a photo of lamp, a type of food.",
    "fgvc_aircraft": "a photo of a lamp, a type of aircraft.",
    "sun397": "a photo of a lamp.",
    "dtd": "lamp texture.",
    "eurosat": "a centered satellite photo of lamp.",
    "ucf101": "a photo of a person doing lamp.",
}


def test_the_ten_fine_grained_sets_have_the_prompts_of_coop() -> None:
    cards = [card for card in map(load_card, card_names()) if card.family == "fine-grained"]
    assert {card.name: card.template.format("lamp") for card in cards} == COOP_PROMPTS


@pytest.mark.parametrize("name", card_names())
def test_a_shipped_card_can_be_used(name: str) -> None:
    """It has its file's name, a known layout, classes in label order, and states source and licence."""
    card = load_card(name)
    assert card.name == name
    assert card.layout in LAYOUTS.names()
    assert "lamp" in card.template.format("lamp")
    if card.classes is None:
        with pytest.raises(UserError, match=f"classes of {name} are read from its tree"):
            _ = card.class_list
    else:
        assert len(card.class_list) == len(card.class_list.folders) == card.class_count
        assert len(set(card.class_list.folders)) == card.class_count
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


def test_an_unknown_card_lists_the_closest_of_those_that_exist() -> None:
    with pytest.raises(UnknownName, match="unknown dataset 'imagenet-o'") as caught:
        load_card("imagenet-o")
    close = [f"imagenet-{letter}" for letter in "acr"]
    assert all(name in str(caught.value) for name in close)
    assert str(caught.value).endswith("more; did you mean imagenet-r?")
    assert caught.value.exit_code == 2


def test_a_card_is_not_found_outside_its_folder(cards: Path) -> None:
    """A name is a name, not a path."""
    (cards / "inside").mkdir()
    (cards / "inside" / "x.yaml").write_text(GOOD)
    with pytest.raises(UnknownName):
        load_card("inside/x")


def test_a_card_put_into_the_folder_is_found(cards: Path) -> None:
    """The good card that the damaged ones below are derived from does load."""
    (cards / "mine.yaml").write_text(GOOD)
    assert card_names() == ["mine"]
    assert load_card("mine").images == 2000


PLACE = "addresses: [https://example.org/a.tar], stated_by: me"
WRONG_DOWNLOADS = [
    (f"name: a.tar, {PLACE}, digests: {{12ab: me}}", "downloads.0.digests.12ab"),
    (f"name: a.tar, {PLACE}, digests: {{md5:{32 * '0'}: ''}}", "at least 1 character"),
    (f"name: a.tar, {PLACE}, digests: {{md5:{32 * '0'}: me, md5:{32 * '1'}: you}}", "one of each kind"),
    (f"name: ../a.tar, {PLACE}", "must be a path below the data root"),
    (f"name: a.tar, folder: /tmp, {PLACE}", "must be a path below the data root"),
    (f"name: a.tar, {PLACE}, bytes: 0", "downloads.0.bytes"),
    ("name: a.tar, stated_by: me", "must have addresses, or steps"),
    ("name: a.tar, addresses: [https://example.org/a.tar]", "downloads.0.stated_by"),
    ("name: a.tar, addresses: [ftp://example.org/a.tar], stated_by: me", "downloads.0.addresses.0"),
    (f"name: 'a{{1..3}}.tar', {PLACE}", "must have {file} in them"),
    (f"name: 'a{{1..3}}.tar', {PLACE}, bytes: 7", "the name stands for several"),
]


@pytest.mark.parametrize(
    ("damaged", "says"),
    [
        (GOOD + "\nimagse: 3\n", "imagse"),
        (GOOD.replace("images: 2000", "images: 0"), "images"),
        (GOOD.replace("images: 2000", "images: many"), "images"),
        (GOOD.replace("images: 2000\n", ""), "images"),
        (GOOD.replace("class_count: 10", "class_count: 9"), "10 are listed, but class_count is 9"),
        (GOOD.replace("images_per_class: 200", "images_per_class: 199"), "class_count times images_per_class"),
        (GOOD.replace("template: a photo of a {}.", "template: a photo."), "template"),
        (GOOD + "\nextra_corruptions: [fog]\n", "extra_corruptions"),
        *((GOOD + f"\ndownloads: [{{{file}}}]\n", says) for file, says in WRONG_DOWNLOADS),
        (GOOD + "\ndomains: {a: 3}\n", "domains: leave no room for stored_corruptions and images"),
        (GOOD + "\ndomains: {Real World: 3}\n", "domains.Real World"),
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
    few = {"classes": ("b", "a"), "class_count": 2, "images_per_class": 1000}
    card = DatasetCard(**{**load_card("fashion-mnist").model_dump(), **few})
    assert card.class_list.names == card.class_list.folders == ("b", "a")


def test_an_unknown_class_list_is_refused() -> None:
    card = load_card("imagenet-c").model_copy(update={"classes": "imagenet-22k"})
    with pytest.raises(UnknownName, match="imagenet-1k"):
        _ = card.class_list


def test_a_card_can_take_the_classes_that_another_writes_out() -> None:
    """CIFAR-100's names are listed in one place."""
    assert load_card("cifar100-c").class_list == load_card("cifar100").class_list
    assert load_card("cifar100").class_list.names[1] == "aquarium fish"
    assert load_card("cifar10.1").class_list.names[:2] == ("airplane", "automobile")


def test_a_name_with_braces_stands_for_the_files_that_it_does_in_a_shell() -> None:
    address = "https://example.org/{file}"
    download = Download(name="{a,b}_{08..10}.tar", folder="x", addresses=(address,), stated_by="me")
    files = list(download.files())
    assert [file.name for file in files] == [
        f"{letter}_{number}.tar" for letter in "ab" for number in ("08", "09", "10")
    ]
    assert files[0].addresses == ("https://example.org/a_08.tar",)
    assert [file.name for file in download.files(lambda name: name.startswith("x/b") and "9" in name)] == ["b_09.tar"]


def test_every_set_is_carried_or_says_where_its_files_lie_or_what_to_do() -> None:
    for card in map(load_card, card_names()):
        if not card.downloads:
            assert LAYOUTS.get(card.layout).carried or card.name in {"folder", "imagenet-part"}
        names = [f"{file.folder}/{file.name}" for download in card.downloads for file in download.files()]
        assert len(names) == len(set(names)), card.name
