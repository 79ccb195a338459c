"""Checkpoints of real architectures with random weights."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

State = dict[str, Tensor]


def random_weights(model: nn.Module) -> State:
    """Draw weights for every name of a model, in half precision like OpenAI's; large tensors repeat values."""
    values = 0.04 * torch.randn(2**20, generator=torch.Generator().manual_seed(0))
    state = {}
    for name, own in model.state_dict().items():
        if own.is_floating_point():
            count = own.numel()
            value = values.repeat(count // len(values) + 1)[:count].reshape(own.shape)
            state[name] = (1 + value.abs() if name.endswith("running_var") else value).half()
        else:
            state[name] = torch.zeros(own.shape, dtype=own.dtype)
    return state


@pytest.fixture(autouse=True)
def models_are_freed() -> Iterator[None]:
    """Free the models of a test at its end: they refer to themselves, and hundreds of megabytes would wait.

    What earlier tests have left is not looked at again: of a whole suite that takes longer than most of these tests.
    """
    gc.freeze()
    yield
    gc.collect()


@pytest.fixture(scope="session")
def draw_open_clip() -> Callable[[str], State]:
    """Return a function from an architecture to random weights by name."""

    def draw(architecture: str) -> State:
        settings = open_clip.get_model_config(architecture)
        kind = open_clip.CustomTextCLIP if settings.pop("custom_text", False) else open_clip.CLIP
        with torch.device("meta"):
            model = kind(**settings)
        return random_weights(model)

    return draw


@pytest.fixture(scope="session")
def draw_timm() -> Callable[..., State]:
    """Return a function from an architecture and its settings to random weights by name."""

    def draw(architecture: str, **settings: Any) -> State:
        with torch.device("meta"):
            model = timm.create_model(architecture, **settings)
        return random_weights(model)

    return draw


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str, State], Path]]:
    """Return a function that saves weights once per name; the files are large and removed at the end."""
    folder, written = tmp_path_factory.mktemp("checkpoints"), {}

    def save(name: str, state: State) -> Path:
        path = folder / name / "weights.safetensors"
        if name not in written:
            path.parent.mkdir()
            save_file({key: value.contiguous() for key, value in state.items()}, path)
            written[name] = path
        return path

    yield save
    for path in written.values():
        path.unlink(missing_ok=True)
