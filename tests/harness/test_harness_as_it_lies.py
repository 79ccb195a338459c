"""A run over archives is the run over the tree: the same records, in whichever form the images lie."""

from __future__ import annotations

import itertools
import shutil
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from apm_tta.cli import main
from apm_tta.harness.storage.manifest_file import read_manifest
from apm_tta.harness.storage.records import read_records

SHORT = ["--teacher", "embedded", "--methods", "zeroshot", "--shard-size", "6", "--quiet"]
MEASURED = {"latency_ms", "batch_ms", "peak_memory_mb"}


WORDS = ("Ankle boot", "Bag", "Coat", "Dress", "Pullover", "Sandal", "Shirt", "Sneaker")
"""That the embedded teacher knows: of other names it could not tell the classes apart."""


@pytest.fixture(scope="module")
def photographs(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy fifty photographs, one of each class, and call every class by three words of its own."""
    folder = shared / "data" / "imagenet-sample" / "val"
    if not folder.is_dir():
        pytest.skip(f"the photographs of {folder} are not here")
    copied = tmp_path_factory.mktemp("photographs") / "val"
    for own in sorted(folder.iterdir())[:50]:
        shutil.copytree(own, copied / own.name)
    names = (" ".join(words) for words in itertools.product(WORDS, repeat=3))
    classes = sorted(path.name for path in copied.iterdir())
    lines = [f"{each}\t{name}\n" for each, name in zip(classes, names, strict=False)]
    (copied / "classes.txt").write_text("".join(lines), encoding="utf-8")
    return copied


def pack(tree: Path, archive: Path) -> Path:
    archive.parent.mkdir(parents=True)
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for path in sorted(tree.rglob("*")):
                packed.write(path, Path("val", path.relative_to(tree)))
    else:
        with tarfile.open(archive, "w:gz" if archive.suffix == ".gz" else "w") as tar:
            tar.add(tree, "val")
    return archive


class Runs:
    """Runs over photographs that lie in one form or another."""

    def __init__(self, place: Path, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.place, self.tree, self._capsys = place, tree, capsys

    def start(self, root: Path, out: str, *words: str) -> int:
        return main(["folder", *SHORT, "--data-root", str(root), "--out", str(self.place / out), *words])

    def lie_as(self, form: str) -> Path:
        """Return where the photographs would be, were the archive unpacked in its folder."""
        return pack(self.tree, self.place / f"lies in {form}" / form).parent / "val"

    def written(self, out: str) -> tuple[pa.Table, bytes]:
        table = read_records(self.place / out)
        answers = table.drop_columns([name for name in MEASURED if name in table.column_names])
        return answers, (self.place / out / "images.sha256").read_bytes()

    def is_the_same(self, one: str, other: str) -> bool:
        self._capsys.readouterr()
        assert main(["compare", str(self.place / one), str(self.place / other)]) == 0
        stated = "nothing that decides a number" in self._capsys.readouterr().out
        numbers = read_manifest(self.place / one).numbers == read_manifest(self.place / other).numbers
        return stated and numbers and self.written(one) == self.written(other)


def test_fifty_photographs_have_the_same_records_as_tree_and_as_tar(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = Runs(tmp_path, photographs, capsys)
    words = ("--shard-size", "50")
    assert runs.start(photographs, "tree", *words) == 0
    assert runs.start(runs.lie_as("val.tar"), "tar", *words) == 0
    assert runs.written("tree")[0].num_rows == 50
    assert runs.is_the_same("tree", "tar")
    assert read_manifest(tmp_path / "tar").dataset_title.endswith("read from val.tar)")


@pytest.fixture
def few(photographs: Path, tmp_path: Path) -> Path:
    """Copy twelve photographs, of as many classes."""
    folders = sorted(photographs.glob("n*"))[:12]
    for folder in folders:
        shutil.copytree(folder, tmp_path / "few" / "val" / folder.name)
    lines = (photographs / "classes.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "few" / "val" / "classes.txt").write_text("".join(lines[:12]), encoding="utf-8")
    return tmp_path / "few" / "val"


def test_a_run_goes_on_and_merges_in_whichever_form_its_images_lie(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where other processes load them."""
    runs = Runs(tmp_path, few, capsys)
    tar, packed, zipped = map(runs.lie_as, ("val.tar", "val.tar.gz", "val.zip"))
    assert runs.start(few, "tree") == 0
    assert runs.start(few, "begun", "--shard-range", "1/2") == 0
    assert runs.start(packed, "rest", "--shard-range", "2/2", "--workers", "1") == 0
    assert main(["merge", str(tmp_path / "begun"), str(tmp_path / "rest"), "--out", str(tmp_path / "merged")]) == 0
    assert runs.start(zipped, "begun", "--workers", "2") == 0
    assert runs.start(tar, "tar", "--workers", "2") == 0
    assert all(runs.is_the_same("tree", other) for other in ("merged", "begun", "tar"))


def test_an_archive_whose_images_change_ends_the_run(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = Runs(tmp_path, few, capsys)
    root = runs.lie_as("val.tar")
    assert runs.start(root, "run", "--shard-range", "1/2") == 0
    first, second = sorted(few.glob("n*/*"))[:2]
    first.write_bytes(second.read_bytes())
    shutil.rmtree(root.parent)
    runs.lie_as("val.tar")
    capsys.readouterr()
    assert runs.start(root, "run") == 1
    assert f"other content under the same name: {first.parent.name}/{first.name}" in capsys.readouterr().err
