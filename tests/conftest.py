"""What several rooms' tests need."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hypothesis import settings

from apm_tta.data.dataset import open_dataset
from apm_tta.data.sample import CLEAN
from apm_tta.methods import Batch
from apm_tta.teachers import Teacher, load_teacher

if (
    "PYTEST_XDIST_WORKER" in os.environ
):  # side by side, tests have a core each: threads of two would wait for each other
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"

# The same examples in every run, and no deadline: machines differ.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.load_profile("suite")

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may depend on what a hub answers


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads or writes the user's cache; processes that a test starts inherit this one."""
    os.environ["APM_TTA_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of test vectors beside the checkout."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("the folder of shared test vectors is not beside the checkout")
    return folder


@pytest.fixture(scope="session")
def reference(shared: Path) -> ModuleType:
    """The published architecture's weights by name and seed."""
    spec = importlib.util.spec_from_file_location("apm_vector_weights", shared / "apm_vectors" / "weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def embedded_teacher() -> Teacher:
    return load_teacher("embedded")


@pytest.fixture(scope="session")
def supported_teacher(embedded_teacher: Teacher) -> Teacher:
    """The embedded teacher with five labelled images a class beside it."""
    from apm_tta.teachers.support_features import SupportedTeacher, encode_support

    dataset = open_dataset("fashion-mnist", limit=150)
    entries = dataset.entries(CLEAN)[100:]
    images = ((dataset.read(entry, CLEAN).image, entry.label) for entry in entries)
    support = encode_support(embedded_teacher, images, dataset.classes, "f" * 64)
    return SupportedTeacher(embedded_teacher, support, "text")


@pytest.fixture(scope="session")
def embedded_batch() -> Batch:
    """Twelve real images under a corruption that leaves the teacher unsure, so that answers differ."""
    from apm_tta.data.sample import Condition

    dataset = open_dataset("fashion-mnist", limit=12)
    condition = Condition("contrast", 5)
    samples = [dataset.read(entry, condition) for entry in dataset.entries(CLEAN)]
    return Batch(tuple(sample.id for sample in samples), tuple(sample.image for sample in samples))


@pytest.fixture
def one_thread() -> object:
    """The test runs on one thread; the number before it is put back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
