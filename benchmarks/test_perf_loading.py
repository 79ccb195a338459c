"""Images per second that can be loaded, compared with those that a teacher can process: is loading the bottleneck?

JPEGs of ImageNet's usual 500 x 375 pixels are decoded, corrupted where the name says so, and preprocessed for a teacher
of 224 pixels; compared with the rate of two networks, whose random weights are as fast as trained ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config

from apm_tta.data.cards import load_card
from apm_tta.data.dataset import Dataset
from apm_tta.data.sample import CLEAN, Condition
from apm_tta.harness.compute.loading import load
from apm_tta.methods.batch import CommonKey
from apm_tta.methods.preparation import Preparation
from apm_tta.teachers.evaluation_crop import EvaluationCrop
from apm_tta.teachers.preprocessing import Preprocessing

IMAGES = 32


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Make a folder of JPEGs with the detail of photographs: noise with a falling spectrum."""
    root = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for index in range(IMAGES):
        folder = root / f"class-{index % 4}"
        folder.mkdir(exist_ok=True)
        detail = sum(
            np.asarray(
                Image.fromarray(rng.integers(0, 256, (375 // step, 500 // step, 3), dtype=np.uint8)).resize((500, 375)),
                dtype=np.float64,
            )
            * step
            for step in (1, 4, 16, 64)
        )
        Image.fromarray((detail / 85).astype(np.uint8)).save(folder / f"{index}.jpg", quality=95)
    return Dataset(load_card("folder"), root)


def rate(benchmark: Any, run: Callable[[], object]) -> None:
    benchmark.pedantic(run, rounds=2, warmup_rounds=1)
    benchmark.extra_info["images_per_s"] = IMAGES / benchmark.stats.stats.median
    print(f"\n{benchmark.name}: {benchmark.extra_info['images_per_s']:.0f} images/s")


@pytest.mark.benchmark(group="loading")
@pytest.mark.parametrize("condition", [CLEAN, Condition("glass_blur", 3)], ids=str)
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_loading(benchmark: Any, photographs: Dataset, workers: int, condition: Condition) -> None:
    config = resolve_data_config({}, model=timm.create_model("vit_base_patch16_224"))
    transform = create_transform(**config)
    known = Preprocessing(config["input_size"][-1], config["mean"], config["std"], config["interpolation"])
    crop = EvaluationCrop(transform, known)
    crops = [Preparation(CommonKey("crops", ()), lambda _, image: crop(image))]
    places = [(condition, entry) for entry in photographs.entries(condition)]
    rate(benchmark, lambda: list(load(photographs, places, 16, crops, workers)))


@pytest.mark.benchmark(group="loading")
@pytest.mark.parametrize("name", ["vit_base_patch16_224", "tf_efficientnet_lite0"])
def test_teacher(benchmark: Any, name: str) -> None:
    model, pixels = timm.create_model(name).eval(), torch.randn(16, 3, 224, 224)

    def run() -> None:
        with torch.no_grad():
            for _ in range(IMAGES // 16):
                model(pixels)

    rate(benchmark, run)
