"""Every family of teachers on a device that no tensor of the CPU may meet: the same features and answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
from PIL import Image
from pretended_cuda import CUDA, DeviceTensor, as_seen, pretended_cuda
from safetensors.torch import save_file
from torch import Tensor, nn

from apm_tta.data.task import Task
from apm_tta.methods import Batch, build_method, build_parameters
from apm_tta.methods.answering import answer
from apm_tta.methods.batch import Shared
from apm_tta.teachers import LazyTeacher, NetworkTeacher, Preprocessing, Teacher, load_teacher
from apm_tta.teachers.crops import taking_crops
from apm_tta.teachers.support_features import SupportedTeacher, encode_support

CPU = torch.device("cpu")
CLASSES = ("ant", "bee", "cat", "dog")
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
VISIONS: dict[str, dict[str, Any]] = {
    "placement-vit": {"image_size": 32, "layers": 4, "width": 32, "head_width": 16, "patch_size": 8},
    "placement-resnet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16, "patch_size": None},
}
Load = Callable[[torch.device], Teacher]


def drawn(make: Callable[[], Any]) -> Any:
    """Make a network whose weights are the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """Return a function from an architecture to a folder with small drawn weights and a configuration."""
    folder = tmp_path_factory.mktemp("weights")
    for name, vision in VISIONS.items():
        (folder / f"{name}.json").write_text(json.dumps({"embed_dim": 16, "vision_cfg": vision, "text_cfg": TEXT}))
    open_clip.add_model_config(folder)

    def write(name: str) -> Path:
        place = folder / name
        place.mkdir()
        if name in VISIONS:
            model = drawn(lambda: open_clip.CLIP(**open_clip.get_model_config(name)))
        else:
            model = drawn(lambda: timm.create_model(name, num_classes=len(CLASSES)))
            own = {**{key: model.pretrained_cfg[key] for key in ("input_size", "mean", "std")}, "num_classes": 4}
            text = {"architecture": name, "num_classes": 4, "label_names": CLASSES, "pretrained_cfg": own}
            (place / "config.json").write_text(json.dumps(text))
        save_file({key: value.contiguous() for key, value in model.state_dict().items()}, place / "w.safetensors")
        return place / "w.safetensors"

    yield write
    for name in VISIONS:
        open_clip.factory._MODEL_CONFIGS.pop(name)


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )


def noise(seed: int) -> Image.Image:
    values = torch.randint(0, 256, (40, 50, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Image.fromarray(values.numpy())


def supported(teacher: Teacher) -> Teacher:
    labelled = [(noise(label), label) for label in range(len(CLASSES))]
    return SupportedTeacher(teacher, encode_support(teacher, labelled, CLASSES, "f" * 64), "prototypes")


def everything(load: Load, device: torch.device) -> tuple[dict[str, Tensor], int]:
    """Return what a teacher computes, what methods answer, and the number of tensors that lay on the device."""
    found: dict[str, Tensor] = {}
    with pretended_cuda() if device == CUDA else nullcontext(), torch.no_grad():
        teacher = load(device)
        pixels = torch.stack([teacher.preprocess(noise(seed)) for seed in (7, 8)]).to(device)
        found["features"] = teacher.encode_image(pixels)
        found["weights"] = teacher.class_weights(CLASSES, ("a photo of a {}.", "a {}."))
        found["scales"] = teacher.scales(found["features"])
        if teacher.patch_size is not None:
            found |= {f"grid {index}": grid for index, grid in enumerate(teacher.encode_grids(pixels, (0, -1)))}
        found |= {f"parameter {name}": value for name, value in teacher.image_encoder.named_parameters()}
        placed = sum(isinstance(value, DeviceTensor) for value in found.values())
        settings: dict[str, dict[str, Any]] = {"zeroshot": {}}
        if isinstance(teacher, LazyTeacher | NetworkTeacher):
            settings["tent"] = {"batch_size": 2}
            if teacher.text_tower is not None:
                settings["tpt"] = {"views": 3}
        if teacher.support is not None:
            settings["knn"] = {"neighbours": 2}
        for name, chosen in settings.items():
            method = build_method(name, teacher, Task(CLASSES), build_parameters(name, chosen), 0)
            asked = answer(method, Batch(("a", "b"), (noise(7), noise(8)), Shared(device)))
            found |= {name: asked.predictions.logits, f"{name} teacher": asked.teacher}
        return {name: as_seen(value) for name, value in found.items()}, placed


@pytest.mark.parametrize(
    "kind",
    [
        *("embedded", "placement-vit", "placement-resnet", "timm:test_vit", "timm:test_resnet"),
        *("network", "prototypes", "crops"),
    ],
)
def test_a_teacher_on_the_device_is_that_of_the_cpu_to_the_last_bit(kind: str, weights: Callable[[str], Path]) -> None:
    loads: dict[str, Load] = {
        "network": lambda device: load_teacher(
            drawn(network), device, classes=CLASSES, preprocessing=Preprocessing(16, (0.5,) * 3, (0.2,) * 3, "bilinear")
        ),
        "prototypes": lambda device: supported(load_teacher("embedded", device, cache=None)),
        "crops": lambda device: taking_crops(load_teacher("embedded", device, cache=None), 32),
    }
    architecture = kind.removeprefix("timm:")
    path = weights(architecture) if kind.startswith(("timm:", "placement-")) else None
    load = loads.get(kind, lambda device: load_teacher(kind if path is None else f"{kind}:{path}", device, cache=None))
    on_cpu, _ = everything(load, CPU)
    on_device, placed = everything(load, CUDA)
    assert [name for name, value in on_device.items() if not torch.equal(value, on_cpu[name])] == []
    assert on_device.keys() == on_cpu.keys()
    assert placed == sum(not name.startswith(("zeroshot", "tent", "tpt", "knn")) for name in on_device)
