"""A few images, labelled ones, sentences and weights that runs read, and the runs before anything changes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pytest
import timm
import torch
from identity import Before, check_accepted, run_before
from safetensors.torch import save_file

from apm_tta.data.dataset import open_dataset
from apm_tta.data.sample import CLEAN

CLASSES = ("bag", "coat", "sandal", "trouser")
TESTED, LABELLED = 2, 2
"""Images of each class in ``data`` and in ``support``."""


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write everything that a run may read into one folder."""
    place = tmp_path_factory.mktemp("world") / "place"
    dataset = open_dataset("fashion-mnist")
    names = [name.lower() for name in dataset.classes]
    for name in CLASSES:
        own = [entry for entry in dataset.entries(CLEAN) if names[entry.label] == name][: TESTED + LABELLED]
        for index, entry in enumerate(own):
            folder = place / ("data" if index < TESTED else "support") / name
            folder.mkdir(parents=True, exist_ok=True)
            dataset.read(entry, CLEAN).image.save(folder / f"{index}.png")
    (place / "data" / "classes.txt").write_text("".join(f"{name}\t{name}\n" for name in CLASSES))
    (place / "prompts.txt").write_text("a photo of a {}.\na picture of the {}, a piece of clothing.\n")
    _write_network(place / "network")
    return place


def _write_network(folder: Path) -> None:
    """Write a small network with random weights, and how its input is made."""
    folder.mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model("test_resnet", num_classes=0)
    save_file(model.state_dict(), folder / "weights.safetensors")
    configuration = {**model.pretrained_cfg, "num_classes": 0, "crop_pct": 0.9, "interpolation": "bicubic"}
    kept = ("input_size", "num_classes", "mean", "std", "crop_pct", "interpolation", "crop_mode")
    own = {key: configuration[key] for key in kept if key in configuration}
    (folder / "config.json").write_text(json.dumps({"architecture": "test_resnet", "pretrained_cfg": own}))


@pytest.fixture(scope="session")
def before(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sequence[str]], Before]:
    """Return a function that computes the run of these words once; an unchanged twin of it is accepted."""

    @cache
    def begin(words: tuple[str, ...]) -> Before:
        folder = tmp_path_factory.mktemp("before")
        place = shutil.copytree(world, folder / "place")
        begun = run_before(place, words, folder)
        twin = shutil.copytree(place, folder / "twin" / "place")
        check_accepted(begun, twin, words, folder / "twin")
        return begun

    return lambda words: begin(tuple(words))
