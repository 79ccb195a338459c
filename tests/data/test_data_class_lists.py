"""Class lists are in label order: names and folders of one position belong together."""

from __future__ import annotations

import pytest

from apm_tta.data.class_lists import CLASS_LISTS, ClassList, imagenet_1k
from apm_tta.errors import UnknownName


@pytest.fixture(scope="module")
def imagenet() -> ClassList:
    return CLASS_LISTS.get("imagenet-1k")()


def test_imagenet_has_a_thousand_names_and_as_many_different_synsets(imagenet: ClassList) -> None:
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
def test_imagenet_labels_stand_where_everyone_has_them(imagenet: ClassList, label: int, synset: str, name: str) -> None:
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
