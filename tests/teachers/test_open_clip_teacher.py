"""The embedded model takes the code path of released weights; see ``test_open_clip_checkpoints``."""

from __future__ import annotations

import hashlib
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from apm_tta.data.dataset import open_dataset
from apm_tta.data.fashion_mnist import DEBIAN_FOLDER
from apm_tta.data.sample import CLEAN
from apm_tta.errors import UserError
from apm_tta.methods import Batch
from apm_tta.teachers import TEMPLATES, LazyTeacher, Teacher, load_teacher
from apm_tta.teachers.embedded import FOLDERS

CLASSES = open_dataset("fashion-mnist").classes


def test_the_embedded_teacher_matches_its_configuration(embedded_teacher: LazyTeacher) -> None:
    assert (embedded_teacher.image_size, embedded_teacher.patch_size, embedded_teacher.feature_dim) == (32, 4, 64)
    assert 1 < embedded_teacher.logit_scale <= 100.1
    built: Any = embedded_teacher.built
    assert not any(parameter.requires_grad for parameter in built.model.parameters())


def test_the_digest_is_that_of_the_weights_file(embedded_teacher: Teacher) -> None:
    again = load_teacher("embedded")
    file = FOLDERS["embedded"] / "open_clip_model.safetensors"
    assert again.weights_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert again.identity == embedded_teacher.identity


def test_class_weights_are_the_renormalised_mean_of_unit_embeddings(embedded_teacher: Teacher) -> None:
    weights = embedded_teacher.class_weights(CLASSES, TEMPLATES["openai80"])
    torch.testing.assert_close(weights.norm(dim=1), torch.ones(10))
    each = torch.stack([embedded_teacher.class_weights(CLASSES, (template,)) for template in TEMPLATES["openai80"]])
    torch.testing.assert_close(weights, normalize(each.mean(0), dim=-1), rtol=0, atol=1e-5)


def test_grid_tokens_of_every_layer(embedded_teacher: Teacher, embedded_batch: Batch) -> None:
    pixels = torch.stack([embedded_teacher.preprocess(image) for image in embedded_batch.images[:2]])
    grids = [embedded_teacher.encode_grid(pixels, layer) for layer in range(4)]
    assert all(grid.shape == (2, 8, 8, 128) for grid in grids)
    assert torch.equal(embedded_teacher.encode_grid(pixels), grids[-1])
    assert not torch.equal(grids[0], grids[1])
    with pytest.raises(UserError, match="layers 0 to 3; there is no layer 4"):
        embedded_teacher.encode_grid(pixels, 4)


def test_embeddings_are_differentiable_in_the_parameters_on_request(embedded_batch: Batch) -> None:
    teacher = load_teacher("embedded")
    built: Any = teacher.built
    weight = built.model.visual.proj.requires_grad_()
    teacher.encode_image(teacher.preprocess(embedded_batch.images[0])[None]).sum().backward()
    assert weight.grad is not None
    assert weight.grad.abs().sum() > 0


def test_top_1_on_the_carried_images(embedded_teacher: Teacher) -> None:
    dataset = open_dataset("fashion-mnist")
    entries = dataset.entries(CLEAN)
    pixels = torch.stack([embedded_teacher.preprocess(dataset.read(entry, CLEAN).image) for entry in entries])
    weights = embedded_teacher.class_weights(CLASSES, TEMPLATES["openai80"])
    with torch.no_grad():
        features = torch.cat([embedded_teacher.encode_image(batch) for batch in pixels.split(500)])
    predictions = (features @ weights.T).argmax(1)
    assert (predictions == torch.tensor([entry.label for entry in entries])).float().mean() >= 0.88


@pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_the_training_script_prints_the_top_1_of_the_original_test_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the first of them here; the carried ones are among them all."""
    scripts = Path(__file__).parents[2] / "scripts"
    monkeypatch.syspath_prepend(str(scripts))
    script = runpy.run_path(str(scripts / "train_embedded_teacher.py"))
    assert script["top_1"]("embedded", DEBIAN_FOLDER, 1000)["openai80"] >= 0.9


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B-1", "unknown teacher 'ViT-B-1'; there are: embedded"),
        ("ViT-B-16", "names no weights; write ViT-B-16:TAG"),
        ("ViT-B-16:opena", "no such tag, no such file.*openai"),
        ("", "unknown teacher ''"),
    ],
)
def test_unknown_names_are_refused_in_one_line(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        load_teacher(name)
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)
