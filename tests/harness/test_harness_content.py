"""What the images of a run are: other content under the same names is another run, wherever it is met."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from apm_tta.cli import main
from apm_tta.data import image_digests
from apm_tta.data.dataset import ChangedImage, open_dataset
from apm_tta.data.sample import CLEAN
from apm_tta.harness.compute import content
from apm_tta.harness.compute.job import Job
from apm_tta.harness.compute.parcel import unpack
from apm_tta.harness.plan import Cell, Shard
from apm_tta.harness.request.run_request import resolve_request
from apm_tta.harness.storage.image_list import read_image_list
from apm_tta.harness.storage.manifest_file import read_manifest

Run = Callable[..., int]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a set of two classes with six images each, as bitmaps: all of one size in bytes."""
    folder = tmp_path_factory.mktemp("content") / "set"
    dataset = open_dataset("fashion-mnist")
    for name, label in (("Trouser", 1), ("Bag", 8)):
        (folder / name).mkdir(parents=True)
        entries = [entry for entry in dataset.entries(CLEAN) if entry.label == label][:6]
        for number, entry in enumerate(entries):
            dataset.read(entry, CLEAN).image.save(folder / name / f"{number}.bmp")
    return folder


@pytest.fixture
def images(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "set"))


@pytest.fixture
def run(images: Path, tmp_path: Path) -> Run:
    def start(out: str, *words: str, root: Path = images) -> int:
        fixed = ["folder", "--teacher", "embedded", "--methods", "zeroshot", "--shard-size", "6", "--quiet"]
        return main([*fixed, "--data-root", str(root), "--out", str(tmp_path / out), *words])

    return start


def _swap(one: Path, other: Path) -> None:
    """Swap two files of one size, and leave their times as they were."""
    contents, times = [one.read_bytes(), other.read_bytes()], [one.stat(), other.stat()]
    for path, stored, status in zip((one, other), reversed(contents), times, strict=True):
        path.write_bytes(stored)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _top1(out: Path) -> float:
    with (out / "results.csv").open(encoding="utf-8") as file:
        return float(next(csv.DictReader(file))["top1"])


def test_resume_merge_and_compare_name_an_image_that_changed(
    run: Run, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [run("whole"), run("first", "--shard-range", "1/2")] == [0, 0]
    _swap(images / "Bag" / "1.bmp", images / "Trouser" / "5.bmp")
    assert run("second", "--shard-range", "2/2") == 0
    assert run("other") == 0
    capsys.readouterr()

    named = "other content under the same name: Bag/1.bmp, Trouser/5.bmp"
    assert run("first") == 1
    assert named in capsys.readouterr().err
    assert main(["merge", str(tmp_path / "first"), str(tmp_path / "second"), "--out", str(tmp_path / "merged")]) == 1
    assert named in capsys.readouterr().err
    assert not (tmp_path / "merged").exists()
    assert main(["compare", str(tmp_path / "whole"), str(tmp_path / "other")]) == 0
    assert named in capsys.readouterr().out


def test_the_same_images_go_on_merge_and_compare_wherever_they_lie(
    run: Run, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under another root, with other times, in files of another order."""
    assert [run("whole"), run("first", "--shard-range", "1/2"), run("rest", "--shard-range", "1/2")] == [0, 0, 0]
    elsewhere = tmp_path / "elsewhere" / "renamed"
    for path in sorted(images.rglob("*.bmp"), reverse=True):
        target = elsewhere / path.relative_to(images)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    shutil.rmtree(images)
    assert [run("second", "--shard-range", "2/2", root=elsewhere), run("rest", root=elsewhere)] == [0, 0]
    parts = [str(tmp_path / name) for name in ("first", "second")]
    assert main(["merge", *parts, "--out", str(tmp_path / "merged")]) == 0
    for name in ("merged", "rest"):
        capsys.readouterr()
        assert main(["compare", str(tmp_path / "whole"), str(tmp_path / name)]) == 0
        assert "nothing that decides a number" in capsys.readouterr().out
    lists = {(tmp_path / name / "images.sha256").read_bytes() for name in ("whole", "merged", "rest")}
    assert len(lists) == 1


@pytest.mark.parametrize("workers", ["0", "1"])
def test_an_image_that_changes_in_the_middle_of_a_run_stops_it(
    run: Run,
    images: Path,
    tmp_path: Path,
    workers: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Between its hashing and its reading, in whatever process; what was answered before is kept."""
    from apm_tta.harness import run as harness

    prepare = harness.prepare

    def late(*arguments: object) -> object:
        _swap(images / "Trouser" / "0.bmp", images / "Trouser" / "1.bmp")
        return prepare(*arguments)

    monkeypatch.setattr(harness, "prepare", late)
    assert run("run", "--workers", workers, "--shard-size", "6") == 1
    said = capsys.readouterr().err
    assert "Trouser/0.bmp is not what it was when this run began: restore it and run the same command again" in said
    assert said.count("\n") == 1
    monkeypatch.undo()
    _swap(images / "Trouser" / "0.bmp", images / "Trouser" / "1.bmp")
    assert run("run") == 0
    assert _top1(tmp_path / "run") > 80


def test_the_feature_cache_knows_content_not_size_and_time(run: Run, images: Path, tmp_path: Path) -> None:
    """A corrected set of the same sizes and times: its features are not those of the first."""
    assert run("first", "--feature-cache") == 0
    for number in range(6):
        _swap(images / "Bag" / f"{number}.bmp", images / "Trouser" / f"{number}.bmp")
    assert run("second", "--feature-cache") == 0
    assert _top1(tmp_path / "second") == 100 - _top1(tmp_path / "first") < 20
    assert run("third", "--feature-cache") == 0
    assert _top1(tmp_path / "third") == _top1(tmp_path / "second")


def test_features_that_other_threads_made_are_not_taken(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are equal up to rounding only: a number must not depend on who computed first."""
    monkeypatch.setenv("APM_TTA_CACHE", str(tmp_path / "cache"))
    before, entries = torch.get_num_threads(), list[int]()
    try:
        for threads, name in ((2, "first"), (1, "second"), (1, "third")):
            torch.set_num_threads(threads)
            assert run(name, "--feature-cache") == 0
            entries.append(len(list((tmp_path / "cache" / "features").glob("*.npy"))))
    finally:
        torch.set_num_threads(before)
    assert entries == [entries[0], 2 * entries[0], 2 * entries[0]]
    assert entries[0]


def test_class_names_and_their_order_are_part_of_a_run(
    run: Run, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "classes.txt").write_text("Bag\tbag\nTrouser\ttrouser\n")
    assert [run("first", "--shard-range", "1/2"), run("whole")] == [0, 0]
    (images / "classes.txt").write_text("Bag\tbag\nTrouser\tpair of trousers\n")
    assert [run("second", "--shard-range", "2/2"), run("other")] == [0, 0]
    capsys.readouterr()
    assert run("first") == 1
    assert "dataset.class_names: " in capsys.readouterr().err
    assert main(["merge", *(str(tmp_path / each) for each in ("first", "second")), "--out", str(tmp_path / "m")]) == 1
    said = capsys.readouterr().err
    assert "trouser" in said
    assert "pair of trousers" in said
    assert main(["compare", str(tmp_path / "whole"), str(tmp_path / "other")]) == 0
    assert "dataset.class_names: " in capsys.readouterr().out


def test_sentences_of_a_file_are_part_of_a_run_and_its_place_is_not(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one.txt", "same.txt"):
        (tmp_path / name).write_text("a photo of a {}.\n")
    (tmp_path / "other.txt").write_text("a drawing of a {}.\n")

    def words(name: str) -> list[str]:
        return ["--set", f"zeroshot.templates={tmp_path / name}"]

    assert run("run", *words("one.txt"), "--shard-range", "1/2") == 0
    assert run("run", *words("same.txt"), "--shard-range", "1/2") == 0
    capsys.readouterr()
    assert run("run", *words("other.txt")) == 1
    assert (
        "methods.zeroshot.sentences: ['a photo of a {}.'] there, ['a drawing of a {}.'] now" in capsys.readouterr().err
    )
    numbers = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())["numbers"]
    assert numbers["methods"]["zeroshot"]["sentences"] == ["a photo of a {}."]


def test_beyond_the_limit_a_sample_is_hashed_and_the_rest_as_it_is_read(
    run: Run, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(image_digests, "MOST_HASHED", 10)
    monkeypatch.setattr(image_digests, "SAMPLE", 2)
    assert run("whole") == 0
    assert "2 of 12 images were hashed before the first answer" in capsys.readouterr().out
    hashed = (tmp_path / "whole" / "images.sha256").read_text().splitlines()
    read = [
        line for path in (tmp_path / "whole" / "images").rglob("*.sha256") for line in path.read_text().splitlines()
    ]
    assert len(hashed) == 2
    assert sorted(line[66:] for line in [*hashed, *read]) == sorted(
        path.relative_to(images).as_posix() for path in images.rglob("*.bmp")
    )
    unhashed = next(line[66:] for line in read if line[66:].startswith("Bag"))
    picture = Image.open(images / unhashed)
    picture.putpixel((3, 3), (1, 2, 3))
    assert run("copy") == 0
    picture.save(images / unhashed)
    capsys.readouterr()
    # The same cells again: what was read before is compared with what is read now.
    shutil.rmtree(tmp_path / "whole" / "records")
    assert run("whole") == 1
    assert f"{unhashed} of" in capsys.readouterr().err
    assert run("changed") == 0
    assert main(["merge", str(tmp_path / "copy"), str(tmp_path / "changed"), "--out", str(tmp_path / "merged")]) == 1
    assert unhashed in capsys.readouterr().err


def test_an_image_in_two_classes_is_named(run: Run, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copyfile(images / "Bag" / "0.bmp", images / "Trouser" / "copy.bmp")
    assert run("run") == 0
    said = capsys.readouterr().out
    assert "1 image of one class are in another class too, such as Bag/0.bmp and Trouser/copy.bmp" in said


def test_an_image_list_that_was_damaged_changes_no_number(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("run") == 0
    before = (tmp_path / "run" / "images.sha256").read_bytes()
    (tmp_path / "run" / "images.sha256").write_bytes(before[:100])
    assert main(["report", str(tmp_path / "run")]) == 0
    assert main(["compare", str(tmp_path / "run"), str(tmp_path / "run")]) == 0
    assert run("run") == 0
    assert (tmp_path / "run" / "images.sha256").read_bytes() == before


def test_images_that_came_or_went_are_named(
    run: Run, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An image moved to another class is one that went and one that came."""
    assert run("run") == 0
    (images / "Bag" / "2.bmp").rename(images / "Trouser" / "new.bmp")
    assert run("other") == 0
    capsys.readouterr()
    named = "(Bag/2.bmp only there; Trouser/new.bmp only now)"
    assert run("run") == 1
    assert named in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "run"), str(tmp_path / "other")]) == 1
    assert named in capsys.readouterr().err


def test_digests_travel_with_the_job(run: Run, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that takes part in a run compares what it reads, and hashes nothing beforehand."""
    request = resolve_request(
        "folder", {"teacher": "embedded", "methods": ["zeroshot"]}, data_root=images, out=tmp_path / "run"
    )
    assert run("run", "--shard-size", "2000") == 0
    numbers = read_manifest(tmp_path / "run").numbers
    digests = read_image_list(tmp_path / "run", numbers)
    assert digests is not None
    monkeypatch.setattr(content, "hash_images", None)
    packed = Job(request, numbers, digests).packed()
    worker = Job(*unpack(packed[32:])).worker(torch.device("cpu"), print)
    cell = Cell("folder", CLEAN, "embedded", "zeroshot", 0)
    assert worker.compute(Shard(CLEAN, 0, 0, 12, (cell,))).files
    _swap(images / "Bag" / "4.bmp", images / "Bag" / "5.bmp")
    with pytest.raises(ChangedImage, match=r"Bag/4\.bmp"):
        worker.compute(Shard(CLEAN, 0, 0, 12, (cell,)))


def _flip(path: Path, draw: st.DataObject) -> None:
    content = bytearray(path.read_bytes())
    place = draw.draw(st.integers(0, 8 * len(content) - 1))
    content[place // 8] ^= 1 << place % 8
    path.write_bytes(content)


def _truncate(path: Path, draw: st.DataObject) -> None:
    path.write_bytes(path.read_bytes()[: draw.draw(st.integers(0, path.stat().st_size - 1))])


def _swap_with_another(path: Path, draw: st.DataObject) -> None:
    _swap(path, draw.draw(st.sampled_from([other for other in sorted(path.parent.glob("*.bmp")) if other != path])))


def _delete(path: Path, draw: st.DataObject) -> None:
    path.unlink()


def _duplicate(path: Path, draw: st.DataObject) -> None:
    shutil.copyfile(path, path.with_name("copy.bmp"))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_happens_to_a_file_of_the_set_its_run_does_not_go_on(
    whole: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], data: st.DataObject
) -> None:
    """A bit flipped, a tail lost, two files swapped, one gone, one doubled."""
    images, out = tmp_path / "set", f"run-{len(list(tmp_path.iterdir()))}"
    if not (tmp_path / "half").exists():
        assert run("half", "--shard-range", "1/2") == 0
    shutil.copytree(tmp_path / "half", tmp_path / out)
    path = images / data.draw(st.sampled_from(sorted(each.relative_to(whole) for each in whole.rglob("*.bmp"))))
    data.draw(st.sampled_from([_flip, _truncate, _swap_with_another, _delete, _duplicate]))(path, data)
    capsys.readouterr()
    try:
        assert run(out) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert f"{path.parent.name}/" in said
        assert path.name in said or "copy.bmp" in said
    finally:
        shutil.rmtree(images)
        shutil.copytree(whole, images)
