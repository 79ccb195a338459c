"""Compare methods that adapt the encoder to sentences with the authors' code, within the tolerances of its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from apm_tta.data.task import Task
from apm_tta.teachers.templates import TEMPLATES

CLASSES = tuple(f"c{index}" for index in range(10))
SENTENCE = "a photo of a {}"
pytestmark = pytest.mark.usefixtures("one_thread")

WEIGHTS = (1.0, 0.8, 0.6)
"""Of the classes that a sentence names, in its embedding."""


class WithGap(nn.Module):
    """The image tower of the vectors: the network without its head, and a constant added to what it returns."""

    def __init__(self, network: Any, gap: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("gap", gap)

    def forward(self, pixels: Tensor) -> Tensor:
        features: Tensor = self.network.features(pixels)
        return features + self.gap


class TextTower:
    """The text tower of the vectors: a sentence is the weighted sum of the classes that it names."""

    def __init__(self, embeddings: Tensor) -> None:
        self.embeddings = embeddings

    def tokens(self, prompts: Sequence[str]) -> Tensor:
        """Return the classes that are named, and -1 where there are no more."""
        named = [[CLASSES.index(word) for word in prompt.split() if word in CLASSES] for prompt in prompts]
        return torch.tensor([row + [-1] * (len(WEIGHTS) + 1 - len(row)) for row in named])

    def embed(self, tokens: Tensor) -> Tensor:
        return self.embeddings[tokens] * (tokens >= 0)[..., None]

    def encode(self, embedded: Tensor, tokens: Tensor) -> Tensor:
        return sum(weight * embedded[:, place] for place, weight in enumerate(WEIGHTS))  # type: ignore[return-value]


@pytest.fixture
def teacher(inputs: Mapping[str, np.ndarray], nets: Any, stub_teacher: Callable[[nn.Module], Any]) -> Any:
    """Return a teacher of the file's network and of its class embeddings by template."""
    state = {f"in_{key}": value for key, value in inputs.items() if key.startswith("net/")}
    made = stub_teacher(WithGap(nets.build("ln", state), torch.from_numpy(inputs["image_gap"])))
    embeddings = torch.from_numpy(inputs["template_class_embeddings"])

    def class_weights(classes: Sequence[str], templates: Sequence[str]) -> Tensor:
        assert tuple(classes) == CLASSES
        own = normalize(embeddings[[TEMPLATES["watt8"].index(template) for template in templates]], dim=-1)
        return normalize(own.mean(0), dim=-1)

    made.logit_scale, made.class_weights, made.text_tower = 100.0, class_weights, TextTower(embeddings[0])
    return made


@pytest.fixture
def outputs(
    inputs: Mapping[str, np.ndarray], vectors: dict[str, np.ndarray], answer: Callable[..., Tensor]
) -> Callable[[str, Any], dict[str, Tensor]]:
    """Return a function that answers the batches, and returns logits and adapted parameters by their keys."""

    def of(name: str, method: Any) -> dict[str, Tensor]:
        batches = torch.from_numpy(inputs["images"])
        found = {f"{name}/logits": torch.stack([answer(method, pixels) for pixels in batches])}
        adapted, start = dict(method.encoder.network.network.named_parameters()), f"out_{name}/param/"
        names = [key.removeprefix(start) for key in vectors if key.startswith(start)]
        assert len(names) == 50
        return found | {f"{name}/param/{own}": adapted[own] for own in names}

    return of


def templates_file(folder: Path, templates: Sequence[str]) -> str:
    file = folder / f"{len(templates)}.txt"
    file.write_text("\n".join(templates))
    return str(file)


@pytest.mark.vectors("method_vectors/new/watt.npz")
def test_watt_is_the_authors(agree: Any, build: Any, teacher: Any, outputs: Any, tmp_path: Path) -> None:
    found: dict[str, Tensor] = {}
    for name, chosen, used in (
        ("s_l2_m5_t8_lr1e-3", {"learning_rate": 1e-3}, 8),
        ("s_l2_m2_t4_lr1e-3", {"repeats": 2, "learning_rate": 1e-3}, 4),
        ("s_l1_m2_t4_lr1e-4", {"steps": 1, "repeats": 2, "learning_rate": 1e-4}, 4),
        ("p_l2_m2_t4_lr1e-3", {"order": "parallel", "repeats": 2, "learning_rate": 1e-3}, 4),
    ):
        templates = templates_file(tmp_path, TEMPLATES["watt8"][:used])
        found |= outputs(name, build("watt", teacher, Task(CLASSES), templates=templates, **chosen))
    agree(found)


@pytest.mark.vectors("method_vectors/new/clipartt.npz")
def test_clipartt_is_the_authors(agree: Any, build: Any, teacher: Any, outputs: Any) -> None:
    found: dict[str, Tensor] = {}
    for name, named, steps in (("k3_n10", 3, 10), ("k3_n2", 3, 2), ("k2_n3", 2, 3)):
        method = build("clipartt", teacher, Task(CLASSES, SENTENCE), named=named, steps=steps)
        found |= outputs(name, method)
    agree(found)
