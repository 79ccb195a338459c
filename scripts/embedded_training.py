"""What the trainings of both embedded teachers share: images as a teacher sees them, the schedule, the weights file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from apm_tta.data.cards import load_card
from apm_tta.data.fashion_mnist import load_split
from apm_tta.teachers.templates import TEMPLATES

CLASSES = load_card("fashion-mnist").class_list.names


def resized_images(images: np.ndarray, size: int) -> Tensor:
    """Resize ``(N, 28, 28)`` uint8 to ``(N, 1, size, size)`` uint8, as the teacher's evaluation transform does."""
    resized = [np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)) for image in images]
    return torch.from_numpy(np.stack(resized))[:, None]


def normalized(images: Tensor, preprocessing: Mapping[str, Any]) -> Tensor:
    """Normalise ``(B, 1, S, S)`` or ``(B, 3, S, S)`` in 0 .. 1 to ``(B, 3, S, S)`` with the configuration's moments."""
    mean = torch.tensor(preprocessing["mean"])[:, None, None]
    std = torch.tensor(preprocessing["std"])[:, None, None]
    return (images.expand(-1, 3, -1, -1) - mean) / std


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Return the rate of a step: linear warm-up over the first 5 %, then a half cosine to zero."""
    warm_up = max(1, round(0.05 * steps))
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up)))


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Group the parameters for AdamW: vectors and scalars do not decay."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]


def save_weights(model: nn.Module, used_tokens: Tensor, path: Path) -> None:
    """Save float16 safetensors under open_clip's names; embedding rows of tokens that no prompt uses become zero."""
    state = {
        name: (value.half() if value.is_floating_point() else value).detach().clone().contiguous()
        for name, value in model.state_dict().items()
    }
    embedding = state["token_embedding.weight"]
    unused = torch.ones(len(embedding), dtype=torch.bool)
    unused[used_tokens] = False
    embedding[unused] = 0
    save_file(state, path)


def top_1(teacher_name: str, data_root: Path, count: int = 10_000) -> dict[str, float]:
    """Compute top-1 of the saved weights on the first ``count`` test images, loading them like any teacher."""
    from apm_tta.teachers import load_teacher

    teacher = load_teacher(teacher_name)
    images, labels = (part[:count] for part in load_split(data_root, "test"))
    pixels = torch.stack([teacher.preprocess(Image.fromarray(image).convert("RGB")) for image in images])
    with torch.inference_mode():
        features = torch.cat([normalize(teacher.encode_image(batch), dim=-1) for batch in pixels.split(500)])
        accuracies = {}
        for name in ("simple", "openai80"):
            weights = teacher.class_weights(CLASSES, TEMPLATES[name])
            predictions = (features @ weights.T).argmax(1)
            accuracies[name] = (predictions == torch.from_numpy(labels.astype(np.int64))).double().mean().item()
    return accuracies
