"""CCC: streams of shards as its authors' ``generate.py`` writes them by the ``webdataset`` package."""

from __future__ import annotations

import io
import pickle
import shutil
import tarfile
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from labelled_stores import PHOTOS, SYNSETS, Photo, read_by_webdataset

import apm_tta
from apm_tta.cli import main
from apm_tta.data.cards import load_card
from apm_tta.data.check import check, presence
from apm_tta.data.dataset import Dataset
from apm_tta.data.sample import Condition
from apm_tta.errors import UserError
from apm_tta.harness.storage.records import read_records

PER_SHARD, SHARDS = 6, 3
SYNSETS_OF_ALL = load_card("imagenet").class_list.folders
FOLDERS = ("baseline_20_transition+speed_1000_seed_44", "baseline_0_transition+speed_2000_seed_43")
STREAM, OTHER = (Condition(folder.replace("+", "_")) for folder in FOLDERS)


def sample(index: int, photo: Photo, severity: float) -> dict[str, Any]:
    """Make what ``write_dataset`` gives to webdataset: keys count from 0 in every shard."""
    origin = f"++dir++{photo.folder}++name++{photo.name}"
    return {
        "__key__": f"sample_{index}",
        "info": f"{origin}++n1++gaussian_noise++s1++{severity}++n2++snow++s2++{5 - severity}",
        "input.jpg": photo.content,
        "output.cls": SYNSETS_OF_ALL.index(photo.folder),
    }


def write_shard(path: Path, samples: Sequence[dict[str, Any]]) -> None:
    import webdataset

    path.parent.mkdir(parents=True, exist_ok=True)
    sink = webdataset.TarWriter(str(path))
    for each in samples:
        sink.write(each)
    sink.close()


def stream(number: int) -> list[list[dict[str, Any]]]:
    """Draw a stream: photographs come again and again, in no order, as the severity changes."""
    drawn = [PHOTOS[(place * place + 5 * number) % len(PHOTOS)] for place in range(PER_SHARD * SHARDS)]
    samples = [sample(place % PER_SHARD, photo, place / 4) for place, photo in enumerate(drawn)]
    return [samples[first : first + PER_SHARD] for first in range(0, len(samples), PER_SHARD)]


def write(root: Path, folders: Sequence[str] = FOLDERS) -> Path:
    for number, folder in enumerate(folders):
        for serial, samples in enumerate(stream(number)):
            write_shard(root / folder / f"serial_{serial:05d}.tar", samples)
    return root


def test_each_stream_is_read_in_its_own_order(tmp_path: Path) -> None:
    """By ``webdataset`` itself too; a key is another image in every shard."""
    root = write(tmp_path / "CCC")
    for place in (root, tmp_path):
        dataset = Dataset(load_card("ccc"), place)
        assert dataset.layout.conditions() == [OTHER, STREAM], "in the card's order"
    entries = dataset.entries(STREAM)
    paths = [root / FOLDERS[0] / f"serial_{serial:05d}.tar" for serial in range(SHARDS)]
    told = read_by_webdataset(paths)
    assert len(entries) == len(told) == PER_SHARD * SHARDS
    assert [entry.id.rpartition("/")[2] for entry in entries] == [each["__key__"] for each in told]
    assert len({each["__key__"] for each in told}) == PER_SHARD
    assert [entry.label for entry in entries] == [int(each["output.cls"]) for each in told]
    assert [dataset.layout.stored(entry.id).content for entry in entries] == [each["input.jpg"] for each in told]
    assert entries[7].id == f"{FOLDERS[0]}/serial_00001.tar/sample_1"
    assert dataset.layout.ids == "folder, shard and key of webdataset shards"
    assert (dataset.title, dataset.doubts) == ("CCC", []), (
        "the folders in info show that labels mean the card's classes"
    )
    other = pickle.loads(pickle.dumps(dataset))
    assert other.read(entries[7], STREAM).sha256 == dataset.read(entries[7], STREAM).sha256


def test_a_folder_with_any_of_the_streams_is_enough(tmp_path: Path) -> None:
    found = check(load_card("ccc"), write(tmp_path, FOLDERS[:1]))
    assert found.passed
    assert found.doubts == []
    assert ("domains", "1", "27") in found.rows
    assert presence(load_card("ccc"), tmp_path) == "found"
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="has nothing of CCC; expected: DATA_ROOT/CCC/baseline_20_transition"):
        Dataset(load_card("ccc"), tmp_path / "empty").entries(STREAM)
    with pytest.raises(UserError, match=f"has no images under {OTHER}; there are: {STREAM}"):
        Dataset(load_card("ccc"), tmp_path).entries(OTHER)


def test_other_sets_of_domains_lie_in_stores_too(tmp_path: Path) -> None:
    """Nothing of it is CCC's alone."""
    from labelled_stores import numbered, shards

    domains = {"art": len(PHOTOS), "real_world": len(PHOTOS)}
    changes = {"classes": SYNSETS, "class_count": len(SYNSETS), "domains": domains}
    card = load_card("office-home").model_copy(update=changes)
    for folder in ("Art", "Real World"):
        shards(tmp_path / folder / "test", numbered())
    dataset = Dataset(card, tmp_path)
    assert [entry.id for entry in islice(dataset.entries(Condition("real_world")), 5)][4] == "Real World/1.tar/s0000004"
    assert check(card, tmp_path).passed


Samples = list[dict[str, Any]]


def changed(name: str, value: Any) -> Callable[[Samples], Samples]:
    """Return a change of the third sample."""
    return lambda samples: [{**each, name: value} if number == 2 else each for number, each in enumerate(samples)]


MISTAKES: list[tuple[Callable[[Samples], Samples], str]] = [
    (
        lambda samples: [{k: v for k, v in each.items() if k != "output.cls"} for each in samples],
        "6 images have no label",
    ),
    (
        lambda samples: [{k: v for k, v in each.items() if k != "input.jpg"} for each in samples],
        "6 labels have no image",
    ),
    (
        lambda samples: [{**each, "output.cls": each["output.cls"] + 1} for each in samples],
        "6 labels contradict the folder in the image's name",
    ),
    (changed("output.cls", 1000), f"1 label is not 0 to 999: {FOLDERS[0]}/serial_00001.tar/sample_2 has 1000"),
    (changed("output.cls", "cat"), "sample_2.output.cls is not the number of a class"),
    (changed("__key__", "sample_1"), "has 3 paths that it has twice"),
    (changed("mask.jpg", PHOTOS[0].content), "1 key has two images: sample_2; keep one of each"),
    (changed("cls", 3), "1 key has two labels: sample_2; keep one of each"),
    (changed("__key__", "../sample_2"), "has 3 paths that lead out of it"),
]


@pytest.mark.parametrize(("mistake", "says"), MISTAKES)
def test_deliberate_mistakes_are_refused_in_one_line(
    tmp_path: Path, mistake: Callable[[Samples], Samples], says: str
) -> None:
    path = write(tmp_path, FOLDERS[:1]) / FOLDERS[0] / "serial_00001.tar"
    write_shard(path, mistake(stream(0)[1]))
    said = "\n".join(check(load_card("ccc"), tmp_path).problems)
    assert says in said
    assert "\n" not in said


def test_shards_that_are_missing_or_cut_off_and_two_folders_of_one_stream_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, FOLDERS[:1]) / FOLDERS[0]
    path = folder / "serial_00001.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert check(load_card("ccc"), tmp_path).problems[0].startswith(f"{path} is cut off or damaged")
    path.unlink()
    assert f"{FOLDERS[0]} lacks 1 file of 3, by number: 1" in "\n".join(check(load_card("ccc"), tmp_path).problems)
    path.write_bytes(whole)
    shutil.copytree(folder, tmp_path / FOLDERS[0].replace("+", "_"))
    with pytest.raises(UserError, match="has two folders for the domain"):
        Dataset(load_card("ccc"), tmp_path).entries(STREAM)


def test_the_members_of_a_shard_are_those_that_the_authors_read(tmp_path: Path) -> None:
    path = write(tmp_path, FOLDERS[:1]) / FOLDERS[0] / "serial_00000.tar"
    with tarfile.open(path) as shard:
        assert shard.getnames()[:3] == ["sample_0.info", "sample_0.input.jpg", "sample_0.output.cls"]
        stored = shard.extractfile("sample_0.input.jpg")
        assert stored is not None
        assert io.BytesIO(stored.read()).getvalue() == PHOTOS[0].content


def test_an_online_run_over_a_stream_that_is_interrupted_and_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the suite's own command, in the stored order; what was answered before is kept as it is."""
    root, run = write(tmp_path / "data"), tmp_path / "run"
    words = [
        *("ccc", "--data-root", str(root), "--out", str(run), "--teacher", "embedded", "--methods", "zeroshot,tda"),
        *("--domains", f"{STREAM},{OTHER}", "--device", "cpu", "--workers", "0", "--batch-size", "4", "--quiet"),
        *("--set", "tda.views=2"),
    ]
    with monkeypatch.context() as patch:
        stop_in_second_stream(patch)
        assert main(words) != 0
    kept = {path: path.read_bytes() for path in run.glob("records/**/*.parquet")}
    assert kept
    assert main(words) == 0
    assert all(path.read_bytes() == content for path, content in kept.items())
    whole = apm_tta.run(
        "ccc",
        data_root=root,
        out=tmp_path / "whole",
        teacher="embedded",
        methods="zeroshot,tda",
        domains=f"{STREAM},{OTHER}",
        devices="cpu",
        workers=0,
        batch_size=4,
        settings={"tda": {"views": 2}},
        quiet=True,
    )
    columns = ["method", "corruption", "id", "label", "prediction"]
    found, expected = (read_records(folder).to_pandas()[columns] for folder in (run, whole.folder))
    order = ["method", "corruption", "id"]
    pd.testing.assert_frame_equal(
        found.sort_values(order, ignore_index=True), expected.sort_values(order, ignore_index=True)
    )
    assert len(found) == 2 * 2 * PER_SHARD * SHARDS
    assert dict(zip(whole.results["method"], whole.results["setting"], strict=True)) == {
        "zeroshot": "episodic",
        "tda": "stored",
    }
    assert "CCC (ccc): all 18 images under each condition" in (run / "results.md").read_text(encoding="utf-8")


def stop_in_second_stream(patch: pytest.MonkeyPatch) -> None:
    """Let the online method fail in the second stream that it sees."""
    from apm_tta.methods.tda import TDA

    answered, seen = TDA.predict, []

    def predict(self: Any, batch: Any) -> Any:
        seen.extend(batch.ids)
        if len(seen) > PER_SHARD * SHARDS + 2:
            raise KeyboardInterrupt
        return answered(self, batch)

    patch.setattr(TDA, "predict", predict)
