"""Class lists are in label order: names and folders at the same position belong together."""

from __future__ import annotations

import pytest

from apm_tta.data.class_lists import CLASS_LISTS, ClassList, imagenet_1k, imagenet_a, imagenet_r
from apm_tta.data.imagenet_classes import imagenet_rows
from apm_tta.errors import UnknownName


@pytest.fixture(scope="module")
def imagenet() -> ClassList:
    return CLASS_LISTS.get("imagenet-1k")()


def test_imagenet_has_a_thousand_names_and_a_thousand_different_synsets(imagenet: ClassList) -> None:
    assert len(imagenet) == len(imagenet.names) == len(imagenet.folders) == 1000
    assert len(set(imagenet.folders)) == 1000
    assert all(len(synset) == 9 and synset[0] == "n" and synset[1:].isdigit() for synset in imagenet.folders)
    assert all(name.strip() for name in imagenet.names)


@pytest.mark.parametrize(
    ("label", "synset", "name"),
    [
        (0, "n01440764", "tench"),
        (1, "n01443537", "goldfish"),
        (207, "n02099601", "Golden Retriever"),
        (281, "n02123045", "tabby cat"),
        (999, "n15075141", "toilet paper"),
    ],
)
def test_imagenet_labels_are_those_in_common_use(imagenet: ClassList, label: int, synset: str, name: str) -> None:
    """Well-known classes at their known labels, at both ends and in between: no list is shifted against the other."""
    assert imagenet.folders[label] == synset
    assert imagenet.names[label] == name


def test_imagenet_synsets_are_in_the_order_of_their_numbers(imagenet: ClassList) -> None:
    """The label of an ImageNet class is the rank of its synset."""
    assert list(imagenet.folders) == sorted(imagenet.folders)


def test_the_list_is_the_same_each_time() -> None:
    assert imagenet_1k() == imagenet_1k()


def test_an_unknown_list_is_refused_with_those_that_exist() -> None:
    with pytest.raises(UnknownName, match=r"unknown class list 'imagenet-21k'; there are: .*imagenet-1k"):
        CLASS_LISTS.get("imagenet-21k")


@pytest.mark.parametrize(
    ("part", "first", "last"),
    [
        (imagenet_a(), (6, "n01498041", "stingray"), (988, "n12267677", "acorn")),
        (imagenet_r(), (1, "n01443537", "goldfish"), (988, "n12267677", "acorn")),
    ],
    ids=["imagenet-a", "imagenet-r"],
)
def test_a_part_of_imagenet_has_200_of_its_rows(
    imagenet: ClassList, part: ClassList, first: tuple[int, str, str], last: tuple[int, str, str]
) -> None:
    """Names, synsets and rows at the same position belong together, at both ends and in between."""
    assert part.imagenet_rows is not None
    assert len(part.names) == len(part.folders) == len(set(part.imagenet_rows)) == 200
    triples = list(zip(part.imagenet_rows, part.folders, part.names, strict=True))
    assert triples[0] == first
    assert triples[-1] == last
    assert all((imagenet.folders[row], imagenet.names[row]) == (folder, name) for row, folder, name in triples)
    assert list(part.folders) == sorted(part.folders)


def test_the_parts_are_those_that_timm_ships() -> None:
    import pkgutil

    for part, letter in ((imagenet_a(), "a"), (imagenet_r(), "r")):
        data = pkgutil.get_data("timm.data", f"_info/imagenet_{letter}_synsets.txt")
        assert data is not None
        assert part.folders == tuple(data.decode().split())


def test_rows_are_found_by_the_whole_list_of_names(imagenet: ClassList) -> None:
    """Two classes are named missile and two sunglasses: a name alone does not determine the row."""
    assert imagenet.names.count("missile") == imagenet.names.count("sunglasses") == 2
    assert imagenet_rows(imagenet.names) == tuple(range(1000))
    assert imagenet_rows(list(imagenet_a().names)) == imagenet_a().imagenet_rows
    assert imagenet_rows(imagenet_r().names) == imagenet_r().imagenet_rows
    assert imagenet_rows(imagenet.names[:200]) is None
    assert imagenet_rows(imagenet_a().names[::-1]) is None
    assert imagenet_rows(()) is None
