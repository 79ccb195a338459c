"""Every message of ``docs/troubleshooting.md`` comes from the cause that the page names."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from apm_tta.cli import main

PAGE = Path(__file__).resolve().parent.parent / "docs" / "troubleshooting.md"
SECTION = re.compile(r"^## (?P<title>.+)\n\n```text\n(?P<message>.+)\n```$", re.MULTILINE)

FOLDER = "folder --teacher embedded --data-root"
RUN = "demo --methods zeroshot --corruptions= --quiet --limit 10 --out run"
DAMAGED = f"{FOLDER} DAMAGED --methods zeroshot --quiet --out damaged"
EDIT = "edit edited/run.yaml"

# By the title of the section: the commands, of which the last ends in the message.
CAUSES = {
    "A name with a slip": ["demo --methods TNET"],
    "A parameter that the method lacks": ["demo --methods apm[iteration=3]"],
    "A number that two readers would read differently": ["demo --set apm.iterations=010"],
    "A setting of no method": ["demo --set iterations=10"],
    "A severity that does not exist": ["demo --severities 7"],
    "No place for the data": ["imagenet-r"],
    "Nothing where the data should be": ["imagenet-r --data-root NOWHERE"],
    "Another tree than the set's": ["imagenet-r --data-root PETS"],
    "Images without class folders": [f"{FOLDER} FLAT"],
    "One class alone": [f"{FOLDER} ONE"],
    "classes.txt and folders that differ": [f"{FOLDER} LISTED"],
    "A teacher that does not exist": ["folder --teacher ViT-B16:openai --data-root PETS"],
    "A weights file that is not there": ["folder --teacher ViT-B-32:NOWHERE.pt --data-root PETS"],
    "A checkpoint that is a program": ["folder --teacher ViT-B-32:bad.pt --data-root PETS"],
    "Code as a teacher": ["folder --teacher module:nets:make --data-root PETS"],
    "A method that needs labelled images": ["demo --methods knn"],
    "A template without a place for the class": ["demo --set zeroshot.templates=plain.txt"],
    "Images that could not be read": [DAMAGED],
    "A folder with another run": [RUN, f"{RUN} --seeds 1"],
    "Runs of different images": [RUN, DAMAGED, "compare run damaged"],
    "A run.yaml that was edited": [RUN.replace("run", "edited"), EDIT, "report edited"],
    "A folder that is no run": ["report PETS"],
}


def messages() -> dict[str, str]:
    if not PAGE.is_file():
        pytest.skip("docs/ is part of a checkout, not of the source distribution")
    return {found["title"]: found["message"] for found in SECTION.finditer(PAGE.read_text(encoding="utf-8"))}


class Program:
    """What no weights are made of."""

    def __reduce__(self) -> Any:
        return print, ("this must not be printed",)


def class_folders(place: Path, *classes: str) -> None:
    for red, name in enumerate(classes):
        (place / name).mkdir(parents=True)
        for green in range(2):
            Image.new("RGB", (40, 40), (60 * red, 60 * green, 0)).save(place / name / f"{green}.png")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make a folder with everything that the commands name."""
    place = tmp_path_factory.mktemp("troubles")
    for name in ("PETS", "DAMAGED", "LISTED"):
        class_folders(place / name, "cat", "dog")
    class_folders(place / "ONE", "cat")
    (place / "FLAT").mkdir()
    Image.new("RGB", (40, 40)).save(place / "FLAT" / "1.png")
    damaged = place / "DAMAGED" / "cat" / "0.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    (place / "LISTED" / "classes.txt").write_text("cat\nbird\n")
    (place / "plain.txt").write_text("a photo\n")
    (place / "bad.pt").write_bytes(pickle.dumps(Program()))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.delenv("APM_TTA_DATA_ROOT", raising=False)
        yield place


def test_every_section_has_a_cause_and_there_are_twenty() -> None:
    assert sorted(messages()) == sorted(CAUSES)
    assert len(CAUSES) >= 20


@pytest.mark.parametrize("title", CAUSES)
def test_the_cause_brings_about_the_message(title: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in CAUSES[title]:
        if command == EDIT:
            manifest = place / "edited" / "run.yaml"
            manifest.write_text(manifest.read_text().replace("limit: 10", "limit: 20"))
            continue
        capsys.readouterr()
        code = main(command.split())
    shown = capsys.readouterr()
    expected = ".*".join(map(re.escape, messages()[title].split("...")))
    assert re.fullmatch(expected, shown.err.strip()), shown.err
    assert "must not be printed" not in shown.out
    assert code == 3 if title == "Images that could not be read" else code in (1, 2)
