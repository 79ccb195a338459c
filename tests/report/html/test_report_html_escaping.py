"""Names that hold tags are text everywhere on the page, and what the policy forbids does not run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from records_by_hand import read_plain, relabel, write_plain

from apm_tta.cli import main
from apm_tta.data.dataset import open_dataset
from apm_tta.data.sample import CLEAN
from apm_tta.report import write_report

HOSTILE = "<img src=x onerror=\"document.title='run'\"></script><script>document.title='run'</script>"
HOSTILE_CLASS = "</script><img src=x onerror=document.title=1>"
"""Short enough for a prompt of the teacher."""

Open = Callable[..., Any]


def test_names_that_hold_tags_are_text(open_page: Open, run: Path, tmp_path: Path) -> None:
    """In the title, the caption and the replies to the questions; the policy lets no other script run."""
    other = Path(shutil.copytree(run, tmp_path / "run"))
    manifest = read_plain(other)
    manifest["title"] = f"{HOSTILE} title"
    manifest["dataset_title"] = HOSTILE
    manifest["command"] = ["run-bench", HOSTILE]
    write_plain(other, manifest)
    for path in other.rglob("*.parquet"):
        relabel(path, site={"device_name": HOSTILE})
    write_report(other)
    one = open_page(other / "report.html")
    assert one.page.title() == f"{HOSTILE} title"
    assert one.messages == []
    assert one.page.evaluate("document.scripts.length") == 1
    one.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=data:, onerror=document.title=1>')")
    one.page.wait_for_timeout(50)
    assert one.page.title() == f"{HOSTILE} title", "the policy blocks what escaping would miss"


def test_the_policy_blocks_every_request(open_page: Open, run: Path) -> None:
    """Code that got into the page could not send anything."""
    one = open_page(run / "report.html")
    failed = one.page.evaluate("fetch('https://example.invalid/').then(() => 'sent', () => 'refused')")
    assert failed == "refused"
    assert any("Content Security Policy" in message for message in one.messages)
    assert not [url for url in one.requests if url.startswith("https:")]


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run a user's own data set, in which one class and one file have tags for names."""
    folder = tmp_path_factory.mktemp("hostile")
    dataset, root = open_dataset("fashion-mnist", limit=20), folder / "data"
    for index, entry in enumerate(dataset.entries(CLEAN)):
        place = root / f"{entry.label:02d}"
        place.mkdir(parents=True, exist_ok=True)
        picture: Image.Image = dataset.read(entry, CLEAN).image
        picture.save(place / ('"><script>document.title=1<' + "b>.png" if index == 0 else f"{index}.png"))
    names = [HOSTILE_CLASS, *(f"class {index}" for index in range(1, 10))]
    (root / "classes.txt").write_text("".join(f"{index:02d}\t{name}\n" for index, name in enumerate(names)))
    words = ["folder", "--teacher", "embedded", "--data-root", str(root), "--methods", "zeroshot", "--quiet"]
    assert main([*words, "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_class_names_and_ids_that_hold_tags_are_text(open_page: Open, hostile_run: Path) -> None:
    """On the cards of the images, and in their text alternatives."""
    text = (hostile_run / "report.html").read_text(encoding="utf-8")
    assert "<img src=x" not in text
    assert text.count("</script>") == 1
    one = open_page(hostile_run / "report.html")
    labels = [label.inner_text() for label in one.page.query_selector_all(".samples > li strong")]
    assert HOSTILE_CLASS in labels
    assert f"{HOSTILE_CLASS}, clean" in one.page.evaluate("[...document.images].map(image => image.alt)")
    assert any('"><script>' in small.inner_text() for small in one.page.query_selector_all(".samples p small"))
    assert one.page.title() not in ("run", "1")
    assert one.messages == []
