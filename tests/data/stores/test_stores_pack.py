"""What ``run-bench pack`` writes, webdataset reads; read here, it is the tree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from labelled_stores import PHOTOS, card, content, kaggle, packed, parquet, problems, read_by_webdataset, rows, tree

import apm_tta
from apm_tta.cli import main
from apm_tta.data import pack as packing
from apm_tta.data.cards import load_card
from apm_tta.data.check import check
from apm_tta.data.dataset import Dataset
from apm_tta.data.pack import pack
from apm_tta.data.sample import CLEAN
from apm_tta.data.stores.packed import key_of, member_name, packed_id
from apm_tta.errors import UserError


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MOST_BYTES", 3 * len(PHOTOS[0].content))


@pytest.mark.usefixtures("small_shards")
def test_shards_are_the_tree_and_webdataset_reads_them(tmp_path: Path) -> None:
    dataset = Dataset(card(), tree(tmp_path / "tree"))
    written = pack(dataset, tmp_path / "shards")
    assert written.images == len(PHOTOS)
    assert len(written.shards) == 3
    assert content(tmp_path / "shards") == content(tmp_path / "tree")
    said = check(card(), tmp_path / "shards", deep=True).notes
    assert "3 shards compared with what was computed at packing" in said
    samples = read_by_webdataset([tmp_path / "shards" / name for name in written.shards], "rgb8")
    assert [sample["cls"] for sample in samples] == [entry.label for entry in dataset.entries(CLEAN)]
    assert [f"{sample['__key__']}.JPEG" for sample in samples] == [entry.id for entry in dataset.entries(CLEAN)]
    assert samples[0]["jpeg"].shape == (40, 48, 3)


@pytest.mark.usefixtures("small_shards")
def test_the_same_tree_gives_the_same_bytes(tmp_path: Path) -> None:
    tree(tmp_path / "tree")
    for name in ("a", "b"):
        pack(Dataset(card(), tmp_path / "tree"), tmp_path / name)
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("a", "b"))
    assert one == two


LAYOUTS = [
    *("imagenet-a", "imagenet-v2 by integer", "imagenet-c", "objectnet", "fgvc_aircraft", "oxford_pets"),
    *("folder with classes.txt", "folder without", "cifar10 pickled", "cifar10-c", "cifar10.1"),
]


@pytest.mark.parametrize("miniature", LAYOUTS, indirect=True)
def test_every_layout_of_files_is_read_from_its_shards(miniature: Any, tmp_path: Path) -> None:
    dataset = Dataset(miniature.card, miniature.root)
    if dataset.layout.file_of(dataset.entries(dataset.layout.conditions()[0])[0].id) is None:
        with pytest.raises(UserError, match=r"lies in arrays, not in files: there is nothing to pack"):
            pack(dataset, tmp_path / "shards")
        return
    pack(dataset, tmp_path / "shards")
    other = Dataset(miniature.card, tmp_path / "shards")
    assert other.layout.conditions() == dataset.layout.conditions()
    for condition in dataset.layout.conditions():
        expected = dataset.entries(condition)
        assert other.entries(condition) == expected
        for entry in expected[:5]:
            one, two = dataset.read(entry, condition), other.read(entry, condition)
            assert (one.sha256, one.image.tobytes(), one.remarks) == (two.sha256, two.image.tobytes(), two.remarks)
    assert other.classes == dataset.classes
    assert check(miniature.card, tmp_path / "shards").passed


def test_every_condition_has_shards_of_its_own(tmp_path: Path, trees: Any) -> None:
    made = trees.corruption_tree(tmp_path / "tree", ("fog/1", "fog/3", "snow/5"))
    pack(Dataset(made.card, made.root), tmp_path / "shards")
    assert [path.name for path in sorted((tmp_path / "shards").glob("*.tar"))] == [
        f"imagenet-c-{name}-000000.tar" for name in ("fog-1", "fog-3", "snow-5")
    ]
    (tmp_path / "shards" / "imagenet-c-fog-1-000000.tar").write_bytes(b"")
    assert "has 0 bytes" in "\n".join(check(made.card, tmp_path / "shards").problems)


def test_other_stores_are_packed_too(tmp_path: Path) -> None:
    expected = content(tree(tmp_path / "tree"))
    for form in (kaggle(tmp_path / "kaggle"), parquet(tmp_path / "hub")):
        pack(Dataset(card(), form), tmp_path / f"{form.name}-shards")
        assert content(tmp_path / f"{form.name}-shards") == expected
    unnamed = parquet(tmp_path / "unnamed", rows(with_names=False))
    with pytest.raises(UserError, match=r"does not hold the names of imagenet's files; pack its tree"):
        pack(Dataset(card(), unnamed), tmp_path / "none")


@pytest.mark.parametrize("name", ["0.000116_digital clock _ 0.865662.jpg", "a.b%2E.JPEG", "plain.png", "ä.b.jpg"])
def test_dots_in_a_name_are_no_end_of_the_key(name: str) -> None:
    """ImageNet-A's names have several."""
    member = member_name(f"n02708093/{name}")
    assert packed_id(member) == f"n02708093/{name}"
    assert key_of(member)[1] == Path(name).suffix.lower()[1:]


def test_images_with_dots_in_their_names_are_packed(tmp_path: Path) -> None:
    root = tree(tmp_path / "tree")
    for number, path in enumerate(sorted(root.rglob("*.JPEG"))):
        path.rename(path.with_name(f"0.{number}_a cat _ 0.5.jpg"))
    pack(Dataset(card(), root), tmp_path / "shards")
    assert content(tmp_path / "shards") == content(root)


def test_two_files_that_would_be_one_image_are_refused(tmp_path: Path) -> None:
    root = tree(tmp_path / "tree")
    path = next(root.rglob("*.JPEG"))
    path.with_suffix(".png").write_bytes(path.read_bytes())
    with pytest.raises(UserError, match=r"\.JPEG and .*\.png would be one image in a shard; rename one of them"):
        pack(Dataset(card(images=None, images_per_class=None), root), tmp_path / "shards")


def test_a_folder_that_is_in_use_is_refused(tmp_path: Path) -> None:
    dataset = Dataset(card(), tree(tmp_path / "tree"))
    with pytest.raises(UserError, match=r"is in the tree that is packed") as caught:
        pack(dataset, tmp_path / "tree" / "shards")
    assert caught.value.exit_code == 2
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    with pytest.raises(UserError, match=r"is not an empty folder; name another one"):
        pack(dataset, tmp_path / "used")
    with pytest.raises(UserError, match=r"is not an empty folder"):
        pack(dataset, tmp_path / "used" / "file")


def test_an_image_that_cannot_be_read_ends_it_and_leaves_no_mark(tmp_path: Path) -> None:
    dataset = Dataset(card(), tree(tmp_path / "tree"))
    gone = tmp_path / "tree" / dataset.entries(CLEAN)[-1].id
    entries = dataset.layout.entries(CLEAN)
    dataset.layout.entries = lambda _: entries  # type: ignore[method-assign]
    gone.unlink()
    with pytest.raises(UserError, match="is missing"):
        pack(dataset, tmp_path / "shards")
    assert not list((tmp_path / "shards").iterdir())


def test_a_full_disk_is_said_to_be_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packing.tarfile.TarFile, "addfile", refuse)
    with pytest.raises(UserError, match=r"000000\.tar cannot be written \(No space left on device\)"):
        pack(Dataset(card(), tree(tmp_path / "tree")), tmp_path / "shards")
    assert not list((tmp_path / "shards").iterdir())


@pytest.mark.usefixtures("small_shards")
def test_deliberate_mistakes_are_refused_in_one_line(tmp_path: Path) -> None:
    pack(Dataset(card(), tree(tmp_path / "tree")), tmp_path / "shards")
    second, third = (tmp_path / "shards" / f"imagenet-00000{number}.tar" for number in (1, 2))
    whole = second.read_bytes()
    second.write_bytes(whole[:-512])
    assert f"{second} has {len(whole) - 512:,} bytes, {len(whole):,} were packed; copy it again" in said(tmp_path)
    second.unlink()
    assert f"{second} cannot be read (No such file or directory); copy it again" in said(tmp_path)
    second.write_bytes(whole.replace(b"\xff\xd9", b"\xff\xd8", 1))
    assert not said(tmp_path)
    assert f"{second} " in "\n".join(check(card(), tmp_path / "shards", deep=True).problems)
    second.write_bytes(third.read_bytes())
    third.write_bytes(whole)
    assert said(tmp_path)
    second.write_bytes(whole)


def said(root: Path) -> str:
    return problems(root / "shards")


def restated(folder: Path, **changes: Any) -> None:
    (folder / "packed.json").write_text(json.dumps({**packed(folder), **changes}))


def test_what_is_stated_beside_the_shards_is_compared_with_them(tmp_path: Path) -> None:
    pack(Dataset(card(), tree(tmp_path / "tree")), tmp_path / "shards")
    folder = tmp_path / "shards"
    restated(folder, fingerprints={"clean": "0" * 64})
    assert "has not the images and labels that were packed; pack it again" in said(tmp_path)
    restated(folder, card="imagenet-a")
    assert f"{folder} was packed of imagenet-a; use imagenet-a" in said(tmp_path)
    restated(folder, format="apm-tta shards 2")
    assert "packed.json is damaged (format: " in said(tmp_path)
    (folder / "packed.json").write_text("{")
    assert "packed.json is damaged" in said(tmp_path)


def test_shards_of_imagenet_are_read_as_a_part_of_it_too(tmp_path: Path) -> None:
    root = tree(tmp_path / "tree")
    part = load_card("imagenet-part")
    pack(Dataset(part, root), tmp_path / "shards")
    assert content(tmp_path / "shards", part) == content(root, part)
    assert "3 of the 1,000 classes" in Dataset(part, root).title
    read = Dataset(part, tmp_path / "shards")
    read.entries(CLEAN)
    assert read.title == Dataset(part, root).title
    few = {"images": len(PHOTOS), "images_per_class": None}
    assert not problems(tmp_path / "shards", load_card("imagenet").model_copy(update=few))


def test_the_command_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = tree(tmp_path / "tree"), tmp_path / "shards"
    assert main(["pack", "imagenet-part", "--data-root", str(root), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "packed 9 images into 1 shard of 0.0 MB in" in printed
    assert f"check them with: run-bench check imagenet-part --data-root {out} --deep" in printed
    assert main(["check", "imagenet-part", "--data-root", str(out), "--deep"]) == 0
    assert "everything is as expected" in capsys.readouterr().out
    assert main(["pack", "imagenet-part", "--data-root", str(root), "--out", str(out)]) == 2
    assert "is not an empty folder; name another one" in capsys.readouterr().err
    assert main(["pack", "fashion-mnist", "--out", str(tmp_path / "x")]) == 2
    assert apm_tta.check_dataset("imagenet-part", out).passed
