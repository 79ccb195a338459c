"""Teachers with random weights, and batches of given pixels: the inputs of the authors' code.

The vectors contain no weights. Every tensor is drawn from its name and the file's seed and rounded to float16, and the
SHA-256 of all tensors is compared with the file's: if the recipe yields other numbers, the test fails before it
compares anything else.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import open_clip
import pytest
import timm
import torch
from PIL import Image
from torch import Tensor

from apm_tta.data.cards import load_card
from apm_tta.data.task import Task
from apm_tta.methods import METHODS, Batch, Method, build_parameters
from apm_tta.methods.shared_values import pixels_key, view_features_key, view_pixels_key
from apm_tta.teachers import Teacher, load_teacher
from apm_tta.teachers.evaluation_crop import normalized
from apm_tta.teachers.preprocessing import Preprocessing

# A CLIP of 64 pixels with QuickGELU. Its heads are 64 wide: two in the image tower, one in the text tower.
_CLIP = {
    "embed_dim": 64,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": 3, "width": 128, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 3},
}
_CLIP_NAME = "drawn-clip"
_CLIP_GAIN, _LOG_SCALE = 1.6, 4.6052

State = dict[str, Tensor]


class Published(NamedTuple):
    """Inputs and outputs of the authors' code.

    Attributes:
        arrays: inputs, and outputs by run.
        meta: parameters of every run, seed and digests of random weights.
    """

    arrays: Mapping[str, np.ndarray]
    meta: Mapping[str, Any]

    @property
    def runs(self) -> Mapping[str, Mapping[str, Any]]:
        """Return the parameters of every run by its name."""
        runs: Mapping[str, Mapping[str, Any]] = self.meta["runs"]
        return runs

    def images(self, name: str) -> Tensor:
        """Return stored images with every pixel repeated: ``(..., 3, h * times, w * times)``, ``uint8``."""
        stored = torch.from_numpy(self.arrays[name]).movedim(-1, -3)
        times: int = self.meta["times"]
        return stored.repeat_interleave(times, dim=-2).repeat_interleave(times, dim=-1)

    def normalized(self, images: Tensor) -> Tensor:
        """Normalise ``uint8`` images ``(..., 3, H, W)`` as the teacher does."""
        mean, std = (torch.tensor(self.meta[name]).view(3, 1, 1) for name in ("mean", "std"))
        return (images.float() / 255 - mean) / std

    def max_difference(self, ours: Tensor, name: str) -> float:
        """Return the largest difference of ``ours`` from the authors' array."""
        theirs = self.arrays[name]
        assert tuple(ours.shape) == theirs.shape
        return float(np.abs(ours.double().numpy() - theirs).max())


@pytest.fixture(scope="session")
def published(vectors: dict[str, np.ndarray]) -> Published:
    """Read one file of the authors' results."""
    return Published(vectors, json.loads(str(vectors["meta"])))


@pytest.fixture(scope="session")
def imagenet() -> Task:
    """Return ImageNet's classes."""
    card = load_card("imagenet")
    return Task(tuple(card.class_list.names), card.template, "imagenet")


@pytest.fixture(scope="session")
def drawn_timm(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Published, Mapping[str, Any]], Teacher]:
    """Return a function that builds the teacher of a run from timm's architecture with random weights.

    Several runs have the same one, and adapt copies of it: the last three are kept.
    """
    kept: dict[tuple[str, str], Teacher] = {}

    def make(published: Published, run: Mapping[str, Any]) -> Teacher:
        teacher = kept.pop((run["release"], run["weights"]), None) or draw(published, run)
        kept[run["release"], run["weights"]] = teacher
        if len(kept) > 3:
            del kept[next(iter(kept))]
        return teacher

    def draw(published: Published, run: Mapping[str, Any]) -> Teacher:
        template = timm.create_model(run["architecture"]).state_dict()
        state = {
            name: _timm_tensor(name, value, published.meta["seed"], run["head_gain"])
            for name, value in template.items()
        }
        _refuse_other_weights(state, run["weights"])
        file = tmp_path_factory.mktemp("drawn") / "weights.pth"
        torch.save(state, file)
        return load_teacher(f"timm:{run['release']}:{file}", cache=None)

    return make


@pytest.fixture(scope="session")
def drawn_clip(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    """Build a small CLIP with random weights under OpenAI's names."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / f"{_CLIP_NAME}.json").write_text(json.dumps(_CLIP))
    open_clip.add_model_config(folder / f"{_CLIP_NAME}.json")
    seed = published.meta["seed"]
    state = {name: _clip_tensor(name, shape, seed) for name, shape in _clip_shapes().items()}
    _refuse_other_weights(state, published.meta["weights"])
    torch.save(state, folder / "weights.pt")
    return load_teacher(f"{_CLIP_NAME}:{folder / 'weights.pt'}", cache=None)


@pytest.fixture(scope="session")
def answer() -> Callable[..., Tensor]:
    """Return a function that runs a method on given pixels, and given views without the evaluation crop."""

    def of(method: Method, pixels: Tensor, views: Sequence[Tensor] | None = None) -> Tensor:
        blank = Image.new("RGB", (8, 8))
        batch = Batch(tuple(str(index) for index in range(len(pixels))), (blank,) * len(pixels))
        batch.shared.put(pixels_key(method.teacher), pixels, 0.0)
        if views is not None:
            of = (method.teacher, method.spec, method.seed)  # type: ignore[attr-defined]
            batch.shared.put(view_pixels_key(*of), dict(enumerate(views)), 0.0)
            batch.shared.put(view_features_key(*of), _features(method.teacher, pixels, views), 0.0)
        with torch.no_grad():
            return method.predict(batch).logits

    return of


@pytest.fixture(scope="session")
def build() -> Callable[..., Any]:
    """Return a function that builds a method by name, with parameters as on the command line."""

    def make(name: str, teacher: Teacher, task: Task, **settings: Any) -> Method:
        return METHODS.get(name)(teacher, task, build_parameters(name, settings), 0)

    return make


@pytest.fixture
def inputs(vector_file: Path) -> Mapping[str, np.ndarray]:
    """Return the inputs of a file that ``compare.py`` lies beside, by their names without ``in_``."""
    compare = _module(vector_file.parent / "compare.py")
    arrays: Mapping[str, np.ndarray] = compare.inputs(vector_file.stem, vector_file.parent)
    return arrays


@pytest.fixture
def agree(vector_file: Path) -> Callable[[Mapping[str, Any]], None]:
    """Return a function that compares outputs by key with the authors' own, within the file's tolerances."""
    compare = _module(vector_file.parent / "compare.py")

    def check(outputs: Mapping[str, Any]) -> None:
        plain = {key: np.asarray(torch.as_tensor(value).detach()) for key, value in outputs.items()}
        found = compare.differences(vector_file.stem, plain, vector_file.parent, partial=True)
        assert set(found) == set(outputs)
        wrong = {key: pair for key, pair in found.items() if not pair[0] <= pair[1]}
        assert not wrong, wrong

    return check


@pytest.fixture
def nets(vector_file: Path) -> ModuleType:
    """Return the module that builds the networks of the files that it lies beside."""
    return _module(vector_file.parent / "nets.py")


@pytest.fixture
def network(nets: ModuleType, inputs: Mapping[str, np.ndarray]) -> Callable[..., Teacher]:
    """Return a function that makes a teacher of one of the file's networks, which returns logits."""

    def make(kind: str, scale: float | None = None) -> Teacher:
        own = {f"in_{key.removeprefix(f'{kind}/')}": value for key, value in inputs.items() if "net/" in key}
        built = nets.build(kind, own)
        if scale is not None:
            built.head.scale.fill_(scale)
        preprocessing = Preprocessing(16, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear")
        return load_teacher(built, classes=tuple(f"class {index}" for index in range(10)), preprocessing=preprocessing)

    return make


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"vectors_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def _features(teacher: Teacher, pixels: Tensor, views: Sequence[Tensor]) -> Tensor:
    with torch.no_grad():
        both = [
            torch.cat([crop[None], normalized(others, teacher.preprocessing)])
            for crop, others in zip(pixels, views, strict=True)
        ]
        return torch.stack([teacher.encode_image(each) for each in both])


def _normal(seed: int, name: str, shape: Sequence[int]) -> np.ndarray:
    generator = np.random.RandomState((seed * 1000003 + zlib.crc32(name.encode())) % 2**32)
    return generator.standard_normal(tuple(shape)).astype(np.float32)


def _rounded(values: Any, shape: Sequence[int]) -> Tensor:
    halves = np.asarray(values, dtype=np.float16).astype(np.float32)
    return torch.from_numpy(halves).reshape(tuple(shape))


def _timm_tensor(name: str, like: Tensor, seed: int, head_gain: float) -> Tensor:
    """Draw a tensor of a timm model on the scale of a trained one, the head ``head_gain`` times larger."""
    if not like.is_floating_point():
        return torch.zeros_like(like)
    shape, kind = tuple(like.shape), name.rpartition(".")[2]
    drawn = _normal(seed, name, shape)
    if kind == "running_mean":
        drawn = 0.3 * drawn
    elif kind == "running_var":
        drawn = 0.5 + np.abs(drawn)
    elif name.partition(".")[0] in ("fc", "head", "classifier"):
        drawn = head_gain * drawn * (shape[-1] ** -0.5 if kind == "weight" else 0.2)
    elif len(shape) == 1:
        drawn = 1 + 0.2 * drawn if kind == "weight" else 0.1 * drawn
    elif len(shape) == 3:
        drawn = 0.3 * drawn
    elif len(shape) == 4:
        # In float64, so that rounding to halves yields the weights of the vectors.
        drawn = drawn * np.float64(2 / prod(shape[1:])) ** 0.5
    else:
        drawn = 1.2 * drawn * shape[-1] ** -0.5
    return _rounded(drawn, shape)


def _clip_shapes() -> dict[str, tuple[int, ...]]:
    vision, text = _CLIP["vision_cfg"], _CLIP["text_cfg"]
    assert isinstance(vision, dict)
    assert isinstance(text, dict)
    embedding, wide, narrow, side = 64, vision["width"], text["width"], vision["patch_size"]
    patches = (vision["image_size"] // side) ** 2
    shapes: dict[str, tuple[int, ...]] = {
        "logit_scale": (),
        "positional_embedding": (text["context_length"], narrow),
        "text_projection": (narrow, embedding),
        "token_embedding.weight": (text["vocab_size"], narrow),
        "visual.class_embedding": (wide,),
        "visual.positional_embedding": (patches + 1, wide),
        "visual.proj": (wide, embedding),
        "visual.conv1.weight": (wide, 3, side, side),
    }
    norms = {"ln_final": narrow, "visual.ln_pre": wide, "visual.ln_post": wide}
    for prefix, layers, width in (("visual.", vision["layers"], wide), ("", text["layers"], narrow)):
        for layer in range(layers):
            block = f"{prefix}transformer.resblocks.{layer}"
            norms |= {f"{block}.ln_1": width, f"{block}.ln_2": width}
            for part, rows, columns in (
                ("attn.in_proj_", 3 * width, width),
                ("attn.out_proj.", width, width),
                ("mlp.c_fc.", 4 * width, width),
                ("mlp.c_proj.", width, 4 * width),
            ):
                shapes |= {f"{block}.{part}weight": (rows, columns), f"{block}.{part}bias": (rows,)}
    for name, width in norms.items():
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    return shapes


def _clip_tensor(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """Draw a tensor of the small CLIP."""
    if name == "logit_scale":
        return _rounded(np.float32(_LOG_SCALE), shape)
    drawn, kind = _normal(seed, name, shape), name.rpartition(".")[2]
    if "ln_" in name:
        drawn = 1 + 0.1 * drawn if kind == "weight" else 0.1 * drawn
    elif "bias" in kind:
        drawn = 0.05 * drawn
    elif name in ("visual.proj", "text_projection") or kind == "in_proj_weight":
        drawn = drawn * shape[0] ** -0.5
    elif name == "visual.conv1.weight":
        drawn = drawn * prod(shape[1:]) ** -0.5
    elif name == "token_embedding.weight":
        drawn = 0.3 * drawn
    elif "embedding" in name:
        drawn = 0.1 * drawn
    else:
        drawn = _CLIP_GAIN * drawn * shape[-1] ** -0.5
    return _rounded(drawn, shape)


def _refuse_other_weights(state: State, expected: str) -> None:
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        if value.is_floating_point():
            digest.update(name.encode())
            digest.update(value.contiguous().numpy().tobytes())
    assert digest.hexdigest() == expected, "the weights drawn here are not those of the vectors"
