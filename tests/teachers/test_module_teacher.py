"""A network of one's own by the name of a function: opt-in, its code part of the identity, refused in a line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

import apm_tta
from apm_tta.data.cards import load_card
from apm_tta.data.dataset import open_dataset
from apm_tta.data.sample import CLEAN
from apm_tta.errors import UserError
from apm_tta.teachers import load_teacher

CLASSES = load_card("fashion-mnist").class_list.names
MODULE = "apm_tta_test_nets"
CODE = f"""
import torch
from torch import nn

import apm_tta

GAIN = 3.0


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.head = nn.Linear(32, 10)

    def forward(self, pixels):
        return self.head(self.body(GAIN * pixels))


def make():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Net()
    return network, {CLASSES!r}, apm_tta.Preprocessing(28, (0.5,) * 3, (0.5,) * 3, "bilinear")


def fails():
    raise RuntimeError("no weights here")


def alone():
    return Net()


def unnamed():
    return Net(), "bag", None
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Return a function that writes the module into the current folder, as if for a process that never had it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def to_file(code: str) -> None:
        sys.modules.pop(MODULE, None)
        (tmp_path / f"{MODULE}.py").write_text(code)

    to_file(CODE)
    yield to_file
    sys.modules.pop(MODULE, None)


def load(function: str = "make", **more: Any) -> apm_tta.teachers.LazyTeacher:
    return load_teacher(f"module:{MODULE}:{function}", cache=None, allow_code=True, **more)


def test_nothing_is_imported_unless_it_is_allowed(write: Callable[[str], None]) -> None:
    with pytest.raises(UserError, match=r"is code that would be run with your rights: .* add --allow-code") as refused:
        load_teacher(f"module:{MODULE}:make")
    assert refused.value.exit_code == 2
    with pytest.raises(UserError, match="add --allow-code"):
        apm_tta.run("demo", teacher=f"module:{MODULE}:make", methods="zeroshot", limit=10, quiet=True)
    assert MODULE not in sys.modules


def test_its_logits_are_the_network_s_own(write: Callable[[str], None]) -> None:
    teacher = load()
    network = sys.modules[MODULE].make()[0].eval()
    pixels = torch.randn(3, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = teacher.encode_image(pixels)
        found = teacher.scales(features) * normalize(features, dim=-1) @ teacher.class_weights(CLASSES, ()).T
        torch.testing.assert_close(found, network(pixels), rtol=1e-4, atol=1e-5)
    assert teacher.feature_dim == 34
    assert load(classifier="prototypes").feature_dim == 32


def test_an_edit_of_the_code_is_another_teacher(write: Callable[[str], None]) -> None:
    """Of a constant that the network refers to, with the same weights; a comment changes nothing."""
    before = load().identity
    write("# a comment\n" + CODE)
    assert load().identity == before
    write(CODE.replace("GAIN = 3.0", "GAIN = 4.0"))
    after = load().identity
    assert {key for key in before if before[key] != after[key]} == {"code"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (f"module:{MODULE}:other", f"module {MODULE} of teacher .* has no function other"),
        ("module:apm_tta_test_none:make", "module apm_tta_test_none of teacher .* cannot be imported"),
        (f"module:{MODULE}", "names no function; write module:PACKAGE.FILE:FUNCTION"),
        (f"module:{MODULE}:fails", "the function of teacher .* fails: .*no weights here"),
        (f"module:{MODULE}:alone", r"returns a Net; return \(network, class names, preprocessing\)"),
        (f"module:{MODULE}:unnamed", "the class names of teacher .* are no sequence of names"),
    ],
)
def test_what_makes_no_teacher_is_refused_in_a_line(write: Callable[[str], None], name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        load_teacher(name, allow_code=True)
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)


def test_a_run_that_allows_it(write: Callable[[str], None], tmp_path: Path) -> None:
    """Its command says so, and code that was edited since is another run."""
    options: dict[str, Any] = {"methods": "zeroshot", "corruptions": "", "limit": 10, "quiet": True}
    options |= {"teacher": f"module:{MODULE}:make", "out": tmp_path / "run", "allow_code": True}
    run = apm_tta.run("demo", **options)
    assert run.results["n"].tolist() == [10]
    assert run.manifest.command[-1] == "--allow-code"
    dataset = open_dataset("fashion-mnist", limit=10)
    entries = dataset.entries(CLEAN)
    with pytest.raises(UserError, match=r"is code that would be run with your rights: .* add --allow-code"):
        run.load_method("zeroshot")
    loaded = run.load_method("zeroshot", device="cpu", allow_code=True)
    images = [dataset.read(entry, CLEAN).image for entry in entries]
    answers = run.answers().set_index("id").prediction
    assert loaded(images).table["prediction"].tolist() == [answers[entry.id] for entry in entries]
    write(CODE.replace("GAIN = 3.0", "GAIN = 4.0"))
    with pytest.raises(UserError, match=r"holds another run \(teacher\.code"):
        apm_tta.run("demo", **options)
    with pytest.raises(UserError, match=r"^teacher module:.* is not the run's: its .*code.* differ$"):
        run.load_method("zeroshot", allow_code=True)
