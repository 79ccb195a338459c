"""Parquet files written by the ``datasets`` package are read as the tree is, where they hold the files' names."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from labelled_stores import PHOTOS, SYNSETS, card, content, parquet, problems, rows, tree

from apm_tta.data.dataset import Dataset
from apm_tta.data.hash_images import hash_images
from apm_tta.data.image_files import DamagedImage, MissingImage
from apm_tta.data.layouts.base import OF_THE_TREE
from apm_tta.data.sample import CLEAN
from apm_tta.data.stores import row_groups


@pytest.fixture
def expected(tmp_path: Path) -> list[tuple[str, int, str]]:
    return content(tree(tmp_path / "tree"))


def test_rows_with_paths_are_the_tree(tmp_path: Path, expected: Any) -> None:
    root = parquet(tmp_path / "hub", files=3)
    assert content(root) == expected
    assert not problems(root)
    assert Dataset(card(), root).title == card().title
    for place in (root / "data", root.parent / "hub" / ""):
        assert content(place) == expected


def test_names_that_end_in_the_synset_are_those_of_the_release(tmp_path: Path, expected: Any) -> None:
    """Hugging Face's ImageNet calls its files so, to have the class in the name."""
    made = rows()
    for row, each in zip(made, PHOTOS, strict=True):
        row["image"]["path"] = f"{Path(each.name).stem}_{each.folder}.JPEG"
    assert content(parquet(tmp_path / "right", made)) == expected
    made[0]["label"], made[1]["label"] = made[1]["label"], made[0]["label"]
    said = problems(parquet(tmp_path / "wrong", made))
    assert "2 labels contradict the folder in the image's name: validation-00000-of-00002.parquet/0 is lab" in said


def test_rows_without_paths_are_a_set_of_their_own(tmp_path: Path, expected: Any) -> None:
    root = parquet(tmp_path, rows(with_names=False))
    dataset = Dataset(card(), root)
    ids = [entry.id for entry in dataset.entries(CLEAN)]
    assert ids[:2] == ["validation-00000-of-00002.parquet/0", "validation-00000-of-00002.parquet/1"]
    assert sorted(digest for _, _, digest in content(root)) == sorted(digest for _, _, digest in expected)
    assert dataset.layout.ids == "file and row of parquet files"
    assert "from parquet files without the names of its files: a set of its own" in dataset.title
    assert Dataset(card(), parquet(tmp_path / "named")).layout.ids == OF_THE_TREE


def test_one_row_group_is_read_at_a_time_and_each_once_when_all_are_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[str, int]] = []

    class Counting(pq.ParquetFile):
        def read_row_group(self, group: int, columns: Any = None) -> pa.Table:
            read.append((str(id(self)), group))
            return super().read_row_group(group, columns=columns)

    layout = Dataset(card(), parquet(tmp_path)).layout
    entries = layout.entries(CLEAN)
    monkeypatch.setattr(row_groups.pq, "ParquetFile", Counting)
    assert layout.stored(entries[0].id).content in {each.content for each in PHOTOS}
    assert len(read) == 1
    hash_images(layout, [entry.id for entry in entries], len(entries))
    assert len(read) == len(set(read)) == 5


def test_a_copy_in_another_process_reads_the_same(tmp_path: Path, expected: Any) -> None:
    dataset = Dataset(card(), parquet(tmp_path))
    entries = dataset.entries(CLEAN)
    other = pickle.loads(pickle.dumps(dataset))
    assert [other.read(entry, CLEAN).sha256 for entry in entries] == [digest for _, _, digest in expected]


def test_columns_of_other_names_are_found_by_their_types(tmp_path: Path, expected: Any) -> None:
    made = [{"img": row["image"], "fine_label": row["label"]} for row in rows()]
    assert content(parquet(tmp_path, made)) == expected


def test_of_two_columns_of_labels_the_one_with_the_card_s_number_of_classes_is_meant(tmp_path: Path) -> None:
    from datasets import ClassLabel, Features
    from datasets import Dataset as HubDataset
    from datasets import Image as ImageFeature

    fine = ClassLabel(names=list(SYNSETS))
    features = Features({"img": ImageFeature(), "coarse": ClassLabel(names=["fish", "cat"]), "fine": fine})
    columns = {
        "img": [row["image"] for row in rows()],
        "coarse": [row["label"] // 2 for row in rows()],
        "fine": [row["label"] for row in rows()],
    }
    HubDataset.from_dict(columns, features=features).to_parquet(tmp_path / "validation.parquet")
    assert not problems(tmp_path)


def test_another_program_s_file_without_names_of_classes_is_doubted(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(rows()), tmp_path / "validation.parquet")
    dataset = Dataset(card(), tmp_path)
    assert len(dataset.entries(CLEAN)) == len(PHOTOS)
    assert "does not name its classes: that their order is the card's cannot be seen" in "\n".join(dataset.doubts)


def changed(label: int | None = None, name: str | None = None, row: int = 4) -> list[dict[str, Any]]:
    made = rows()
    if label is not None:
        made[row]["label"] = label
    if name is not None:
        made[row]["image"]["path"] = name
    return made


def shifted() -> list[dict[str, Any]]:
    return [{**row, "label": row["label"] + 1} for row in rows()]


def plain(root: Path, made: list[dict[str, Any]], **metadata: str) -> Path:
    table = pa.Table.from_pylist(made)
    root.mkdir(parents=True)
    pq.write_table(table.replace_schema_metadata(metadata), root / "validation-00000-of-00001.parquet")
    return root


def test_deliberate_mistakes_are_refused_in_one_line(tmp_path: Path) -> None:
    swapped = (SYNSETS[1], SYNSETS[0], SYNSETS[2])
    said = problems(parquet(tmp_path / "order", names=swapped))
    assert "has the classes in another order than the card in 2 of 3 places: 0 is 'n01443537' there" in said
    assert "which is 1 of the card" in said
    assert "names 4 classes, expected 3" in problems(parquet(tmp_path / "many", names=(*SYNSETS, "n09999999")))
    assert "3 labels are not 0 to 2" in problems(plain(tmp_path / "one", shifted()))
    assert "they seem to be counted from 1" in problems(plain(tmp_path / "counted", shifted()))
    assert "1 label is not 0 to 2: validation-00000-of-00001.parquet/4 has -1" in problems(
        plain(tmp_path / "negative", changed(-1))
    )
    lacking = [{**row, "label": None if number == 4 else row["label"]} for number, row in enumerate(rows())]
    assert "row 4, has no label in the column label" in problems(plain(tmp_path / "label", lacking))
    lacking = [{**row, "image": None if number == 4 else row["image"]} for number, row in enumerate(rows())]
    assert "row 4, has no image in the column image" in problems(plain(tmp_path / "image", lacking))
    twice = changed(rows()[1]["label"], rows()[1]["image"]["path"])
    assert "1 image is there twice: " in problems(plain(tmp_path / "twice", twice))
    text = [{"picture": row["image"]["bytes"], "name": "a"} for row in rows()]
    said = problems(plain(tmp_path / "columns", text))
    assert "which column is the label is not clear, none is; it has picture (binary), name (string)" in said


def test_a_wrong_split_and_missing_files_are_named(tmp_path: Path) -> None:
    said = problems(parquet(tmp_path / "train", split="train"))
    assert f"{tmp_path / 'train'} has the split train; expected validation or test" in said
    root = parquet(tmp_path / "both", split="train")
    parquet(root, split="validation", files=3)
    assert not problems(root)
    (root / "data" / "validation-00001-of-00003.parquet").unlink()
    assert "data lacks 1 file of 3, by number: 1" in problems(root)
    (root / "data" / "validation-00002-of-00003.parquet").unlink()
    assert "data lacks 2 files of 3, by number: 1, 2" in problems(root)


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path) / "data" / "validation-00001-of-00002.parquet"
    path.write_bytes(path.read_bytes()[:-200])
    assert f"{path} is not a whole parquet file" in problems(tmp_path)


def test_a_damaged_image_and_one_that_is_not_embedded_have_no_answer(tmp_path: Path) -> None:
    made = rows()
    made[0]["image"]["bytes"] = None
    layout = Dataset(card(), plain(tmp_path / "paths", made)).layout
    lacking = f"{PHOTOS[0].folder}/{PHOTOS[0].name}"
    layout.entries(CLEAN)
    with pytest.raises(MissingImage, match=r"row 0, has the path of an image and not the image; embed the images"):
        layout.stored(lacking)
    path = parquet(tmp_path / "damaged", files=1) / "data" / "validation-00000-of-00001.parquet"
    layout = Dataset(card(), tmp_path / "damaged").layout
    entries = layout.entries(CLEAN)
    found = path.read_bytes()
    path.write_bytes(found[:4] + bytes(200) + found[204:])
    with pytest.raises(DamagedImage, match="cannot be read"):
        print([layout.stored(entry.id) for entry in entries])


def test_images_in_a_column_of_bytes_have_no_names(tmp_path: Path) -> None:
    made = [{"jpg": row["image"]["bytes"], "label": row["label"]} for row in rows()]
    assert len(content(plain(tmp_path / "plain", made))) == len(PHOTOS)
    assert Dataset(card(), tmp_path / "plain").layout.reading_order([]) == []
