"""Code, and the libraries that it calls, changed alone: an own method, the package in any form, a version."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from cells import Notebook, mine
from identity import Before, Bench, Said, check_accepted, check_refused, run_before
from processes import run_program

import apm_tta

PLAIN = ("folder", "--data-root", "{place}/data", "--teacher", "embedded", "--device", "cpu", "--shard-size", "2")
ZEROSHOT = (*PLAIN, "--methods", "zeroshot")
OWN = (*PLAIN, "--methods", "zeroshot,mine")
CELL = "GAIN = {}\n@register\n" + mine("return Predictions(GAIN * self.logits(self.features(batch)))")


@pytest.mark.usefixtures("nothing_stays_registered")
def test_the_source_of_an_own_method(world: Path, tmp_path: Path) -> None:
    notebook = Notebook()
    notebook.run("from apm_tta.methods import register")
    notebook.run(CELL.format(2))
    begun = run_before(world, OWN, tmp_path / "before")
    notebook.run("# once more\n" + CELL.format(2))
    check_accepted(begun, world, OWN, tmp_path / "twin")
    notebook.run(CELL.format(3))
    check_refused(begun, world, OWN, r"revisions\.sources\.mine", tmp_path / "changed")


@pytest.mark.parametrize("library", ["torch", "pillow", "open_clip_torch", "numpy"])
def test_the_version_of_a_library(
    library: str,
    before: Callable[[Sequence[str]], Before],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is installed says another version: its metadata stands before the others on the path."""
    begun = before(ZEROSHOT)
    metadata = tmp_path / "site" / f"{library}-99.9.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {library}\nVersion: 99.9\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    named = rf"versions\.{library}: .* there, 99\.9 now"
    check_refused(begun, begun.place, ZEROSHOT, named, tmp_path / "changed")


def copy_package(root: Path) -> Path:
    """Copy the package, with the folders that it reads beside it, as a checkout has them; return the checkout."""
    package = Path(apm_tta.__file__).parent
    ignored = shutil.ignore_patterns("__pycache__", "_resources")
    shutil.copytree(package, root / "apm_tta", copy_function=os.link, ignore=ignored)
    resources = package / "_resources" if (package / "_resources").is_dir() else package.parent
    for name in ("datasets", "benchmarks/suites", "results/published"):
        shutil.copytree(resources / name, root / name)
    return root


RUN = """
import json, sys
for name in [name for name in sys.modules if name.partition(".")[0] == "apm_tta"]:
    del sys.modules[name]
sys.path[:0] = sys.argv[1:3]
from pathlib import Path
import apm_tta
assert Path(apm_tta.__file__).parent == Path(sys.argv[1], "apm_tta")
from identity import here
print(json.dumps(here(json.loads(sys.argv[3]), Path(sys.argv[4]))))
"""


def bench_of(checkout: Path) -> Bench:
    """Return what runs commands with the package of a checkout, in a process that has imported no other."""

    def bench(commands: Sequence[Sequence[str]], place: Path) -> list[Said]:
        helpers = Path(__file__).parents[1] / "helpers"
        done = run_program(RUN, [str(checkout), str(helpers), json.dumps([[*each] for each in commands]), str(place)])
        assert done.returncode == 0, done.stderr
        return [(code, text) for code, text in json.loads(done.stdout.splitlines()[-1])]

    return bench


def git(checkout: Path, *words: str) -> None:
    identity = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    subprocess.run(["git", "-C", str(checkout), *identity, *words], check=True, capture_output=True)


def replace(file: Path, old: bytes, new: bytes) -> None:
    """Edit a file that has other names elsewhere, which keep their content."""
    content = file.read_bytes()
    assert content.count(old) >= 1
    file.unlink()
    file.write_bytes(content.replace(old, new, 1))


def edit_severities(checkout: Path) -> None:
    replace(checkout / "apm_tta" / "data" / "corruptions" / "digital.py", b"0.4", b"0.5")


def edit_texture(checkout: Path) -> None:
    textures = checkout / "apm_tta" / "data" / "corruptions" / "frost"
    one, other = sorted(path for path in textures.iterdir() if path.suffix in (".jpg", ".png"))[:2]
    content = other.read_bytes()
    one.unlink()
    one.write_bytes(content)


def edit_card(checkout: Path) -> None:
    replace(checkout / "datasets" / "folder.yaml", b"a photo of a {}.", b"a photo of the {}.")


def edit_method(checkout: Path) -> None:
    path = checkout / "apm_tta" / "methods" / "zeroshot.py"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content + b"# edited\n")


def add_a_module(checkout: Path) -> None:
    (checkout / "apm_tta" / "methods" / "another.py").write_text("NUMBER = 1\n")


EDITS = [edit_severities, edit_texture, edit_card, edit_method, add_a_module]


@pytest.fixture(scope="module", params=["a commit", "a copy"])
def checkout(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkout of the package as it is now: a repository with all of it committed, or a mere copy."""
    root = copy_package(tmp_path_factory.mktemp("source") / "checkout")
    if request.param == "a commit":
        git(root, "init", "--quiet")
        git(root, "add", "--all", "--force")
        git(root, "commit", "--quiet", "--message", "as it is")
    return root


@pytest.fixture(scope="module")
def of_checkout(checkout: Path, world: Path, tmp_path_factory: pytest.TempPathFactory) -> Before:
    """Compute a run with the package of the checkout; a copy of the checkout, elsewhere, goes on with it."""
    folder = tmp_path_factory.mktemp("of-checkout")
    begun = run_before(world, ZEROSHOT, folder, bench_of(checkout))
    twin = shutil.copytree(checkout, folder / "twin" / "checkout")
    check_accepted(begun, world, ZEROSHOT, folder / "twin", bench_of(twin))
    return begun


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_a_change_of_the_package_that_is_no_commit(
    edit: Callable[[Path], None], checkout: Path, of_checkout: Before, tmp_path: Path
) -> None:
    """A table of severities, a texture, a card, whose prompt is told by itself, a method, or a module beside them."""
    changed = shutil.copytree(checkout, tmp_path / "checkout")
    edit(changed)
    named = r"revisions\.uncommitted|sentences: .*a photo of the"
    check_refused(of_checkout, of_checkout.place, ZEROSHOT, named, tmp_path, bench_of(changed))
