"""Data sets that lie as archives: every layout reads them as its tree, and each mistake in an archive is one line."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apm_tta.data.check import check, presence
from apm_tta.data.dataset import Dataset, open_dataset
from apm_tta.data.sample import CLEAN, Condition
from apm_tta.data.support_images import SupportImages
from apm_tta.data.unlabelled import all_images, one_image, unused_files
from apm_tta.errors import UserError

FOG = Condition("fog", 3)
FORMS = ("tar", "tar.gz", "zip")


def pack(source: Path, archive: Path, top: str = "") -> Path:
    """Write an archive of what is in a folder, under the folder ``top``."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    files = sorted(path for path in source.rglob("*") if path.is_file())
    names = {path: f"{top}/{path.relative_to(source)}".lstrip("/") for path in files}
    if archive.suffix.lower() == ".zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            for path, name in names.items():
                packed.write(path, name)
        return archive
    with tarfile.open(archive, "w:gz" if archive.suffix == ".gz" else "w") as tar:
        for path, name in names.items():
            tar.add(path, name)
    return archive


def seen(dataset: Dataset) -> Any:
    """Return what a run sees of a data set."""
    condition = FOG if dataset.card.stored_corruptions else dataset.layout.conditions()[0]
    entries = dataset.entries(condition)
    digests = [dataset.layout.stored(entry.id).sha256 for entry in entries[:40]]
    doubts = [doubt.replace(str(dataset.layout.place), "PLACE") for doubt in dataset.doubts]
    return entries, digests, dataset.fingerprint([condition]), dataset.classes, doubts


def test_every_layout_reads_a_tar_as_its_tree(miniature: Any, tmp_path: Path) -> None:
    """Beside other archives, and given as the data root itself."""
    tree = seen(Dataset(miniature.card, miniature.root))
    archive = pack(miniature.root, tmp_path / "lies" / "set.tar")
    lying = Dataset(miniature.card, archive.parent)
    assert lying.layout.place == archive.parent
    assert seen(lying) == tree
    assert lying.title.endswith("read from set.tar)")
    if len(tree[0]) < 200:  # of a thousand folders once is enough
        assert seen(Dataset(miniature.card, archive)) == tree


@pytest.mark.parametrize("form", FORMS)
def test_a_release_is_read_from_its_own_folder_in_the_archive(adversarial: Any, tmp_path: Path, form: str) -> None:
    tree = seen(Dataset(adversarial.card, adversarial.root))
    archive = pack(adversarial.root, tmp_path / "lies" / f"imagenet-a.{form}", "imagenet-a")
    other = pack(adversarial.root / "n01498041", archive.with_name("other.tar"), "other")
    for root in (archive.parent, archive):
        lying = Dataset(adversarial.card, root)
        assert lying.layout.place == root / "imagenet-a"
        assert seen(lying) == tree
        assert lying.title == f"{adversarial.card.title} (read from {archive.name})"
    made_here = adversarial.card.model_copy(update={"downloads": ()})  # it has not the digest of the release's file
    assert check(made_here, archive.parent, deep=True).problems == []
    assert other.exists()


def test_the_archives_of_imagenet_c_are_one_tree(trees: Any, tmp_path: Path) -> None:
    made = trees.corruption_tree(
        tmp_path / "tree", [f"{name}/{level}" for name in ("fog", "snow") for level in range(1, 6)]
    )
    whole = check(made.card, made.root, deep=True)
    for name in ("fog", "snow"):
        pack(made.root / name, tmp_path / "lies" / f"{name}.tar", name)
    report = check(made.card, tmp_path / "lies", deep=True)
    assert report.rows == whole.rows
    assert (report.problems, report.doubts) == ([], [])
    assert "read from 2 archives, fog.tar, snow.tar" in report.notes
    # One of them unpacked beside the other, and beside its own archive, changes nothing but where it is read from.
    shutil.copytree(made.root / "fog", tmp_path / "lies" / "fog")
    report = check(made.card, tmp_path / "lies", deep=True)
    assert report.rows == whole.rows
    assert report.problems == []
    assert "read from snow.tar" in report.notes
    (doubt,) = report.doubts
    assert doubt == f"1 archive is not read, since what is unpacked comes first ({tmp_path / 'lies' / 'fog.tar'})"


def test_a_list_on_disk_and_its_images_in_an_archive_are_one_tree(trees: Any, tmp_path: Path) -> None:
    made = trees.coop(tmp_path / "tree", "caltech101")
    tree = seen(Dataset(made.card, made.root))
    folder = tmp_path / "lies" / "caltech-101"
    pack(made.root / "101_ObjectCategories", folder / "101_ObjectCategories.tar.gz", "101_ObjectCategories")
    shutil.copy(made.root / "split_zhou_Caltech101.json", folder)
    assert seen(Dataset(made.card, tmp_path / "lies")) == tree


def test_an_unpacked_set_is_used_before_any_archive_is_gone_through(adversarial: Any, tmp_path: Path) -> None:
    """Wherever it lies below the data root; its archive beside it is named."""
    archive = pack(adversarial.root, tmp_path / "imagenet-a.zip", "imagenet-a")
    archive.write_bytes(b"no longer an archive")
    dataset = Dataset(adversarial.card, tmp_path)
    assert len(dataset.entries(CLEAN)) == 200
    assert dataset.title == adversarial.card.title
    assert dataset.doubts == [f"1 archive is not read, since what is unpacked comes first ({archive})"]


def test_a_list_of_sets_goes_through_no_archive(adversarial: Any, tmp_path: Path) -> None:
    archive = pack(adversarial.root, tmp_path / "lies" / "imagenet-a.tar", "imagenet-a")
    assert presence(adversarial.card, archive.parent) == "not found outside archives"
    Dataset(adversarial.card, archive.parent).entries(CLEAN)
    assert presence(adversarial.card, archive.parent) == "found"


def test_support_and_unlabelled_images_come_from_archives_too(trees: Any, tmp_path: Path) -> None:
    made = trees.folder(tmp_path / "tree")
    for number, (name, tested) in enumerate((("zebra", 300), ("ant_hill", 301))):
        trees.put(tmp_path / "train" / name / "a.png", trees.encoded(tested, "PNG"))
        trees.put(tmp_path / "more" / f"{number}.png", trees.encoded(number, "PNG"))
    train = pack(tmp_path / "train", tmp_path / "support.zip")
    support = SupportImages(train, Dataset(made.card, made.root), 1)
    assert [label for _, label in support] == [0, 1]
    assert support.fingerprint == SupportImages(tmp_path / "train", Dataset(made.card, made.root), 1).fingerprint
    tested = pack(made.root, tmp_path / "tested.tar")
    with pytest.raises(UserError, match="contains a test image"):
        SupportImages(tested, Dataset(made.card, made.root), 1)

    more = pack(tmp_path / "more", tmp_path / "more.tar.gz")
    assert [image.id for image in all_images(str(more))] == ["0.png", "1.png"]
    assert unused_files(str(more)) == ""
    assert trees.label_of(one_image(str(more / "1.png")).read()) == 1


def add(tar: tarfile.TarFile, name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, to: str = "") -> None:
    member = tarfile.TarInfo(name)
    member.type, member.size, member.linkname = kind, len(content), to
    tar.addfile(member, io.BytesIO(content))


def two_classes(trees: Any) -> dict[str, bytes]:
    names = [f"{name}/{name}{number}.png" for name in ("ant", "bee") for number in (1, 2)]
    return {name: trees.encoded(label, "PNG") for label, name in enumerate(names)}


def tar_with(*extra: tuple[Any, ...], form: str = "tar") -> Callable[[Path, Any], Path]:
    """Return what writes an archive of two classes, and of further members."""

    def write(folder: Path, trees: Any) -> Path:
        path = folder / f"set.{form}"
        with tarfile.open(path, "w:gz" if form.endswith("gz") else "w") as tar:
            for name, content in two_classes(trees).items():
                add(tar, name, content)
            for each in extra:
                add(tar, *each)
        return path

    return write


def damaged(form: str, change: Callable[[bytes], bytes]) -> Callable[[Path, Any], Path]:
    def write(folder: Path, trees: Any) -> Path:
        path = zip_with()(folder, trees) if form == "zip" else tar_with(form=form)(folder, trees)
        path.write_bytes(change(path.read_bytes()))
        return path

    return write


def zip_with(*extra: tuple[str, bytes], change: Callable[[bytes], bytes] = bytes) -> Callable[[Path, Any], Path]:
    def write(folder: Path, trees: Any) -> Path:
        path = folder / "set.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in [*two_classes(trees).items(), *extra]:
                packed.writestr(name, content)
        path.write_bytes(change(path.read_bytes()))
        return path

    return write


def zip_link(folder: Path, trees: Any) -> Path:
    path = zip_with()(folder, trees)
    link = zipfile.ZipInfo("ant/link.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as packed:
        packed.writestr(link, "/etc/passwd")
    return path


def encrypted(content: bytes) -> bytes:
    """Set the bit of encryption of every file, in its header and in the list at the end."""
    changed = bytearray(content)
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = changed.find(mark)
        while start >= 0:
            changed[start + place] |= 1
            start = changed.find(mark, start + 1)
    return bytes(changed)


def nested(form: str) -> Callable[[Path, Any], Path]:
    def write(folder: Path, trees: Any) -> Path:
        inner = tar_with()(folder, trees)
        content = inner.read_bytes()
        inner.unlink()
        path = folder / f"set.{form}"
        if form == "zip":
            with zipfile.ZipFile(path, "w") as packed:
                packed.writestr("inner.tar", content)
        else:
            with tarfile.open(path, "w:gz" if form == "tar.gz" else "w") as tar:
                add(tar, "inner.tar", content)
        return path

    return write


def two_archives(form: str) -> Callable[[Path, Any], Path]:
    def write(folder: Path, trees: Any) -> Path:
        path = zip_with()(folder, trees) if form == "zip" else tar_with(form=form)(folder, trees)
        shutil.copy(path, path.with_name(f"again.{form}"))
        return path

    return write


def missing_class(form: str) -> Callable[[Path, Any], Path]:
    def write(folder: Path, trees: Any) -> Path:
        listed = ("classes.txt", b"ant\nbee\ncat\n")
        return zip_with(listed)(folder, trees) if form == "zip" else tar_with(listed, form=form)(folder, trees)

    return write


OUT = "unpack it into a folder of its own"
TAR_MISTAKES: dict[str, tuple[Callable[[str], Callable[[Path, Any], Path]], str]] = {
    "a member above": (lambda form: tar_with(("../ant/x.png", b""), form=form), rf"1 path that leads out .*; {OUT}"),
    "an absolute member": (lambda form: tar_with(("/ant/x.png", b""), form=form), rf"1 absolute path.*; {OUT}"),
    "a symbolic link": (
        lambda form: tar_with(("ant/x.png", b"", tarfile.SYMTYPE, "/etc/passwd"), form=form),
        rf"1 link, .*ant/x\.png.*; {OUT}",
    ),
    "a hard link": (
        lambda form: tar_with(("ant/x.png", b"", tarfile.LNKTYPE, "ant/ant1.png"), form=form),
        rf"1 link, .*; {OUT}",
    ),
    "a device": (lambda form: tar_with(("ant/x.png", b"", tarfile.CHRTYPE), form=form), "1 device or pipe"),
    "a path twice": (
        lambda form: tar_with(("ant/ant1.png", b"other"), form=form),
        r"1 path that it has twice.*ant1\.png",
    ),
    "a file named like a folder": (
        lambda form: tar_with(("ant", b"x"), form=form),
        "1 path of both a file and a folder",
    ),
    "cut off": (
        lambda form: damaged(form, lambda content: content[: min(1500, len(content) // 2)]),
        "cut off or damaged",
    ),
    "no archive": (lambda form: damaged(form, lambda _: b"<html>404</html>" * 99), "is no tar, tar.gz or zip"),
    "archives within": (nested, r"archives, which are not looked into \(inner\.tar\); unpack"),
    "one twice": (two_archives, "both have ant/ant1.png; move one"),
    "a class missing": (missing_class, "2 class folders, expected 3: missing cat"),
}
ZIP_MISTAKES: dict[str, tuple[Callable[[Path, Any], Path], str]] = {
    "a member above": (zip_with(("../ant/x.png", b"")), rf"1 path that leads out .*; {OUT}"),
    "an absolute member": (zip_with(("/ant/x.png", b"")), rf"1 absolute path.*; {OUT}"),
    "a path of Windows": (zip_with(("C:\\ant\\x.png", b"")), rf"1 absolute path.*; {OUT}"),
    "a link": (zip_link, rf"1 link, .*ant/link\.png.*; {OUT}"),
    "encrypted": (zip_with(change=encrypted), r"4 encrypted files, .*password, by: unzip set\.zip"),
    "cut off": (damaged("zip", lambda content: content[: min(1500, len(content) // 2)]), "cut off or damaged"),
    "no archive": (damaged("zip", lambda _: b"<html>404</html>" * 99), "is no tar, tar.gz or zip"),
    "archives within": (nested("zip"), r"archives, which are not looked into \(inner\.tar\); unpack"),
    "one twice": (two_archives("zip"), "both have ant/ant1.png; move one"),
    "a class missing": (missing_class("zip"), "2 class folders, expected 3: missing cat"),
}
MISTAKES = [
    *(
        pytest.param(make(form), says, id=f"{form}: {name}")
        for name, (make, says) in TAR_MISTAKES.items()
        for form in FORMS[:2]
    ),
    *(pytest.param(write, says, id=f"zip: {name}") for name, (write, says) in ZIP_MISTAKES.items()),
]


@pytest.mark.parametrize(("write", "says"), MISTAKES)
def test_a_mistake_in_an_archive_is_one_line(write: Any, says: str, tmp_path: Path, trees: Any) -> None:
    """A run and a check name it, whether the archive or its folder is the data root."""
    (tmp_path / "lies").mkdir()
    archive = write(tmp_path / "lies", trees)
    roots = [archive.parent] if "both have" in says else [archive.parent, archive]
    for root in roots:
        dataset = open_dataset("folder", root)
        with pytest.raises(UserError, match=says) as raised:
            dataset.entries(CLEAN)
        assert "\n" not in str(raised.value)
        problems = check(dataset.card, root).problems
        assert any(str(raised.value).startswith(problem[:60]) for problem in problems), problems


@pytest.mark.parametrize("name", ["set.TAR", "set.Tar.GZ", "set.TGZ", "set.ZIP", "gzip under the name of a.tar"])
def test_a_suffix_may_be_in_any_case_and_the_first_bytes_decide(name: str, tmp_path: Path, trees: Any) -> None:
    (tmp_path / "lies").mkdir()
    form = "zip" if name.endswith("ZIP") else "tar" if name.endswith("TAR") else "tar.gz"
    write = zip_with() if form == "zip" else tar_with(form=form)
    write(tmp_path / "lies", trees).rename(tmp_path / "lies" / name)
    assert len(open_dataset("folder", tmp_path / "lies").entries(CLEAN)) == 4


def test_hidden_members_are_passed_over_as_in_a_tree(tmp_path: Path, trees: Any) -> None:
    (tmp_path / "lies").mkdir()
    hidden = [("ant/._ant1.png", b"x"), ("ant/.DS_Store", b"x"), ("__MACOSX/ant/._ant1.png", b"x")]
    zip_with(*hidden)(tmp_path / "lies", trees)
    dataset = open_dataset("folder", tmp_path / "lies")
    assert len(dataset.entries(CLEAN)) == 4
    assert dataset.doubts == []


@pytest.mark.parametrize("form", FORMS)
def test_a_member_that_is_damaged_is_a_damaged_image(form: str, tmp_path: Path, trees: Any) -> None:
    """What surrounds it is read."""
    (tmp_path / "lies").mkdir()
    archive = (zip_with() if form == "zip" else tar_with(form=form))(tmp_path / "lies", trees)
    dataset = open_dataset("folder", tmp_path / "lies")
    whole = {entry.id: dataset.layout.stored(entry.id).content for entry in dataset.entries(CLEAN)}
    content = bytearray(archive.read_bytes())
    starts = {"tar": whole["bee/bee1.png"], "zip": b"bee/bee1.png", "tar.gz": content[len(content) // 2 :]}
    place = content.index(starts[form]) + 20
    content[place : place + 4] = b"\xff" * 4
    archive.write_bytes(content)
    problems = check(dataset.card, tmp_path / "lies", deep=True).problems
    assert problems
    assert all("set." in problem or "bee1" in problem for problem in problems)
