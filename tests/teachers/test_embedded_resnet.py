"""The embedded teacher with Batch normalisation: its accuracy, its text tower's hearing, and how it was trained."""

from __future__ import annotations

import argparse
import gzip
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

from apm_tta.data.cards import load_card
from apm_tta.data.dataset import Dataset, open_dataset
from apm_tta.data.sample import CLEAN
from apm_tta.teachers import Teacher, load_teacher
from apm_tta.teachers.embedded import FOLDERS
from apm_tta.teachers.templates import TEMPLATES

NAME = "embedded-resnet"
CLASSES = load_card("fashion-mnist").class_list.names


@pytest.fixture(scope="module")
def script() -> Any:
    """Return the module of the training script."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
        return importlib.import_module("train_embedded_resnet")


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    return load_teacher(NAME)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return open_dataset("fashion-mnist")


def test_it_is_a_network_with_batch_normalisation(teacher: Teacher) -> None:
    layers = [layer for layer in teacher.image_encoder.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(layers) > 10
    assert all(layer.track_running_stats for layer in layers)


@pytest.mark.parametrize("templates", ["simple", "openai80"])
def test_its_top_1_on_the_embedded_images_is_above_88_percent(
    templates: str, teacher: Teacher, dataset: Dataset
) -> None:
    entries = dataset.entries(CLEAN)
    pixels = torch.stack([teacher.preprocess(dataset.read(entry, CLEAN).image) for entry in entries])
    weights = teacher.class_weights(CLASSES, TEMPLATES[templates])
    with torch.no_grad():
        features = torch.cat([teacher.encode_image(batch) for batch in pixels.split(500)])
    predictions = (features @ weights.T).argmax(1)
    assert (predictions == torch.tensor([entry.label for entry in entries])).double().mean() >= 0.88


def test_its_text_tower_hears_what_a_sentence_says_of_the_picture(script: Any, dataset: Dataset) -> None:
    """On the test images, which were not trained on, a property is found at least twice as often as by chance."""
    model = open_clip.create_model(f"local-dir:{FOLDERS[NAME]}").eval()
    sentences = script.sentences_of(model)
    entries = dataset.entries(CLEAN)[::4]
    images = np.stack([np.asarray(dataset.read(entry, CLEAN).image.convert("L")) for entry in entries])
    labels = torch.tensor([entry.label for entry in entries])
    found = script.properties_found(model, sentences, script.resized_images(images, script.SIDE), labels)
    for each in script.PROPERTIES:
        assert found[each.name] >= 2 / len(each.values), each.name
    assert script.context_cosine(sentences) <= 0.98


def test_published_steps_and_margins_meet_the_numbers_that_they_assume(script: Any) -> None:
    """A logit scale of 50 to 100, as CLIP's, and token embeddings whose standard deviation is about 0.02."""
    model = open_clip.create_model(f"local-dir:{FOLDERS[NAME]}")
    used = script.sentences_of(model).used_tokens()
    assert 50 <= model.logit_scale.exp().item() <= 100.1
    assert model.token_embedding.weight[used].std().item() == pytest.approx(0.02, rel=0.02)
    unused = torch.ones(len(model.token_embedding.weight), dtype=torch.bool)
    unused[used] = False
    assert not model.token_embedding.weight[unused].any()


def test_usual_pictures_are_grey_and_neutral_sentences_are_those_of_clip_that_no_property_has(script: Any) -> None:
    said = {sentence for each in script.PROPERTIES for group in each.sentences.values() for sentence in group}
    assert not said & set(script.NEUTRAL)
    assert set(script.NEUTRAL) <= set(TEMPLATES["openai80"]) <= said | set(script.NEUTRAL)
    images = torch.rand(4, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    pictures = script.draw_pictures(images, script.usual_values(4), generator)
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    assert torch.equal(pictures[:, :1].expand_as(pictures), pictures)


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    sizes = np.array(values.shape, ">i4").tobytes()
    path.write_bytes(gzip.compress(bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes()))


def test_a_training_that_was_stopped_ends_as_one_that_was_not(
    script: Any, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = dataset.entries(CLEAN)[:64]
    images = np.stack([np.asarray(dataset.read(entry, CLEAN).image.convert("L")) for entry in entries])
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", images)
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", np.array([entry.label for entry in entries], np.uint8))

    def train(name: str) -> Path:
        target = tmp_path / f"{name}.safetensors"
        monkeypatch.setitem(script.WEIGHTS, NAME, target)
        settings = {"epochs": 2, "batch": 32, "templates": 2, "learning_rate": 2e-3, "seed": 0, "hold_out": 0}
        script.train(argparse.Namespace(data_root=tmp_path, checkpoint=tmp_path / f"{name}.pt", **settings))
        return target

    whole, steps = train("whole"), iter(range(3))

    def stop_in_the_second_epoch(*arguments: Any) -> Any:
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return step_loss(*arguments)

    step_loss = script.step_loss
    with monkeypatch.context() as patch:
        patch.setattr(script, "step_loss", stop_in_the_second_epoch)
        with pytest.raises(KeyboardInterrupt):
            train("stopped")
    first, second = load_file(whole), load_file(train("stopped"))
    assert first.keys() == second.keys() == load_file(FOLDERS[NAME] / "open_clip_model.safetensors").keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
