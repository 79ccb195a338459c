"""ImageNet-Hard: parquet whose labels are lists, as its card on Hugging Face has them, written by ``datasets``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from labelled_stores import PHOTOS

from apm_tta.data.cards import DatasetCard, load_card
from apm_tta.data.check import check
from apm_tta.data.dataset import Dataset
from apm_tta.data.sample import CLEAN
from apm_tta.errors import UserError

LABELS = ([3], [3, 281], [0], [999, 281, 5], [281], [0, 3], [5], [999], [1, 2])
"""Of the photographs: labels of ImageNet's 1000, one or several to an image."""


def card() -> DatasetCard:
    return load_card("imagenet-hard").model_copy(update={"images": len(LABELS)})


def name_of(label: int) -> str:
    return load_card("imagenet").class_list.names[label]


def made() -> list[dict[str, Any]]:
    """Return the rows; names of files are not kept in the release's, or are those of several sets."""
    return [
        {
            "image": {"bytes": each.content, "path": each.name if number % 2 else None},
            "label": list(labels),
            "origin": "imagenet" if number % 2 else "objectnet",
            "english_label": [name_of(label) for label in labels],
        }
        for number, (each, labels) in enumerate(zip(PHOTOS, LABELS, strict=True))
    ]


def write(root: Path, rows: Sequence[dict[str, Any]], split: str = "validation", label: Any = None) -> Path:
    """Write two files as the hub has them, with a digest at the end of their names."""
    from datasets import Dataset as HubDataset
    from datasets import Features, Sequence, Value
    from datasets import Image as ImageFeature

    texts = Sequence(Value("string"))
    kinds = {"image": ImageFeature(), "label": label or Sequence(Value("int64")), "origin": Value("string")}
    features = Features({**kinds, "english_label": texts})
    whole = HubDataset.from_dict({key: [row[key] for row in rows] for key in features}, features=features)
    (root / "data").mkdir(parents=True)
    for number in range(2):
        path = root / "data" / f"{split}-{number:05d}-of-00002-3c3d0f40029a422e.parquet"
        whole.shard(2, number, contiguous=True).to_parquet(path)
    return root


def test_an_image_has_all_of_its_labels(tmp_path: Path) -> None:
    write(tmp_path / "imagenet-hard", made())
    for root in (tmp_path, tmp_path / "imagenet-hard", tmp_path / "imagenet-hard" / "data"):
        dataset = Dataset(card(), root)
        entries = dataset.entries(CLEAN)
        assert [(entry.label, *entry.others) for entry in entries] == [tuple(each) for each in LABELS]
        assert entries[1].id == "validation-00000-of-00002-3c3d0f40029a422e.parquet/1"
        assert dataset.read(entries[0], CLEAN).image.size == (48, 40)
        assert dataset.doubts == []
        assert dataset.title == "ImageNet-Hard", "there is no tree that it could be mixed with"
    assert check(card(), tmp_path).passed


def test_a_class_that_is_stated_twice_counts_once_and_lists_may_name_their_classes(tmp_path: Path) -> None:
    from datasets import ClassLabel, Sequence

    rows = made()
    rows[1]["label"], rows[1]["english_label"] = [3, 281, 3], [name_of(3), name_of(281), name_of(3)]
    assert Dataset(card(), write(tmp_path / "plain", rows)).entries(CLEAN)[1].others == (281,)
    names = list(load_card("imagenet").class_list.folders)
    root = write(tmp_path / "named", made(), label=Sequence(ClassLabel(names=names)))
    assert Dataset(card(), root).entries(CLEAN)[3].others == (281, 5)
    root = write(tmp_path / "moved", made(), label=Sequence(ClassLabel(names=[*names[1:], names[0]])))
    assert "in another order than the card in 1,000 of 1,000 places" in "\n".join(check(card(), root).problems)


def one(rows: list[dict[str, Any]], **changes: Any) -> None:
    rows[4].update(changes)


def off_by_one(rows: list[dict[str, Any]]) -> None:
    """Count the labels from 1: only their names, or the last class, tell."""
    for row in rows:
        row["label"] = [label + 1 for label in row["label"] if label < 999]
        row["english_label"] = [name for name in row["english_label"] if name != name_of(999)]
        if not row["label"]:
            row.update(label=[7], english_label=[name_of(6)])


MISTAKES: list[tuple[Callable[[list[dict[str, Any]]], None], str]] = [
    (lambda rows: one(rows, label=[], english_label=[]), "row 4, has no label in the column label"),
    (lambda rows: one(rows, label=None, english_label=None), "row 4, has no label in the column label"),
    (lambda rows: one(rows, label=[3, None]), "row 4, has no label in the column label"),
    (lambda rows: one(rows, image=None), "row 4, has no image in the column image"),
    (lambda rows: one(rows, label=[281, 1000], english_label=["tabby cat", "?"]), "1 label is not 0 to 999: "),
    (lambda rows: one(rows, label=[-1], english_label=["?"]), ".parquet/4 has -1"),
    (lambda rows: one(rows, label=[281, 3]), "row 4, has 2 labels and 1 name in the columns label and english_label"),
    (lambda rows: one(rows, english_label=["tiger shark"]), "calls label 281 'tiger shark', an earlier row"),
    (off_by_one, "in another order than the card in 7 of 7 places: 1 is 'tench' there, which is 0 of the card"),
    (lambda rows: rows.pop(), "has 8 images, expected 9"),
]


@pytest.mark.parametrize(("mistake", "says"), MISTAKES)
def test_deliberate_mistakes_are_refused_in_one_line(
    tmp_path: Path, mistake: Callable[[list[dict[str, Any]]], None], says: str
) -> None:
    rows = made()
    mistake(rows)
    said = "\n".join(check(card(), write(tmp_path, rows)).problems)
    assert says in said
    assert "\n" not in said


def test_a_wrong_split_one_label_each_and_nothing_at_all_are_refused(tmp_path: Path) -> None:
    said = check(card(), write(tmp_path / "train", made(), split="train")).problems
    assert said == [f"{tmp_path / 'train'} has the split train; expected validation"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty has nothing of ImageNet-Hard; expected: DATA_ROOT/imagenet-hard/data"):
        Dataset(card(), tmp_path / "empty").entries(CLEAN)
    said = check(load_card("imagenet"), write(tmp_path / "hard", made())).problems
    assert any("classes without exactly 50 images" in line for line in said), "it is not taken for ImageNet"
