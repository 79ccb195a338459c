"""What ``import apm_tta`` offers, and what it and the command line load before there is something to compute."""

from __future__ import annotations

import importlib.resources
import inspect
import json
import subprocess
import sys

import pytest

import apm_tta

HEAVY = (
    "torch",
    "torchvision",
    "scipy",
    "cv2",
    "pandas",
    "pyarrow",
    "open_clip",
    "timm",
    "sklearn",
    "ray",
    "matplotlib",
)


def loaded_by(code: str) -> set[str]:
    """Return the heavy packages that a fresh interpreter has imported after ``code``."""
    script = f"import json, sys\n{code}\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1])) & set(HEAVY)


@pytest.mark.parametrize(
    "code",
    [
        "import apm_tta",
        "import apm_tta; dir(apm_tta); apm_tta.UserError",
        "from apm_tta.cli import main; assert main(['--help']) == 0",
        "from apm_tta.cli import main; assert main(['demo', '--help']) == 0",
        "from apm_tta.cli import main; assert main(['imagenet-c', '--help']) == 0",
        "from apm_tta.cli import main; assert main(['report', '--help']) == 0",
        "from apm_tta.cli import main; assert main(['list', 'suites']) == 0",
        "from apm_tta.cli import main; assert main(['demoo']) == 2",
        "from apm_tta.cli import main; assert main(['demo', '--limitt', '3']) == 2",
        "from apm_tta.cli import main; assert main(['demo', '--limit', 'x']) == 2",
        "from apm_tta.cli import main; assert main(['demo', '--shard-range', '5/4']) == 2",
    ],
)
def test_help_and_typos_load_nothing_heavy(code: str) -> None:
    """Nobody waits for PyTorch to read help: the same as imported modules say it, whatever the machine."""
    assert loaded_by(code) == set()


def test_what_is_heavy_is_noticed() -> None:
    """The measurement can fail."""
    assert loaded_by("import pyarrow") == {"pyarrow"}


@pytest.mark.parametrize("name", apm_tta.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    """Also for type checkers, which read another import than the interpreter, and for completion."""
    found = getattr(apm_tta, name)
    assert inspect.getdoc(found)
    assert name in dir(apm_tta)
    assert f" {name}" in inspect.getsource(apm_tta).partition("if TYPE_CHECKING:")[2].partition("_MODULES")[0]


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'apm_tta' has no attribute 'load_teachers'"):
        _ = apm_tta.load_teachers


def test_the_package_is_typed() -> None:
    assert importlib.resources.files("apm_tta").joinpath("py.typed").is_file()
