"""A run folder made by hand, small enough that every number of its tables can be worked out on paper.

Eight images, two methods, five conditions. One letter per image states who was right:

* ``B`` both the method and its teacher,
* ``M`` only the method,
* ``T`` only the teacher (and the label is among the method's top five),
* ``S`` neither, with the same answer (and the label is among the method's top five),
* ``W`` neither, with the same answer,
* ``D`` neither, with different answers.

So top-1 counts B M, top-5 counts B M T S, agreement counts B S W.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from records_by_hand import Row, write_plain, write_rows

from apm_tta.data.sample import CLEAN, Condition
from apm_tta.harness.plan import Cell, plan_shards
from apm_tta.harness.storage.records import SCHEMA_VERSION
from apm_tta.report.run_data import ReportData, read_report_data

# In the order of the table, which is neither alphabetical nor that of the files' names.
ANSWERS = {
    CLEAN: {"zeroshot": "BBBBBBSW", "apm": "BBBBBMTW"},
    Condition("pixelate", 3): {"zeroshot": "BBBBSSWW", "apm": "BBBMMDWS"},
    Condition("pixelate", 5): {"zeroshot": "BSWWWWWW", "apm": "MMSWWWWW"},
    Condition("contrast", 3): {"zeroshot": "BBSSWWWW", "apm": "BMTWWWWW"},
    Condition("contrast", 5): {"zeroshot": "WWWWWWWW", "apm": "DWWWWWWW"},
}
METHODS = ["zeroshot", "apm"]
IMAGES = 8
CLASSES = 10


def row(method: str, condition: Condition, index: int, letter: str) -> Row:
    """Make the row of image ``index``, whose label is ``index``: a wrong answer is the next class, or the one after."""
    label = index
    wrong, other_wrong, never = ((index + step) % CLASSES for step in (1, 2, 9))
    prediction = label if letter in "BM" else wrong
    teacher = {"B": label, "M": wrong, "T": label, "S": wrong, "W": wrong, "D": other_wrong}[letter]
    rest = [(index + step) % CLASSES for step in (3, 4, 5, 6)]
    top5 = [prediction, *rest]
    if letter in "TS":
        top5[3] = label
    distilled = method == "apm"
    # After 0 iterations a class that is nobody's answer, after 1 the teacher's answer, after 2 the method's own.
    measured = condition != Condition("contrast", 5) and index < 4
    return Row(
        id=f"test/{index:05d}",
        label=label,
        prediction=prediction,
        top5=top5,
        confidence=0.5,
        teacher_prediction=teacher,
        iteration_predictions=[never, teacher, prediction] if distilled else [],
        first_loss=0.5 if distilled else None,
        last_loss=0.25 if distilled else None,
        last_cosine=0.75 if distilled else None,
        iterations=2 if distilled else 0,
        latency_ms=(100.0 if distilled else 0.0) + 10 * (index + 1) if measured else None,
        batch_ms=8.0 if distilled else 2.0,
    )


def manifest() -> dict[str, Any]:
    return {
        "numbers": {
            "suite": "by-hand",
            "dataset": {
                "name": "fashion-mnist",
                "classes": CLASSES,
                "class_names": [f"class {label}" for label in range(CLASSES)],
                "images": IMAGES,
                "images_hashed": IMAGES,
                "images_sha256": "e" * 64,
                "fingerprint": "f" * 64,
                "images_per_condition": IMAGES,
                "subset": "8 of 2000 images, evenly over classes (--limit 8)",
                "corruption_parameters": "cifar",
                "corruption_seed": 0,
                "corruptions": "made as read",
                "jpeg_quality": None,
            },
            "conditions": [str(condition) for condition in ANSWERS],
            "teacher": {"name": "embedded", "classifier": "text", "weights_sha256": "0123456789abcdef" * 4},
            "methods": {
                "zeroshot": {
                    "protocol": "episodic",
                    "votes": False,
                    "templates": "dataset",
                    "sentences": ["a photo of a {}."],
                },
                "apm": {
                    "protocol": "episodic",
                    "votes": False,
                    "templates": "simple",
                    "sentences": ["a photo of a {}."],
                    "iterations": 2,
                },
            },
            "streams": "episodic",
            "crop_scale": [0.08, 1.0],
            "seeds": [3],
            "precision": "float32",
            "shard_size": 5,
            "versions": {"apm-tta": "0.1.0", "record_schema": str(SCHEMA_VERSION)},
            "revisions": {
                "engine": 1,
                "methods": {"zeroshot": 1, "apm": 1},
                "corruptions": {"digital": 1},
                "uncommitted": "none",
            },
        },
        "title": "Made by hand",
        "dataset_title": "Fashion-MNIST, 2,000 test images",
        "command": [],
        "limit": 8,
        "left_out": {},
        "costs": {
            "apm": {"image_forwards": 1, "image_backwards": 0, "text_forwards": 0, "text_backwards": 0, "other": ""}
        },
        "devices": ["auto"],
        "data_root": None,
    }


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the run folder as the harness leaves it: two shards per cell, of five and three images. Do not change it."""
    folder = tmp_path_factory.mktemp("report") / "run"
    folder.mkdir()
    write_plain(folder, manifest())
    cells = [Cell("fashion-mnist", condition, "embedded", method, 3) for condition in ANSWERS for method in METHODS]
    for shard in plan_shards(cells, dict.fromkeys(ANSWERS, IMAGES), shard_size=5):
        for cell in shard.cells:
            letters = ANSWERS[cell.condition][cell.method]
            answers = [row(cell.method, cell.condition, i, letters[i]) for i in range(shard.start, shard.stop)]
            write_rows(folder / shard.file_of(cell), cell, answers)
    return folder


@pytest.fixture
def run_folder(whole_run: Path, tmp_path: Path) -> Path:
    """Make a copy of the run folder that a test may change."""
    return Path(shutil.copytree(whole_run, tmp_path / "run"))


@pytest.fixture(scope="session")
def data(whole_run: Path) -> ReportData:
    return read_report_data(whole_run)


@pytest.fixture(scope="session")
def results(data: ReportData) -> pd.DataFrame:
    return data.results
