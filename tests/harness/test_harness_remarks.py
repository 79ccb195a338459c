"""Remarks on images and warnings of libraries go from every process to the records, and from there to the report."""

from __future__ import annotations

import logging
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from apm_tta.cli import main
from apm_tta.data.dataset import open_dataset
from apm_tta.data.sample import CLEAN
from apm_tta.harness.storage.records import decode_records, read_content
from apm_tta.methods import METHODS, Batch, Method, Predictions

REMARK = "3 of 12 images: transparent pixels are shown on white."
Run = Callable[..., Path]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a set of two classes with six images each, three of which have transparent pixels."""
    folder = tmp_path_factory.mktemp("remarks") / "set"
    dataset = open_dataset("fashion-mnist")
    for name, label in (("Trouser", 1), ("Bag", 8)):
        (folder / name).mkdir(parents=True)
        entries = [entry for entry in dataset.entries(CLEAN) if entry.label == label][:6]
        for number, entry in enumerate(entries):
            image = dataset.read(entry, CLEAN).image
            if number < (2 if name == "Bag" else 1):
                image.putalpha(Image.new("L", image.size, 128))
            image.save(folder / name / f"{number}.png")
    return folder


@pytest.fixture
def run(images: Path, tmp_path: Path) -> Run:
    def start(*words: str, out: str = "run", code: int = 0) -> Path:
        fixed = ["folder", "--teacher", "embedded", "--shard-size", "5", "--device", "cpu", "--quiet"]
        assert main([*fixed, "--data-root", str(images), "--out", str(tmp_path / out), *words]) == code
        return tmp_path / out

    return start


def formats(run: Path) -> list[str]:
    """Return the report as Markdown, LaTeX (its first table, since every one repeats the notes) and HTML."""
    latex = (run / "results.tex").read_text().partition(r"\label")[0].replace(r"\_", "_")
    return [(run / "results.md").read_text(), latex, (run / "report.html").read_text()]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_images_under_each_remark_are_counted_whichever_process_reads_them(run: Run, workers: str) -> None:
    """Once, however many methods, seeds and conditions see them."""
    words = ["--methods", "zeroshot,tda", "--seeds", "0,1", "--corruptions", "contrast", "--severities", "5"]
    for text in formats(run(*words, "--workers", workers)):
        assert text.count(REMARK) == 1


def test_a_run_that_goes_on_with_some_cells_of_a_shard_counts_nothing_twice(run: Run, tmp_path: Path) -> None:
    """And parts that are merged count everything once; a report that is made later has it too."""
    words = ["--methods", "zeroshot,ensemble"]
    whole = run(*words)
    shutil.rmtree(whole / "records" / "ensemble")
    (whole / "results.md").unlink()
    assert REMARK in formats(run(*words))[0]
    for part in ("1/2", "2/2"):
        run(*words, "--shard-range", part, out=f"part-{part[0]}")
    merged = tmp_path / "merged"
    assert main(["merge", str(tmp_path / "part-1"), str(tmp_path / "part-2"), "--out", str(merged)]) == 0
    assert REMARK in formats(merged)[0]
    (merged / "results.md").unlink()
    assert main(["report", str(merged)]) == 0
    assert REMARK in formats(merged)[0]


class Outspoken(Method):
    """Zero-shot classification by a library that has something to say about every batch."""

    protocol = "episodic"
    summary = paper = adapts = "nothing"
    name = "outspoken"

    def predict(self, batch: Batch) -> Predictions:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            path = "/somewhere/site-packages/numpy/core.py"
            warnings.warn_explicit("invalid value encountered in divide", RuntimeWarning, path, 1)
        logging.getLogger("timm.models").warning("a <weight> that is not used")
        return Predictions(self.logits(self.features(batch)))


@pytest.fixture
def registered() -> Iterator[None]:
    METHODS.register(Outspoken.name)(Outspoken)
    yield
    del METHODS._entries[Outspoken.name]


SAID = r"numpy warns: invalid value encountered in divide \((\d+) times\)"


def test_warnings_of_libraries_are_noted_once_with_their_count(run: Run, registered: None) -> None:
    """In the log when it ends, and in the report now and later; ``test_harness_own_methods`` has two processes."""
    folder = run("--methods", "outspoken")
    log = (folder / "run.log").read_text()
    (heard,) = re.findall(SAID, log)
    assert int(heard) >= 3, "there are three shards"
    for text in formats(folder):
        assert re.findall(SAID, text) == [heard]
        assert text.count("timm warns: a") == 1
    shutil.rmtree(folder / "records" / "outspoken" / "clean", ignore_errors=True)
    run("--methods", "outspoken")
    assert main(["report", str(folder)]) == 0
    assert "numpy warns" in formats(folder)[0]


def test_what_a_shard_and_a_stream_heard_counts_once_for_all_their_files(run: Run, registered: None) -> None:
    """Two methods, one of which warns: their files state the same warnings, and the sum is not doubled."""
    alone = run("--methods", "outspoken", out="alone")
    both = run("--methods", "outspoken,zeroshot", out="both")
    counts = [re.findall(SAID, formats(folder)[0]) for folder in (alone, both)]
    assert counts[0] == counts[1]
    path = next((both / "records" / "zeroshot").rglob("*.parquet"))
    header = decode_records(path, read_content(path)).header
    assert any(text.startswith("numpy warns") for text in header.warnings)


def test_what_is_warned_of_while_the_run_is_prepared_is_noted(
    run: Run, registered: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process prepares for itself; what all of them say is one note, and its count that of one of them."""
    monkeypatch.setattr(Outspoken, "setup", lambda _: logging.getLogger("open_clip").warning("no pretrained weights"))
    folder = run("--methods", "outspoken")
    note = "open_clip warns: no pretrained weights"
    assert (folder / "run.log").read_text().count(note) == 1
    for text in formats(folder):
        assert len(re.findall(f"{note}( \\(|\\.)", text)) == 1


def test_a_dry_run_says_what_libraries_warn_of(
    registered: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While it prepares, and while it measures: the run itself would note both."""
    monkeypatch.setattr(Outspoken, "setup", lambda _: logging.getLogger("open_clip").warning("no pretrained weights"))
    words = ["demo", "--methods", "outspoken", "--corruptions", "", "--limit", "10", "--device", "cpu", "--dry-run"]
    assert main(words) == 0
    text = capsys.readouterr().out
    for said in ("open_clip warns: no pretrained weights", "timm warns: a <weight> that is not used"):
        assert f"Note: {said}" in text
    assert re.search(SAID.replace("(\\d+)", "\\d+"), text)


def test_warnings_of_a_run_that_stops_are_in_its_log(run: Run, registered: None, tmp_path: Path) -> None:
    METHODS._entries.pop("outspoken")

    class Stopping(Outspoken):
        name = "outspoken"

        def predict(self, batch: Batch) -> Predictions:
            super().predict(batch)
            raise ValueError("no more")

    METHODS.register("outspoken")(Stopping)
    run("--methods", "outspoken", code=1)
    assert "timm warns: a <weight> that is not used" in (tmp_path / "run" / "run.log").read_text()
