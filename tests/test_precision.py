"""Precisions of products: what each sets, where it does not reach, and how many answers it changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from small_settings import NEED_BATCH_NORM, NEED_SUPPORT, small_settings
from torch.backends import cuda, cudnn

import apm_tta
from apm_tta.apm import APMConfig, DistillConfig
from apm_tta.apm.distill import Fitting
from apm_tta.apm.engine import Goals
from apm_tta.cli import main
from apm_tta.data.dataset import Dataset, open_dataset
from apm_tta.data.sample import Condition
from apm_tta.data.task import Task
from apm_tta.errors import UserError
from apm_tta.methods import METHODS, Batch, build_method, build_parameters
from apm_tta.precision import autocast, float32_products, full_precision
from apm_tta.teachers import Teacher

CPU, GPU = torch.device("cpu"), torch.device("cuda")
IMAGES, CONDITION = 6, Condition("contrast", 5)
PARAMETERS = small_settings(views=4, batch_size=IMAGES) | {"apm": {"iterations": 10}}


def settings() -> tuple[str, str, str]:
    return cuda.matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision


@pytest.mark.parametrize("before", ["tf32", "ieee"])
@pytest.mark.parametrize(("precision", "expected"), [("float32", "ieee"), ("tf32", "tf32"), ("bfloat16", "ieee")])
def test_products_are_what_the_precision_says_whatever_was_set(before: str, precision: str, expected: str) -> None:
    """Torch itself has TF32 on for convolutions. These are settings, which need no GPU to be made."""
    kept = settings()
    try:
        cuda.matmul.fp32_precision = cudnn.conv.fp32_precision = cudnn.rnn.fp32_precision = before
        with float32_products(precision, GPU):
            assert settings() == (expected,) * 3
            with full_precision("cuda"):
                assert settings() == ("ieee",) * 3
            assert settings() == (expected,) * 3
        assert settings() == (before,) * 3
    finally:
        cuda.matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision = kept


def test_a_cpu_has_no_tf32(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="tf32 exists on NVIDIA GPUs only, and this would compute on cpu"):
        apm_tta.load_method("zeroshot", classes=["a", "b"], precision="tf32")
    assert main(["demo", "--precision", "tf32", "--devices", "cpu"]) == 2
    assert "tf32 exists on NVIDIA GPUs only" in capsys.readouterr().err
    with pytest.raises(UserError), float32_products("tf32", CPU):
        pass


def test_adam_keeps_float32_in_every_precision() -> None:
    config = APMConfig(image_size=16, patch_size=4, hidden=(32, 16), feature_dim=16)
    for precision in ("float32", "bfloat16"):
        with float32_products(precision, CPU), autocast(precision, CPU):
            fit = DistillConfig(iterations=1)
            fitting = Fitting(torch.ones(1, 3, 16, 16), Goals(torch.ones(1, 16)), config, [0], fit)
            fitting.step()
        states = fitting._optimizer.state.values()
        kept = {tensor.dtype for state in states for tensor in state.values()}
        assert kept | {parameter.dtype for parameter in fitting._parameters.values()} == {torch.float32}


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return open_dataset("fashion-mnist", limit=IMAGES)


@pytest.fixture(scope="module")
def answers(dataset: Dataset, embedded_teacher: Teacher) -> Callable[[str, str], torch.Tensor]:
    """Return a function that answers images by a method in a precision; methods share features, as in a run."""
    entries = dataset.entries(CONDITION)
    images = tuple(dataset.read(entry, CONDITION).image for entry in entries)
    batches = {name: Batch(tuple(entry.id for entry in entries), images) for name in ("float32", "bfloat16")}
    task = Task(dataset.classes, dataset.template, crop_scale=(0.5, 1.0))

    def of(name: str, precision: str) -> torch.Tensor:
        method = build_method(name, embedded_teacher, task, build_parameters(name, PARAMETERS.get(name, {})), 0)
        method.reset()
        with torch.no_grad(), float32_products(precision, CPU), autocast(precision, CPU):
            return method.predict(batches[precision]).logits

    return of


def test_few_answers_change_in_bfloat16(
    answers: Callable[[str, str], torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    """Print the share of every method, with the embedded teacher, on images that are hard for it."""
    shares = {}
    for name in METHODS.names():
        if name in NEED_SUPPORT | NEED_BATCH_NORM:
            continue
        exact, rounded = answers(name, "float32"), answers(name, "bfloat16")
        assert not torch.equal(exact, rounded)
        shares[name] = (exact.argmax(1) != rounded.argmax(1)).float().mean().item()
    with capsys.disabled():
        print("\nanswers that bfloat16 changes: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items()))
    assert max(shares.values()) <= 0.2


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_loaded_method_answers_in_its_precision(
    precision: str, answers: Callable[[str, str], torch.Tensor], dataset: Dataset, embedded_teacher: Teacher
) -> None:
    entries = dataset.entries(CONDITION)
    method = apm_tta.load_method("zeroshot", embedded_teacher, dataset.classes, precision=precision)
    images = [dataset.read(entry, CONDITION).image for entry in entries]
    logits = method(images, [entry.id for entry in entries]).logits
    other = {"float32": "bfloat16", "bfloat16": "float32"}[precision]
    own, others = ((logits - answers("zeroshot", each)).abs().max() for each in (precision, other))
    assert own < others / 10
