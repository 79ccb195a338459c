"""A run over a store that holds the names of files is the run over the tree; one that does not is a run of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from labelled_stores import card, clip_benchmark, kaggle, parquet, tree

from apm_tta.cli import main
from apm_tta.data.cards import DatasetCard, load_card
from apm_tta.data.dataset import Dataset
from apm_tta.data.hash_images import hash_images
from apm_tta.data.pack import pack
from apm_tta.data.sample import CLEAN
from apm_tta.harness.request import run_request
from apm_tta.harness.storage.manifest_file import read_manifest


@pytest.fixture(autouse=True)
def three_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run of ImageNet be one of its three classes here."""
    known = run_request.load_card
    monkeypatch.setattr(run_request, "load_card", lambda name: card() if name == "imagenet" else known(name))


WITHOUT_REPORT = ("--shard-range", "1/1")
"""Of a part of a run there is no report, whatever the part."""


def run(root: Path, out: Path, *words: str, name: str = "imagenet") -> int:
    fixed = [name, "--teacher", "embedded", "--methods", "zeroshot", "--quiet"]
    return main([*fixed, "--data-root", str(root), "--out", str(out), *words])


def packed(of: DatasetCard, source: Path, out: Path) -> Path:
    pack(Dataset(of, source), out)
    return out


def test_records_are_the_tree_s(tmp_path: Path, answers: Callable[[Path], Any]) -> None:
    root = tree(tmp_path / "tree")
    forms = {
        "tree": root,
        "shards": packed(card(), root, tmp_path / "shards"),
        "parquet": parquet(tmp_path / "hub"),
        "kaggle": kaggle(tmp_path / "kaggle"),
    }
    runs = {name: tmp_path / "runs" / name for name in forms}
    for name, place in forms.items():
        assert run(place, runs[name], *WITHOUT_REPORT) == 0
    expected, first = answers(runs["tree"]), read_manifest(runs["tree"])
    assert expected.num_rows == 9
    for each in runs.values():
        assert answers(each).equals(expected)
        assert read_manifest(each).numbers == first.numbers
        assert (each / "images.sha256").read_bytes() == (runs["tree"] / "images.sha256").read_bytes()
    assert run(forms["shards"], runs["tree"], *WITHOUT_REPORT) == 0, "what was begun from the tree goes on from shards"
    assert main(["compare", str(runs["tree"]), str(runs["parquet"])]) == 0


def test_parts_computed_from_two_forms_are_one_run(tmp_path: Path, answers: Callable[[Path], Any]) -> None:
    root = tree(tmp_path / "tree")
    shards = packed(card(), root, tmp_path / "shards")
    size = ("--shard-size", "5")
    parts = [tmp_path / "first", tmp_path / "second"]
    assert run(root, tmp_path / "whole", *size, *WITHOUT_REPORT) == 0
    assert run(root, parts[0], *size, "--shard-range", "1/2") == 0
    assert run(shards, parts[1], *size, "--shard-range", "2/2") == 0
    assert main(["merge", *map(str, parts), "--out", str(tmp_path / "merged")]) == 0
    assert answers(tmp_path / "merged").equals(answers(tmp_path / "whole"))


def test_numbers_of_other_ids_are_never_mixed_with_the_tree_s(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, plain = tmp_path / "own", tmp_path / "plain"
    assert run(clip_benchmark(tmp_path / "wds"), own) == 0
    root = tree(tmp_path / "tree")
    assert run(root, plain, *WITHOUT_REPORT) == 0
    named = "from webdataset shards without the names of its files: a set of its own"
    assert named in (own / "results.md").read_text()
    assert named not in read_manifest(plain).dataset_title
    capsys.readouterr()
    ids = "dataset.ids: shard and key of webdataset shards there, paths in the tree now"
    other = "dataset.ids: paths in the tree there, shard and key of webdataset shards now"
    both = "dataset.ids: paths in the tree and shard and key of webdataset shards"
    for command, says in (
        (lambda: run(root, own), ids),
        (lambda: main(["merge", str(plain), str(own), "--out", str(tmp_path / "merged")]), other),
        (lambda: main(["compare", str(plain), str(own)]), both),
    ):
        assert command() == 1
        said = capsys.readouterr().err.strip()
        assert says in said
        assert "\n" not in said


@pytest.fixture
def photographs(shared: Path) -> Path:
    root = shared / "data" / "imagenet-sample" / "val"
    if not root.is_dir():
        pytest.skip("the sample of ImageNet is not beside the checkout")
    return root


def test_records_of_real_photographs_are_the_tree_s(
    tmp_path: Path, photographs: Path, answers: Callable[[Path], Any]
) -> None:
    own = load_card("folder")
    dataset = Dataset(own, photographs)
    entries = dataset.entries(CLEAN)
    names = dataset.layout.class_list().folders
    made = [
        {
            "image": {"bytes": (photographs / entry.id).read_bytes(), "path": Path(entry.id).name},
            "label": entry.label,
        }
        for entry in reversed(entries)
    ]
    whole = hash_images(dataset.layout, [entry.id for entry in entries], len(entries))
    assert len(whole.by_id) == 250
    forms = {
        "tree": photographs,
        "shards": packed(own, photographs, tmp_path / "shards"),
        "parquet": parquet(tmp_path / "hub", made, files=3, names=names, group=20),
    }
    for name, place in forms.items():
        read = Dataset(own, place)
        assert read.entries(CLEAN) == entries
        assert hash_images(read.layout, [entry.id for entry in entries], 250) == whole
        assert run(place, tmp_path / "runs" / name, *WITHOUT_REPORT, "--limit", "20", name="folder") == 0
    expected = answers(tmp_path / "runs" / "tree")
    assert expected.num_rows == 20
    assert answers(tmp_path / "runs" / "shards").equals(expected)
    assert answers(tmp_path / "runs" / "parquet").equals(expected)
