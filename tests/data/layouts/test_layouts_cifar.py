"""CIFAR's pickles are read as data: none can run code, and a wrong one is refused in one line."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apm_tta.data.cards import load_card
from apm_tta.data.check import check
from apm_tta.data.dataset import Dataset
from apm_tta.data.layouts.inert_pickle import read_pickle
from apm_tta.data.sample import CLEAN
from apm_tta.errors import UserError


class Command:
    """A pickle that runs a shell command where it is loaded."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_would_run_something_is_refused_and_runs_nothing(tmp_path: Path, protocol: int) -> None:
    trap = tmp_path / "trap"
    (tmp_path / "test_batch").write_bytes(pickle.dumps({"data": Command(f"touch {trap}")}, protocol=protocol))
    with pytest.raises(ValueError, match=r"is not a pickle of plain data \(it requests (posix|nt)\.system\)"):
        read_pickle(tmp_path / "test_batch")
    assert not trap.exists()


@pytest.mark.parametrize("name", ["builtins.eval", "numpy.load", "numpy.core.multiarray.fromfile", "os.system"])
def test_no_other_name_is_looked_up(name: str, tmp_path: Path) -> None:
    module, _, attribute = name.rpartition(".")
    (tmp_path / "a").write_bytes(b"c" + module.encode() + b"\n" + attribute.encode() + b"\n.")
    with pytest.raises(ValueError, match=f"it requests {name}"):
        read_pickle(tmp_path / "a")


def test_an_array_of_objects_is_refused(tmp_path: Path, trees: Any) -> None:
    content = trees.python2_pickle({"data": np.array([[1, "a"]], dtype=object)})
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match="not of plain bytes"):
        read_pickle(tmp_path / "a")


@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_in_one_line(content: bytes, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.pickle"
    path.write_bytes(content)
    message = ""
    try:
        read_pickle(path)
    except ValueError as error:
        message = str(error)
    assert "\n" not in message


def refusal(card: Any, root: Path) -> str:
    with pytest.raises(UserError) as caught:
        Dataset(card, root).entries(CLEAN)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"labels": list(range(19))}, "has data (20, 3072) for 19 labels, expected a row of 3072 per label"),
        ({"labels": "many"}, "has no data or no labels"),
        ({"labels": [10] * 20}, "contains labels 10 to 10, expected 0 to 9"),
        ({"labels": [0.5] * 20}, "has labels that are not integers"),
        (
            {"labels": [0] * 20},
            "has 10 classes without exactly 2 images: airplane has 20, automobile has 0, bird has 0",
        ),
        ({"data": np.zeros((20, 3071), np.uint8)}, "has data (20, 3071) for 20 labels"),
    ],
    ids=str,
)
def test_a_wrong_batch_is_refused(change: dict[str, Any], says: str, tmp_path: Path, trees: Any) -> None:
    made = trees.cifar(tmp_path, "cifar10")
    content = {key.decode(): value for key, value in read_pickle(tmp_path / "test_batch").items()}
    (tmp_path / "test_batch").write_bytes(trees.python2_pickle({**content, **change}))
    assert says in refusal(made.card, tmp_path)


def test_classes_in_another_order_are_refused(tmp_path: Path, trees: Any) -> None:
    """A label means what the card says only if the tree has the same list."""
    made = trees.cifar(tmp_path, "cifar10")
    names = [name.decode() for name in read_pickle(tmp_path / "batches.meta")[b"label_names"]]
    names[3], names[5] = names[5], names[3]
    (tmp_path / "batches.meta").write_bytes(trees.python2_pickle({"label_names": names}))
    assert "batches.meta calls class 3 'dog', expected 'cat'; is this another data set?" in refusal(made.card, tmp_path)
    (tmp_path / "batches.meta").write_bytes(trees.python2_pickle({"label_names": names[:3]}))
    assert "batches.meta names 3 classes, expected 10" in refusal(made.card, tmp_path)


def test_a_binary_file_that_is_cut_short_is_refused(tmp_path: Path, trees: Any) -> None:
    made = trees.cifar(tmp_path, "cifar100", binary=True)
    path = tmp_path / "test.bin"
    path.write_bytes(path.read_bytes()[:-5])
    assert "test.bin has 614,795 bytes, not a multiple of 3,074" in refusal(made.card, tmp_path)


def test_a_pickle_that_is_cut_short_is_refused(tmp_path: Path, trees: Any) -> None:
    made = trees.cifar(tmp_path, "cifar100")
    path = tmp_path / "test"
    path.write_bytes(path.read_bytes()[:-50_000])
    assert "test is not a pickle of plain data" in refusal(made.card, tmp_path)


def test_cifar_100_given_for_cifar_10_is_named(tmp_path: Path, trees: Any) -> None:
    trees.cifar(tmp_path, "cifar100")
    report = check(load_card("cifar10"), tmp_path)
    assert "has the tree of CIFAR-100, test images, not of CIFAR-10, test images; use cifar100" in report.problems[0]
    assert f"{tmp_path / 'test_batch'} is missing; to get it: download" in report.problems[1]


def test_a_card_of_a_batch_that_does_not_exist_is_refused() -> None:
    card = load_card("cifar10")
    with pytest.raises(
        UserError,
        match=r"card cifar10, layout_options: split: .*'test_batch' or 'test', not 'data_batch_1'; correct the card",
    ):
        Dataset(card.model_copy(update={"layout_options": {"split": "data_batch_1"}}))
