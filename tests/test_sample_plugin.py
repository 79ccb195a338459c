"""One installed package adds a method, a teacher, a layout and a data set, and a run uses all four."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from PIL import Image
from processes import run_program

from apm_tta.data.cards import CARD_FILES, card_names, every_card, load_card
from apm_tta.errors import UnknownName, UserError

PLUGIN = Path(__file__).parent / "sample_plugin"
COLOURS = {"red": (200, 40, 30), "green": (30, 190, 60), "blue": (20, 60, 210)}


@pytest.fixture(scope="module")
def site_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay out the package as pip installs it: its files, and metadata with its entry points."""
    folder = tmp_path_factory.mktemp("site-packages")
    shutil.copytree(PLUGIN / "apm_tta_sample", folder / "apm_tta_sample", ignore=shutil.ignore_patterns("__pycache__"))
    metadata = folder / "apm_tta_sample-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: apm-tta-sample\nVersion: 1.0\n")
    shutil.copy(PLUGIN / "entry_points.txt", metadata)
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    (metadata / "RECORD").write_text("".join(f"{file},,\n" for file in [*files, f"{metadata.name}/RECORD"]))
    return folder


@pytest.fixture
def installed(site_packages: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(site_packages)
    yield
    CARD_FILES._entries.clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "apm_tta_sample"]:
        del sys.modules[name]


def bench(site_packages: Path, *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program = f"import sys; sys.path.insert(1, {str(site_packages)!r}); from apm_tta.cli import console; console()"
    return run_program(program, words, {"APM_TTA_CACHE": str(folder / "cache")}, folder / "script.py")


def test_a_run_uses_a_method_a_teacher_a_layout_and_a_data_set_of_one_package(
    site_packages: Path, tmp_path: Path
) -> None:
    """By their names alone, in a process that has never heard of the package."""
    images = tmp_path / "images"
    images.mkdir()
    for colour, channels in COLOURS.items():
        for number in range(2):
            Image.new("RGB", (12, 9 + number), channels).save(images / f"{colour}-{number}.png")
    words = [
        *("folder", "--dataset", "sample-set", "--teacher", "sample-colours", "--methods", "zeroshot,sample-doubled"),
        *("--data-root", str(images), "--out", "run", "--device", "cpu", "--workers", "0", "--quiet"),
    ]
    done = bench(site_packages, *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    results = pd.read_csv(tmp_path / "run" / "results.csv")
    assert results[["dataset", "teacher", "method", "n", "top1"]].to_numpy().tolist() == [
        ["sample-set", "sample-colours", method, 6, 100.0] for method in ("zeroshot", "sample-doubled")
    ]
    numbers = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())["numbers"]
    assert numbers["revisions"]["sources"]["sample-doubled"]["distribution"] == "apm-tta-sample"


def test_its_data_set_is_listed_and_found_beside_our_own(installed: None) -> None:
    assert "sample-set" in card_names()
    assert load_card("sample-set").title == "The sample package's colours"
    assert load_card("fashion-mnist").name == "fashion-mnist"
    with pytest.raises(UnknownName, match=r"unknown dataset 'sample'; there are: .*sample-set.*"):
        load_card("sample")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sample-broken", "dataset 'sample-broken' of apm_tta_sample:NOTHING cannot be imported"),
        ("sample-renamed", "calls itself 'sample-set', but its entry point says 'sample-renamed'"),
        ("sample-text", r"is a str; give the path of its card, such as Path\(__file__\)"),
    ],
)
def test_a_card_that_cannot_be_used_is_refused_in_a_line(installed: None, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        load_card(name)
    assert "\n" not in str(refused.value)


def test_a_broken_card_takes_no_other_away(installed: None) -> None:
    """A check compares a tree with every card."""
    names = [card.name for card in every_card()]
    assert "sample-set" in names
    assert "imagenet" in names
    assert not {"sample-broken", "sample-renamed", "sample-text"} & {*names}
