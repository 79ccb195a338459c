"""The wheel contains everything that a run needs, and works from any folder."""

from __future__ import annotations

import site
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from apm_tta.package_commit import package_code

ROOT = Path(__file__).resolve().parents[1]
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    subprocess.run(command, check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def clean_environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create an environment with the wheel; its dependencies are those of the running one, not installed again."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (packages / "dependencies.pth").write_text("\n".join([sysconfig.get_path("purelib"), *site.getsitepackages()]))
    return folder


def test_the_wheel_contains_cards_suites_weights_and_images(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        sizes = {entry.filename: entry.compress_size for entry in archive.infolist()}
    for name in (
        "apm_tta/_resources/datasets/fashion-mnist.yaml",
        "apm_tta/_resources/benchmarks/suites/demo.yaml",
        "apm_tta/_resources/results/published/tta_published.csv",
        "apm_tta/teachers/embedded/open_clip_config.json",
        "apm_tta/teachers/embedded/resnet/open_clip_config.json",
        "apm_tta/data/embedded/fashion_mnist.npz",
        "apm_tta/data/embedded/LICENCE",
        *(["apm_tta/_resources/built_from.json"] if package_code(ROOT / "apm_tta").is_commit else []),
    ):
        assert name in sizes
    assert sizes["apm_tta/teachers/embedded/open_clip_model.safetensors"] <= 3 * MEGABYTE
    assert sizes["apm_tta/teachers/embedded/resnet/open_clip_model.safetensors"] <= 3 * MEGABYTE
    outside = {name.split("/")[0] for name in sizes} - {"apm_tta"}
    assert all(name.endswith(".dist-info") for name in outside)


def test_the_installed_demo_runs_from_another_folder(clean_environment: Path, tmp_path: Path) -> None:
    locate = [clean_environment / "bin" / "python", "-c", "import apm_tta; print(apm_tta.__file__)"]
    location = subprocess.run(locate, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert Path(location.strip()).is_relative_to(clean_environment)
    words = ["demo", "--limit", "10", "--corruptions", "", "--quiet"]
    command = [clean_environment / "bin" / "run-bench", *words]
    process = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    code = package_code(ROOT / "apm_tta")
    assert f"commit {code.commit[:12] if code.is_commit and code.commit else 'unknown'}" in process.stdout
    (run,) = (tmp_path / "results" / "demo").iterdir()
    assert (run / "results.csv").is_file()


def test_no_folder_of_the_repository_becomes_a_module(clean_environment: Path, tmp_path: Path) -> None:
    """``datasets`` must import the package known by that name, also from the repository's root."""
    package = tmp_path / "datasets"
    package.mkdir()
    (package / "__init__.py").write_text("origin = 'the real one'")
    program = f"import sys; sys.path.insert(1, {str(tmp_path)!r}); import datasets; print(datasets.origin)"
    python = clean_environment / "bin" / "python"
    process = subprocess.run([python, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert process.stdout.strip() == "the real one"
