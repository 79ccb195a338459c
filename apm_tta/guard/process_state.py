"""Settings and random generators of the whole process, which one method must not set for another."""

from __future__ import annotations

import logging
import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import reduce
from typing import Any, NoReturn

import cv2
import numpy as np
import torch
from PIL import ImageFile
from torch.nn.modules import module as hooks

from apm_tta.data.image_files.size_limit import pillows_limit, set_pillows_limit

_EXIT = os._exit


@dataclass(frozen=True)
class _Setting:
    """One setting.

    Attributes:
        name: in words.
        read: returns its value.
        write: sets it to such a value.
    """

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]


class StateChanged(Exception):
    """A setting of the process is another one after the block than before; the message names it with both values."""


@contextmanager
def isolated(seed: int, device: torch.device) -> Iterator[None]:
    """Run the block from a state that does not depend on what ran before, and leave no trace of it.

    Within the block the global generators of Python, NumPy and torch begin at ``seed``. After it these, the
    environment's variables, autograd's mode and every setting are what they were before.

    Args:
        seed: 0 .. 2**63 - 1.
        device: whose generator is seeded beside the CPU's.

    Raises:
        StateChanged: where the block ends in order, but has set something; it is put back first.
    """
    before = [setting.read() for setting in _SETTINGS]
    variables, gradients = dict(os.environ), torch.is_grad_enabled()
    with _seeded(seed, device), _not_ended():
        try:
            yield
        finally:
            after = [setting.read() for setting in _SETTINGS]
            changed = [index for index, value in enumerate(before) if value != after[index]]
            # One by one: what puts back a setting may set another that comes after it.
            for setting, value in zip(_SETTINGS, before, strict=True) if changed else ():
                if setting.read() != value:
                    setting.write(value)
            torch.set_grad_enabled(gradients)
            if os.environ != variables:
                os.environ.clear()
                os.environ.update(variables)
    for index in changed:
        raise StateChanged(f"{_SETTINGS[index].name} ({before[index]} before, {after[index]} after)")


@contextmanager
def _not_ended() -> Iterator[None]:
    """Let ``os._exit`` raise ``SystemExit`` in the block: it would end the process with any exit code, 0 included.

    Other threads, and processes that are forked in the block, end as they would.
    """
    owner = (os.getpid(), threading.get_ident())

    def refuse(status: int) -> NoReturn:
        if (os.getpid(), threading.get_ident()) == owner:
            raise SystemExit(f"os._exit({status})")
        _EXIT(status)

    os._exit = refuse
    try:
        yield
    finally:
        os._exit = _EXIT


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    generators = [torch.default_generator]
    if device.type == "cuda":
        with suppress(IndexError):
            generators.append(torch.cuda.default_generators[device.index or 0])
    states = [generator.get_state() for generator in generators]
    python, numpy = random.getstate(), np.random.get_state()
    for generator in generators:
        generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    try:
        yield
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        random.setstate(python)
        np.random.set_state(numpy)


def _attribute(path: str, root: Any = torch.backends, name: str = "torch.backends") -> _Setting:
    """Return the setting at a dotted path; its value is None in a version that does not have it."""
    *names, last = path.split(".")
    owner = reduce(lambda found, name: getattr(found, name, None), names, root)
    return _Setting(f"{name}.{path}", lambda: getattr(owner, last, None), lambda value: setattr(owner, last, value))


def _product_precision() -> str | None:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # set by backend, which is looked at too
        return None


def _directory() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109  a string, which is cheaper
    except FileNotFoundError:
        return None


def _enter(directory: str | None) -> None:
    if directory is not None:
        os.chdir(directory)


def _cuda_device() -> int:
    return torch.cuda.current_device() if torch.cuda.is_initialized() else 0  # where CUDA begins


def _use_cuda_device(index: int) -> None:
    if torch.cuda.is_initialized():
        torch.cuda.set_device(index)


def _default_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)


def _flushes_denormals() -> bool:
    smallest = 5e-324
    return smallest * 1.0 == 0


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _hooks(name: str) -> _Setting:
    found = getattr(hooks, name)

    def put_back(before: dict[int, Any]) -> None:
        found.clear()
        found.update(before)

    return _Setting("a hook of every torch module", lambda: dict(found), put_back)


def _autocast(kind: str) -> tuple[_Setting, ...]:
    return (
        _Setting(
            f"autocast on {kind}",
            lambda: torch.is_autocast_enabled(kind),
            lambda value: torch.set_autocast_enabled(kind, value),
        ),
        _Setting(
            f"autocast's type on {kind}",
            lambda: torch.get_autocast_dtype(kind),
            lambda value: torch.set_autocast_dtype(kind, value),
        ),
    )


_SETTINGS: tuple[_Setting, ...] = (
    _Setting("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
    _Setting("torch's default device", torch.get_default_device, _default_device),
    _Setting("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
    _Setting(
        "torch's deterministic algorithms",
        _deterministic,
        lambda value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
    ),
    *_autocast("cpu"),
    *_autocast("cuda"),
    _Setting("torch's precision of matrix products", _product_precision, torch.set_float32_matmul_precision),
    *(
        _attribute(name)
        for name in (
            *("cudnn.benchmark", "cudnn.deterministic", "cudnn.enabled", "mkldnn.enabled"),
            # From the general to the particular, which is put back last: the former sets the latter too.
            *("fp32_precision", "cudnn.fp32_precision", "cudnn.conv.fp32_precision", "cudnn.rnn.fp32_precision"),
            *("mkldnn.fp32_precision", "mkldnn.matmul.fp32_precision", "mkldnn.conv.fp32_precision"),
            *("mkldnn.rnn.fp32_precision", "cuda.matmul.fp32_precision"),
            *("cuda.matmul.allow_bf16_reduced_precision_reduction", "cuda.matmul.allow_fp16_accumulation"),
            "cuda.matmul.allow_fp16_reduced_precision_reduction",
        )
    ),
    _Setting(
        "torch's fast path of attention",
        torch.backends.mha.get_fastpath_enabled,
        torch.backends.mha.set_fastpath_enabled,
    ),
    _Setting("torch's flash attention", torch.backends.cuda.flash_sdp_enabled, torch.backends.cuda.enable_flash_sdp),
    _Setting(
        "torch's memory-efficient attention",
        torch.backends.cuda.mem_efficient_sdp_enabled,
        torch.backends.cuda.enable_mem_efficient_sdp,
    ),
    _Setting("torch's plain attention", torch.backends.cuda.math_sdp_enabled, torch.backends.cuda.enable_math_sdp),
    _Setting("flushing of denormal numbers", _flushes_denormals, torch.set_flush_denormal),
    _hooks("_global_forward_hooks"),
    _hooks("_global_forward_pre_hooks"),
    _Setting("NumPy's handling of floating-point errors", np.geterr, lambda value: np.seterr(**value)),
    _Setting("OpenCV's number of threads", cv2.getNumThreads, cv2.setNumThreads),
    _Setting("OpenCV's optimised code", cv2.useOptimized, cv2.setUseOptimized),
    _attribute("LOAD_TRUNCATED_IMAGES", ImageFile, "PIL.ImageFile"),
    # A thread that loads images lifts it meanwhile, which no method has done.
    _Setting("PIL.Image.MAX_IMAGE_PIXELS", pillows_limit, set_pillows_limit),
    _Setting("the current CUDA device", _cuda_device, _use_cuda_device),
    _Setting("the level below which all logs are silent", lambda: logging.root.manager.disable, logging.disable),
    _Setting("the current folder", _directory, _enter),
)
