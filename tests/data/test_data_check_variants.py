"""A tree of another data set, or of another shape, is recognised for what it is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from apm_tta.data.cards import DatasetCard, load_card
from apm_tta.data.check import check
from apm_tta.data.dataset import Dataset
from apm_tta.data.sample import CLEAN, Condition
from apm_tta.errors import UserError


def problems(card: DatasetCard, root: Path, deep: bool = False) -> list[str]:
    report = check(card, root, deep)
    assert not report.passed
    assert all("\n" not in problem for problem in report.problems)
    assert card.get in "\n".join(report.lines())
    return report.problems


@pytest.mark.parametrize(
    ("given", "asked", "says"),
    [
        ("imagenet-a", "imagenet-r", "has the tree of ImageNet-A, not of ImageNet-R; use imagenet-a"),
        ("imagenet-a", "imagenet", "has the tree of ImageNet-A, not of ImageNet validation; use imagenet-a"),
        ("imagenet", "imagenet-a", "has the tree of ImageNet validation, not of ImageNet-A; use imagenet or"),
    ],
)
def test_another_set_is_named(given: str, asked: str, says: str, tmp_path: Path, trees: Any) -> None:
    trees.by_synset(tmp_path, given)
    assert says in problems(load_card(asked), tmp_path)[0]


def test_integer_folders_are_recognised_as_imagenet_v2(tmp_path: Path, trees: Any) -> None:
    trees.by_integer(tmp_path)
    found = problems(load_card("imagenet"), tmp_path)
    assert "use imagenet-v2-matched-frequency or imagenet-v2-threshold-0.7 or imagenet-v2-top-images" in found[0]


def test_a_part_of_imagenet_gets_the_name_of_the_card_for_parts(tmp_path: Path, trees: Any) -> None:
    trees.class_folders(tmp_path, "imagenet-part", {"n01440764": 0, "n02123045": 281})
    assert "some of the classes of A part of ImageNet validation" in problems(load_card("imagenet"), tmp_path)[0]


def test_a_part_of_imagenet_may_have_no_other_classes(tmp_path: Path, trees: Any) -> None:
    made = trees.class_folders(tmp_path, "imagenet-part", {"n01440764": 0})
    assert check(made.card, tmp_path).passed
    trees.put(tmp_path / "n99999999" / "a.JPEG", trees.encoded(1))
    assert problems(made.card, tmp_path) == [f"{tmp_path} has folders that are not a class: n99999999"]


def test_imagenet_c_is_recognised_where_imagenet_is_requested(tmp_path: Path, trees: Any) -> None:
    trees.corruption_tree(tmp_path, side=224)
    assert "has the tree of ImageNet-C, not of ImageNet validation" in problems(load_card("imagenet"), tmp_path)[0]


def test_tiny_imagenet_c_is_told_from_imagenet_c_by_its_classes_and_its_size(tmp_path: Path, trees: Any) -> None:
    made = trees.whole_corruption_tree(tmp_path, "tiny-imagenet-c", ["fog/3"])
    with pytest.raises(UserError, match="has the tree of Tiny-ImageNet-C, not of ImageNet-C; use tiny-imagenet-c"):
        Dataset(load_card("imagenet-c"), tmp_path).entries(Condition("fog", 3))
    assert len(Dataset(made.card, tmp_path).entries(Condition("fog", 3))) == 200
    for image in (tmp_path / "fog" / "3").glob("*/*.JPEG"):
        image.write_bytes(trees.encoded(1, side=65))
    with pytest.raises(UserError, match="has 200 class folders, expected 1,000: missing") as caught:
        Dataset(load_card("imagenet-c"), tmp_path).entries(Condition("fog", 3))
    assert "Tiny" not in str(caught.value)


def test_imagenet_c_is_recognised_where_tiny_imagenet_c_is_requested(tmp_path: Path, trees: Any) -> None:
    trees.corruption_tree(tmp_path, side=224)
    with pytest.raises(UserError, match="has the tree of ImageNet-C, not of Tiny-ImageNet-C; use imagenet-c"):
        Dataset(load_card("tiny-imagenet-c"), tmp_path).entries(Condition("fog", 3))


@pytest.mark.parametrize(
    ("asked", "given", "name"),
    [
        ("imagenet-c", "imagenet-c-bar", "ImageNet-C-bar"),
        ("imagenet-c-bar", "imagenet-3dcc", "ImageNet-3DCC"),
        ("imagenet-3dcc", "imagenet-c-bar", "ImageNet-C-bar"),
    ],
)
def test_sets_of_other_corruptions_are_told_apart(
    tmp_path: Path, trees: Any, asked: str, given: str, name: str
) -> None:
    first = load_card(given).stored_corruptions[0]
    for synset in ("n01440764", "n01443537"):
        trees.put(tmp_path / first / "1" / synset / "ILSVRC2012_val_00000293.JPEG", trees.encoded(0, side=224))
    own = load_card(asked).stored_corruptions[0]
    with pytest.raises(UserError, match=f"has the tree of {name}, not of .*; use {given}; .*{own}.* is missing"):
        Dataset(load_card(asked), tmp_path).entries(Condition(own, 1))


@pytest.mark.parametrize("name", ["imagenet-c-bar", "imagenet-3dcc", "tiny-imagenet-c"])
def test_a_whole_set_of_corruptions_is_read_and_passes_its_check(tmp_path: Path, trees: Any, name: str) -> None:
    """Two corruptions at all severities, each with fewer classes than the release; then one condition is taken away."""
    full = load_card(name)
    folders = full.class_list.folders[:3]
    card = full.model_copy(
        update={
            "classes": folders,
            "class_count": 3,
            "images": 3,
            "images_per_class": 1,
            "stored_corruptions": full.stored_corruptions[:2],
            "extra_corruptions": (),
        }
    )
    for corruption in card.stored_corruptions:
        for severity in "12345":
            for label, folder in enumerate(folders):
                image = trees.encoded(label, side=card.side or 8)
                trees.put(tmp_path / corruption / severity / folder / "ILSVRC2012_val_00000293.JPEG", image)
    assert check(card, tmp_path, deep=True).passed
    dataset = Dataset(card, tmp_path)
    condition = Condition(card.stored_corruptions[1], 5)
    assert [trees.label_of(dataset.read(entry, condition).image) for entry in dataset.entries(condition)] == [0, 1, 2]
    shutil.rmtree(tmp_path / card.stored_corruptions[1])
    lacks = f"{tmp_path} lacks the corruptions {card.stored_corruptions[1]}; unpack what is missing"
    assert problems(card, tmp_path) == [lacks]


@pytest.mark.parametrize(
    ("file", "line", "says"),
    [
        (
            "wnids.txt",
            "n99999999",
            "wnids.txt has 201 classes that are not the release's 200: missing or surplus are n99999999",
        ),
        ("val/val_annotations.txt", "val_0.JPEG\tn01443537\t0\t0\t1\t1", "line 201: val_0.JPEG is listed twice"),
        ("val/val_annotations.txt", "val_200.JPEG\tn01440764\t0\t0\t1\t1", "line 201: 'n01440764' is not a class"),
        ("val/val_annotations.txt", "../a.JPEG\tn01443537\t0\t0\t1\t1", "leads out of the image folder"),
        (
            "val/val_annotations.txt",
            "val_200.JPEG\tn01443537\t0\t0\t1\t1",
            "lacks 1 image that val/val_annotations.txt lists",
        ),
    ],
)
def test_a_wrong_file_of_tiny_imagenet_is_refused(tmp_path: Path, trees: Any, file: str, line: str, says: str) -> None:
    made = trees.tiny_imagenet(tmp_path)
    path = tmp_path / file
    path.write_text(f"{path.read_text().rstrip()}\n{line}\n")
    with pytest.raises(UserError) as caught:
        Dataset(made.card, tmp_path).entries(CLEAN)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_cifar_100_c_given_for_cifar_10_c_is_recognised_by_its_labels(tmp_path: Path, trees: Any) -> None:
    """Both have the same files; the reverse is recognised too, although no label is too large."""
    ten = trees.cifar_corrupted(tmp_path / "ten", "cifar10-c")
    hundred = trees.cifar_corrupted(tmp_path / "hundred", "cifar100-c")
    found = problems(ten.card, hundred.root)
    assert "use cifar100-c" in found[0]
    assert any("labels.npy contains labels 0 to 99, expected 0 to 9" in problem for problem in found)
    assert "use cifar10-c" in problems(hundred.card, ten.root)[0]


def test_a_variant_of_imagenet_v2_is_recognised_by_the_name_of_its_folder(tmp_path: Path, trees: Any) -> None:
    """Nothing else tells the three apart."""
    root = tmp_path / "imagenetv2-top-images-format-val"
    made = trees.by_integer(root, "imagenet-v2-matched-frequency")
    says = "is named like ImageNet-V2, top images, not like ImageNet-V2, matched frequency"
    unnamed = made.card.model_copy(update={"images": 10_000, "images_per_class": None})
    layout = Dataset(unnamed, root).layout
    assert says in layout.other_set_problems(wrong=False)[0]
    root.rename(tmp_path / "imagenetv2-matched-frequency-format-val")
    assert check(made.card, tmp_path).passed


def test_the_number_of_another_set_is_named(tmp_path: Path, trees: Any) -> None:
    """ImageNet-Sketch has ImageNet's folders; its number gives it away."""
    made = trees.by_synset(tmp_path, "imagenet")
    layout = Dataset(made.card, tmp_path).layout
    entries = list(layout.entries(CLEAN)) * 51
    found = layout._count_problems(entries[:50_889], tmp_path, 1000)
    assert "expected 1,000; that is the number of imagenet-sketch" in found[-1]


def test_imagenet_in_one_flat_folder_is_told_to_be_sorted(tmp_path: Path, trees: Any) -> None:
    for number in (1, 2):
        trees.put(tmp_path / "val" / f"ILSVRC2012_val_{number:08d}.JPEG", trees.encoded(0))
    found = problems(load_card("imagenet"), tmp_path)
    assert found == [
        f"{tmp_path / 'val'} has 2 images in one flat folder (ILSVRC2012_val_00000001.JPEG); "
        "sort them into one folder per class, such as n01440764"
    ]


def test_images_one_folder_too_deep_are_noticed(adversarial: Any) -> None:
    inner = adversarial.root / "n01498041" / "images"
    inner.mkdir()
    (adversarial.root / "n01498041" / "image_0.jpg").rename(inner / "image_0.jpg")
    assert "n01498041 (it has a folder images)" in problems(adversarial.card, adversarial.root)[0]


def test_a_class_twice_in_imagenet_v2_is_refused(tmp_path: Path, trees: Any) -> None:
    made = trees.by_integer(tmp_path)
    trees.put(tmp_path / "007" / "a.jpeg", trees.encoded(7))
    assert any("two folders for the label 7" in problem for problem in problems(made.card, tmp_path))


@pytest.mark.parametrize("target", ["itself", "nothing", "each-other"])
def test_circular_and_broken_links_are_named_without_hanging(target: str, adversarial: Any) -> None:
    link, other = adversarial.root / "n01498041" / "b.jpg", adversarial.root / "n01498041" / "c.jpg"
    link.symlink_to({"itself": link, "nothing": "/nowhere/x.jpg", "each-other": other}[target])
    if target == "each-other":
        other.symlink_to(link)
    assert (
        "n01498041 has circular or broken links, or what is no file: b.jpg"
        in problems(adversarial.card, adversarial.root)[0]
    )


def test_links_to_folders_and_files_elsewhere_are_followed(adversarial: Any, tmp_path: Path) -> None:
    """Data roots are often made of links."""
    (adversarial.root / "n01498041").rename(tmp_path / "elsewhere")
    (adversarial.root / "n01498041").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert check(adversarial.card, adversarial.root, deep=True).passed


def test_only_existing_parts_of_imagenet_c_are_walked_and_the_rest_is_named(tmp_path: Path, trees: Any) -> None:
    made = trees.corruption_tree(tmp_path, [f"fog/{severity}" for severity in range(1, 6)])
    found = problems(made.card, tmp_path)
    assert found == [f"{tmp_path} lacks the corruptions snow; unpack what is missing"]
    assert Dataset(made.card, tmp_path).entries(Condition("fog", 3)), "a run of what exists is not refused"
    (tmp_path / "rain").mkdir()
    assert any("folders that are not a corruption: rain" in problem for problem in problems(made.card, tmp_path))


def test_the_extra_corruptions_may_be_missing(tmp_path: Path, trees: Any) -> None:
    conditions = [f"{name}/{severity}" for name in ("fog", "snow") for severity in range(1, 6)]
    report = check(trees.corruption_tree(tmp_path, conditions).card, tmp_path)
    assert report.passed
    assert ("corruptions", "2", "2 to 3") in report.rows
