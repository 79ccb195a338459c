"""Shards written by the ``webdataset`` package are read, and what is wrong with them is said in one line."""

from __future__ import annotations

import gzip
import io
import pickle
import shutil
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from labelled_stores import (
    PHOTOS,
    SYNSETS,
    card,
    clip_benchmark,
    content,
    named,
    numbered,
    problems,
    read_by_webdataset,
    shards,
    tree,
)

from apm_tta.data.cards import load_card
from apm_tta.data.check import check, presence
from apm_tta.data.dataset import Dataset
from apm_tta.data.image_files import DamagedImage
from apm_tta.data.sample import CLEAN

OWN = "shard and key of webdataset shards"


def test_a_set_of_clip_benchmark_has_an_identity_of_its_own(tmp_path: Path) -> None:
    root = clip_benchmark(tmp_path)
    dataset = Dataset(card(), root)
    entries = dataset.entries(CLEAN)
    assert [entry.id for entry in entries][3:5] == ["0.tar/s0000003", "1.tar/s0000004"]
    assert [entry.label for entry in entries] == [each.label for each in PHOTOS]
    assert [digest for _, _, digest in content(root)] == [dataset.read(entry, CLEAN).sha256 for entry in entries]
    assert dataset.layout.ids == OWN
    assert dataset.title.endswith("(from webdataset shards without the names of its files: a set of its own)")
    assert not problems(root)
    assert dataset.title.partition(" (")[2][:-1] in check(card(), root).notes


def test_the_folder_of_the_split_is_the_same_set(tmp_path: Path) -> None:
    root = clip_benchmark(tmp_path)
    assert content(root / "test") == content(root)


def test_keys_that_hold_folder_and_name_are_the_tree(tmp_path: Path) -> None:
    root = shards(tmp_path / "shards", named(), "imagenet-validation-%06d.tar")
    # webdataset writes the suffix as it is given.
    assert content(root) == content(tree(tmp_path / "tree"))
    assert not problems(root)


def test_webdataset_reads_the_same_images_in_the_same_order(tmp_path: Path) -> None:
    root = clip_benchmark(tmp_path) / "test"
    samples = read_by_webdataset(root / f"{number}.tar" for number in range(3))
    dataset = Dataset(card(), root)
    entries = dataset.entries(CLEAN)
    assert [entry.id.partition("/")[2] for entry in entries] == [sample["__key__"] for sample in samples]
    assert [entry.label for entry in entries] == [int(sample["cls"]) for sample in samples]
    assert [dataset.layout.stored(entry.id).content for entry in entries] == [sample["jpg"] for sample in samples]


def test_shards_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """As text, 10 comes before 2."""
    samples = [{**sample, "__key__": f"{index:03d}"} for index, sample in enumerate([*numbered(), *numbered()][:12])]
    root = shards(tmp_path, samples, per_shard=1)
    dataset = Dataset(card(images=None, images_per_class=None), root)
    assert [entry.id for entry in dataset.entries(CLEAN)] == [f"{index}.tar/{index:03d}" for index in range(12)]


def test_a_copy_in_another_process_reads_the_same(tmp_path: Path) -> None:
    dataset = Dataset(card(), clip_benchmark(tmp_path))
    entries = dataset.entries(CLEAN)
    other = pickle.loads(pickle.dumps(dataset))
    assert [other.read(entry, CLEAN).sha256 for entry in entries] == [digest for _, _, digest in content(tmp_path)]


def test_a_tar_without_labels_is_none(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as made:
        for each in PHOTOS:
            add(made, f"{each.folder}/{each.name}", each.content)
    assert not hasattr(Dataset(card(), tmp_path).layout, "store")


def add(made: tarfile.TarFile, name: str, stored: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(stored)
    made.addfile(member, io.BytesIO(stored))


def written(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as made:
        for name, stored in members:
            add(made, name, stored)


def members(path: Path) -> list[tuple[str, bytes]]:
    with tarfile.open(path) as made:
        return [(member.name, made.extractfile(member).read()) for member in made]  # type: ignore[union-attr]


Change = Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]]


def replaced(name: str, new: str | None = None, stored: bytes | None = None) -> Change:
    """Return a change of one member: another name, other bytes, or gone."""

    def change(found: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        assert name in [each for each, _ in found]
        gone = new is None and stored is None
        return [
            (new or each, before if stored is None else stored) if each == name else (each, before)
            for each, before in found
            if not (gone and each == name)
        ]

    return change


def repeated(name: str, new: str) -> Change:
    return lambda found: [*found, *((new, stored) for each, stored in found if each == name)]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (replaced("s0000004.cls"), "1.tar: 1 image has no label (cls): s0000004"),
        (replaced("s0000004.jpg"), "1.tar: 1 label has no image: s0000004"),
        (replaced("s0000004.cls", stored=b"n01440764"), "1.tar: s0000004.cls is not the number of a class"),
        (replaced("s0000004.cls", stored=b"3"), "1 label is not 0 to 2: 1.tar/s0000004 has 3"),
        (repeated("s0000004.jpg", "s0000005.jpg"), "1.tar has 1 path that it has twice"),
        (repeated("s0000004.jpg", "s0000005.JPG"), "1.tar: 1 key has two images: s0000005; keep one of each"),
        (replaced("s0000004.jpg", "../s0000004.jpg"), "1.tar has 1 path that leads out of it"),
        (replaced("s0000004.jpg", "/s0000004.jpg"), "1.tar has 1 absolute path"),
    ],
)
def test_a_wrong_shard_is_refused_in_one_line(change: Change, says: str, tmp_path: Path) -> None:
    path = clip_benchmark(tmp_path) / "test" / "1.tar"
    written(path, change(members(path)))
    assert says in problems(tmp_path)


def test_suffixes_in_another_case_and_another_order_are_read(tmp_path: Path) -> None:
    path = clip_benchmark(tmp_path) / "test" / "1.tar"
    expected = content(tmp_path)
    upper = replaced("s0000004.cls", "s0000004.CLS")(replaced("s0000004.jpg", "s0000004.JPG")(members(path)))
    labels = [each for each in upper if each[0].lower().endswith("cls")]
    written(path, [*labels, *(each for each in upper if each not in labels), ("__note__", b"x"), ("._a.jpg", b"x")])
    assert content(tmp_path) == expected


def test_labels_counted_from_one_are_seen(tmp_path: Path) -> None:
    shards(tmp_path / "test", ({**sample, "cls": sample["cls"] + 1} for sample in numbered()))
    assert "3 labels are not 0 to 2: 0.tar/s0000000 has 3; they seem to be counted from 1" in problems(tmp_path)


def test_labels_that_contradict_the_folder_are_refused(tmp_path: Path) -> None:
    samples = list(named())
    samples[0]["cls"], samples[1]["cls"] = samples[1]["cls"], samples[0]["cls"]
    said = problems(shards(tmp_path, samples))
    assert "2 labels contradict the folder in the image's name: 0.tar/n02123045/ILSVRC2012_val_00000001 is" in said


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.99])
def test_a_shard_that_is_cut_off_is_refused(keep: float, tmp_path: Path) -> None:
    path = clip_benchmark(tmp_path) / "test" / "1.tar"
    stored = path.read_bytes().rstrip(b"\0")
    path.write_bytes(stored[: int(keep * len(stored))])
    assert f"{path} is cut off or damaged" in problems(tmp_path)


def test_a_compressed_shard_is_refused(tmp_path: Path) -> None:
    path = clip_benchmark(tmp_path) / "test" / "1.tar"
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert f"{path} is compressed; unpack it to a plain tar of the same name" in problems(tmp_path)


def test_a_shard_that_is_replaced_while_it_is_read_gives_no_other_image(tmp_path: Path) -> None:
    layout = Dataset(card(), clip_benchmark(tmp_path)).layout
    first = layout.entries(CLEAN)[0].id
    path = tmp_path / "test" / "0.tar"
    written(path, [(f"x{name}", stored) for name, stored in members(path)])
    with pytest.raises(DamagedImage, match=r"s0000000\.jpg is no longer where it was in .*0\.tar; start again"):
        layout.stored(first)


def test_missing_and_renamed_shards_are_named(tmp_path: Path) -> None:
    folder = clip_benchmark(tmp_path) / "test"
    (folder / "2.tar").unlink()
    assert "test has 2 shards, but nshards.txt says 3" in problems(tmp_path)
    shutil.rmtree(folder)
    folder = clip_benchmark(tmp_path) / "test"
    (folder / "1.tar").unlink()
    assert "test lacks 1 file of 3, by number: 1" in problems(tmp_path)
    shutil.copy(folder / "2.tar", folder / "02.tar")
    assert "has two files of one number: 02.tar, 2.tar; keep one of them" in problems(tmp_path)


def test_a_split_that_is_not_the_card_s_is_named(tmp_path: Path) -> None:
    root = clip_benchmark(tmp_path, "train")
    assert f"{root} has the split train; expected validation or test" in problems(root)
    clip_benchmark(tmp_path, "test")
    assert not problems(root)


def test_classes_in_another_order_are_named(tmp_path: Path) -> None:
    root = clip_benchmark(tmp_path)
    (root / "classnames.txt").write_text("\n".join([SYNSETS[1], SYNSETS[0], SYNSETS[2]]))
    said = problems(root)
    assert "has the classes in another order than the card in 2 of 3 places: 0 is 'n01443537' there, which is" in said
    (root / "classnames.txt").write_text("\n".join(SYNSETS[:2]))
    assert "names 2 classes, expected 3" in problems(root)
    (root / "classnames.txt").write_text("\n".join([*SYNSETS[:2], "a cat"]))
    assert not problems(root)
    assert "1 class has another name: 2 is 'a cat' there, 'tabby cat' in the card" in check(card(), root).doubts
    (root / "classnames.txt").unlink()
    assert "does not name its classes" in "\n".join(check(card(), root).doubts)


def test_imagenet_s_own_class_names_are_known_in_several_forms() -> None:
    """CLIP_benchmark has OpenAI's names, Hugging Face has WordNet's words: both are the card's order."""
    from timm.data import ImageNetInfo

    from apm_tta.data.class_lists import ClassList, imagenet_1k
    from apm_tta.data.stores.class_order import class_order

    expected, information = imagenet_1k(), ImageNetInfo()
    words = tuple(information.label_name_to_description(name) for name in expected.folders)
    for names in (expected.names, expected.folders, words):
        order = class_order(Path("set"), ClassList(names, names), expected, partial=False)
        assert (order.problems, order.doubts) == ((), ())
    moved = (*words[1:], words[0])
    order = class_order(Path("set"), ClassList(moved, moved), expected, partial=False)
    assert "another order than the card in 999 of 1,000 places" in order.problems[0]


def test_a_set_of_one_s_own_takes_its_classes_from_the_shards(tmp_path: Path) -> None:
    root = clip_benchmark(tmp_path / "mine")
    (root / "classnames.txt").write_text("goldfish\ntiger_shark\ntabby cat\n")
    dataset = Dataset(load_card("folder"), root)
    assert dataset.classes == ("goldfish", "tiger shark", "tabby cat")
    assert len(dataset.entries(CLEAN)) == len(PHOTOS)
    assert "mine; classes: those of its webdataset shards; from" in dataset.title
    (root / "classnames.txt").write_text("goldfish\ntabby_cat\ntabby cat\n")
    assert "has two classes with the same name, tabby_cat and tabby cat" in problems(root, load_card("folder"))
    (root / "classnames.txt").unlink()
    assert "do not name their classes, which folder needs" in problems(root, load_card("folder"))


def test_only_cards_with_these_classes_are_said_to_be_present(tmp_path: Path) -> None:
    root = clip_benchmark(tmp_path)
    assert presence(card(), root) == "found"
    assert presence(load_card("folder"), root) == "found"
    assert {presence(load_card(name), root) for name in ("imagenet", "imagenet-a", "food101", "imagenet-c")} == {
        "not found"
    }
    assert presence(card(), clip_benchmark(tmp_path / "other", "train")) == "not found"


def test_shards_of_several_sets_in_one_folder_are_refused(tmp_path: Path) -> None:
    shards(tmp_path, numbered(), "a-%d.tar")
    shards(tmp_path, numbered(), "b-%d.tar")
    assert "has files of several sets or splits: a, b; keep them apart" in problems(tmp_path)


def test_a_card_of_corrupted_images_is_not_read_from_shards_without_conditions(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"stored_corruptions": ("fog",), "extra_corruptions": ()}
    said = problems(clip_benchmark(tmp_path), card("imagenet-c", **changes))
    assert "do not say under which condition an image is; pack the tree" in said
