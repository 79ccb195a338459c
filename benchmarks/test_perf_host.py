"""What the host costs per image with each method: CPU milliseconds of the feeding process and of the loaders.

Every method runs through the real loaders and worker on photographs of 500 x 375 pixels, over an encoder and a text
tower that answer at once; see ``benchmarks.host.measure``. What is left is Python and dispatch.
"""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from apm_tta.data.cards import load_card
from apm_tta.data.dataset import Dataset
from apm_tta.data.sample import CLEAN
from apm_tta.harness.compute.loading import Loader
from apm_tta.methods.shared_values import evaluation_crops
from apm_tta.teachers import load_teacher
from apm_tta.teachers.crops import taking_crops
from benchmarks.host.free_teacher import free_name
from benchmarks.host.measure import SETTINGS, make_photographs, measure

IMAGES = 640
ALLOWED_MS = {
    **dict.fromkeys(("zeroshot", "ensemble", "tent", "sar"), 0.2),
    **dict.fromkeys(("zero", "mta", "vte", "tps", "tda", "apm"), 1.0),
    **dict.fromkeys(("tpt", "memo"), 5.0),
}
LEAST_STORED_PER_SECOND = 1300


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_photographs(tmp_path_factory.mktemp("photographs"), IMAGES)
    measure("zeroshot", root, IMAGES // 2)  # what a process does once
    return root


@pytest.mark.benchmark(group="host")
@pytest.mark.parametrize("name", SETTINGS)
def test_host_cost(name: str, photographs: Path) -> None:
    cost = measure(name, photographs, IMAGES)
    print(f"\n{name}: feeding process {cost.feeding:.3f} ms, loading processes {cost.loading:.2f} ms per image")
    assert cost.feeding <= ALLOWED_MS[name]


@pytest.mark.benchmark(group="host")
def test_stored_images_per_loading_core(tmp_path: Path) -> None:
    """Read, digest, decode and hand over images as ImageNet-C stores them: JPEGs of 224 x 224 pixels."""
    source = make_photographs(tmp_path / "large", 20)
    for path in sorted(source.rglob("*.jpg")):
        content = io.BytesIO()
        Image.open(path).resize((224, 224)).save(content, "JPEG", quality=85)
        for copy in range(32):
            to = tmp_path / "stored" / path.parent.name / f"{copy:02d}-{path.name}"
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(content.getvalue())
    dataset = Dataset(load_card("folder"), tmp_path / "stored")
    places = [(CLEAN, entry) for entry in dataset.entries(CLEAN)]
    crops = [evaluation_crops(taking_crops(load_teacher(free_name(224, 8), cache=None), 224))]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        loader, rates = Loader(dataset, crops), []
        for _ in range(5):
            started = time.process_time()
            assert sum(len(each.places) for each in loader.load(places, 64, crops)) == len(places)
            rates.append(len(places) / (time.process_time() - started))
    finally:
        torch.set_num_threads(threads)
    print(f"\nstored images: {max(rates):.0f} per second and core")
    assert max(rates) >= LEAST_STORED_PER_SECOND
