"""Fixtures and helpers shared by the tests of several packages.

What takes seconds to import is imported where it is used: the process that only hands out the tests needs none of it.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from message_style import Heard, faults
from processes import start_bench

if TYPE_CHECKING:
    import numpy as np

    from apm_tta.data.sample import Condition
    from apm_tta.methods import Batch
    from apm_tta.teachers import Teacher

if "PYTEST_XDIST_WORKER" in os.environ:
    import torch

    # Tests that run side by side have one core each: more threads would compete for the cores.
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may depend on the response of a hub
os.environ.update(RAY_worker_niceness="0")  # else Ray's workers give way, here to tests that do not wait for them


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Replace the user's cache by a temporary one, also for the processes that tests start."""
    os.environ["APM_TTA_CACHE"] = str(tmp_path_factory.mktemp("cache"))


HEARD = Heard()


NOT_HELD_YET = {"apm", "field", "harness", "identity", "islands", "sources"}
"""Folders with tests of which some messages are too long or repeat themselves."""


@pytest.fixture(autouse=True)
def every_message_is_held_to_its_style(request: pytest.FixtureRequest) -> Iterator[None]:
    """Look at each error that the package made during the test, whether it was expected, printed or caught."""
    yield
    faulty = {line: found for line in HEARD.drain() if (found := faults(line))}
    if request.path.parent.name in NOT_HELD_YET or request.path.name.startswith("test_cli"):
        return
    assert not faulty, "\n".join(f"{line}\n    {', '.join(found)}" for line, found in faulty.items())


def pytest_sessionfinish() -> None:
    """Add the places whose errors were made to the file that ``APM_TTA_MESSAGES`` names."""
    if file := os.environ.get("APM_TTA_MESSAGES"):
        with Path(file).open("a", encoding="utf-8") as sites:
            sites.writelines(f"{site}\n" for site in sorted(HEARD.sites))


@pytest.fixture(scope="session", autouse=True)
def few_images_are_timed() -> None:
    """Time two images alone where a run times ten: of a run with few images that is most of the work."""
    from apm_tta.harness.compute import measure

    measure.LATENCY_IMAGES = 2


@pytest.fixture(scope="module", autouse=True)
def costs_are_measured_where_they_are_looked_at(request: pytest.FixtureRequest) -> Iterator[None]:
    """Measure methods in modules that state ``LOOKS_AT_COSTS = True``; runs of few images do little else."""
    from unmeasured import unmeasured

    with nullcontext() if getattr(request.module, "LOOKS_AT_COSTS", False) else unmeasured(asked_alone=True):
        yield


@pytest.fixture(scope="session", autouse=True)
def the_machine_seems_idle() -> None:
    """Read clocks of an idle machine: no test may depend on what else runs while it does.

    Two clocks are read one after the other, and a process may have to wait in between: that of the processor goes twice
    as fast as the wall's, so that no wait looks like another process's work.
    """
    from apm_tta.harness.compute import watch

    watch.measure_reference = lambda _device: 1.0
    watch.processor_seconds = lambda _device: 2 * time.perf_counter()


@pytest.fixture(scope="session", autouse=True)
def nothing_waits_for_the_disk() -> None:
    """Sync no file: no test cuts the power, and processes that are killed need no sync.

    ``system/test_files.py`` looks at what is synced; processes of their own sync as they do for users.
    """
    os.fsync = lambda _file: None


def shared_folder() -> Path:
    """Return the folder of test vectors: ``APM_TTA_SHARED`` where that is set, else ``shared`` beside the checkout."""
    named = os.environ.get("APM_TTA_SHARED")
    return Path(named) if named else Path(__file__).resolve().parents[2] / "shared"


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker with which tests request vectors; let Hypothesis try the same examples in every run."""
    from hypothesis import settings

    # No deadline, since machines differ in speed.
    settings.register_profile("suite", derandomize=True, deadline=None)
    settings.load_profile("suite")
    config.addinivalue_line("markers", "vectors(pattern): run once per file of the shared folder, as ``vector_file``")


def pytest_collection_finish() -> None:
    """Have the garbage collector look no more at what has been imported: it is most of what there is, and it stays."""
    gc.collect()
    gc.freeze()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests of vectors once per existing file, whatever its seed.

    Expected values come from the files alone: files of the same names and keys, made with another seed, are checked by
    the same tests. A folder without any such file fails.
    """
    if "vector_file" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("vectors")
    assert marker is not None, (
        f"{metafunc.definition.nodeid} takes vector_file but has no marker that names the vectors"
    )
    folder, (pattern,) = shared_folder(), marker.args
    files = sorted(folder.glob(pattern)) or [folder / pattern]
    metafunc.parametrize("vector_file", files, ids=[file.name for file in files], indirect=True)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of test vectors; skip the test where there is none."""
    folder = shared_folder()
    if not folder.is_dir():
        pytest.skip(f"there is no folder {folder.name} of test vectors beside the checkout, nor in APM_TTA_SHARED")
    return folder


@pytest.fixture(scope="session")
def vector_file(shared: Path, request: pytest.FixtureRequest) -> Path:
    """Return one file of vectors; see ``pytest_generate_tests``."""
    file: Path = request.param
    if not file.is_file():
        pytest.fail(f"{shared} has no {file.relative_to(shared)}")
    return file


@pytest.fixture(scope="session")
def vectors(vector_file: Path) -> dict[str, np.ndarray]:
    """Read the arrays of one file of vectors."""
    import numpy as np

    with np.load(vector_file, allow_pickle=False) as arrays:
        return dict(arrays)


@pytest.fixture(scope="session")
def reference(shared: Path) -> ModuleType:
    """Load the module that draws the published architecture's weights by name and seed."""
    spec = importlib.util.spec_from_file_location("apm_vector_weights", shared / "apm_vectors" / "weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def embedded_teacher() -> Teacher:
    from apm_tta.teachers import load_teacher

    return load_teacher("embedded")


@pytest.fixture(scope="session")
def supported_teacher(embedded_teacher: Teacher) -> Teacher:
    """Load the embedded teacher with five labelled images per class as its support."""
    from apm_tta.data.dataset import open_dataset
    from apm_tta.data.sample import CLEAN
    from apm_tta.teachers.support_features import SupportedTeacher, encode_support

    dataset = open_dataset("fashion-mnist", limit=150)
    entries = dataset.entries(CLEAN)[100:]
    images = [(dataset.read(entry, CLEAN).image, entry.label) for entry in entries]
    support = encode_support(embedded_teacher, images, dataset.classes, "f" * 64)
    return SupportedTeacher(embedded_teacher, support, "text")


def read_batch(limit: int, condition: Condition | None = None) -> Batch:
    """Read the first images of the embedded data set, corrupted where a condition is given."""
    from apm_tta.data.dataset import open_dataset
    from apm_tta.data.sample import CLEAN
    from apm_tta.methods import Batch

    condition = condition or CLEAN
    dataset = open_dataset("fashion-mnist", limit=limit)
    entries = dataset.entries(CLEAN)
    return Batch(tuple(entry.id for entry in entries), tuple(dataset.read(entry, condition).image for entry in entries))


@pytest.fixture(scope="session")
def clean_images() -> Callable[[int], Batch]:
    """Return the function that reads that many clean images of the embedded data set."""
    return read_batch


@pytest.fixture(scope="session")
def embedded_batch() -> Batch:
    """Read twelve real images under a corruption that makes the teacher unsure, so that methods' answers differ."""
    from apm_tta.data.sample import Condition

    return read_batch(12, Condition("contrast", 5))


@pytest.fixture
def one_thread() -> object:
    """Run the test on one thread, and restore the previous number of threads afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def nothing_stays_registered() -> Iterator[None]:
    """Forget the methods and the settings of streams that the test registers."""
    from apm_tta.harness.streams import SETTINGS
    from apm_tta.methods import METHODS

    before = [(registry, registry.registered()) for registry in (METHODS, SETTINGS)]
    yield
    for registry, entries in before:
        registry._entries.clear()
        registry._entries.update(entries)


@pytest.fixture
def start() -> Iterator[Callable[..., BaseProcess]]:
    """Return ``start_bench``; processes of it that are left when the test ends are killed."""
    started: list[BaseProcess] = []

    def begin(words: list[str], errors: Path | None = None) -> BaseProcess:
        started.append(start_bench(words, errors))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.join()
