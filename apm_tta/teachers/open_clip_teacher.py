"""CLIP through open_clip: the embedded model, released weights and local checkpoints by the same code."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.factory import _get_hf_config
from open_clip.pretrained import download_pretrained, download_pretrained_from_hf
from open_clip.transform import PreprocessCfg, image_transform_v2
from torch import Tensor, nn
from torch.nn.functional import normalize

from apm_tta.errors import UnknownName, UserError
from apm_tta.teachers.base import FAMILIES, Classifier, Source
from apm_tta.teachers.checkpoints import file_sha256, one_line_errors
from apm_tta.teachers.embedded import FOLDER as EMBEDDED_FOLDER
from apm_tta.teachers.preprocessing import Preprocessing
from apm_tta.teachers.quick_gelu import check_release, refuse_mismatch
from apm_tta.teachers.templates import fill

_PROMPTS_AT_ONCE = 256
_CONFIGURATION = "open_clip_config.json"


@dataclass(frozen=True)
class Release:
    """What open_clip is asked for: an architecture, its configuration, and the file of its weights.

    Attributes:
        model_name: open_clip's, with its schema.
        pretrained: open_clip's: a tag, a path, or None where the schema says it.
        model: configuration of the architecture.
        preprocess: configuration of the transform.
        weights: the file.
        quick_gelu: whether the weights were trained with QuickGELU.
    """

    model_name: str
    pretrained: str | None
    model: Mapping[str, Any]
    preprocess: Mapping[str, Any]
    weights: Path
    quick_gelu: bool


class OpenClipTeacher:
    """A frozen open_clip model; see ``Teacher`` for what its members mean."""

    classifier: Classifier = "text"

    def __init__(
        self,
        source: Source,
        model: nn.Module,
        load_tokenizer: Callable[[], Callable[[Sequence[str]], Tensor]],
        device: torch.device,
    ) -> None:
        self.name = source.name
        self.identity = source.identity
        self.preprocessing = source.preprocessing
        self.preprocess = source.transform
        self.model = model.eval().requires_grad_(False)
        self._load_tokenizer = load_tokenizer
        self.device = device
        self.image_encoder = _ImageEncoder(self.model)
        self.logit_scale = float(model.logit_scale.exp())  # type: ignore[operator]
        self.image_size = source.preprocessing.size
        patch_size = getattr(model.visual, "patch_size", None)
        self.patch_size = _trunk_patch(model.visual) if patch_size is None else _side(patch_size)
        with torch.no_grad():
            blank = torch.zeros(1, 3, self.image_size, self.image_size, device=device)
            self.feature_dim = int(self.encode_image(blank).shape[1])

    @cached_property
    def tokenizer(self) -> Callable[[Sequence[str]], Tensor]:
        """Prompts -> tokens ``(N, L)``.

        Raises:
            UserError: when it has to come from a hub that cannot be reached.
        """
        with one_line_errors(f"{self.name} (its tokenizer)", None):
            return self._load_tokenizer()

    def encode_image(self, pixels: Tensor) -> Tensor:
        """See ``Teacher.encode_image``."""
        features: Tensor = self.image_encoder(pixels)
        return features

    def encode_grid(self, pixels: Tensor, layer: int = -1) -> Tensor:
        """See ``Teacher.encode_grid``; for a convolutional image tower the output of its stem or of a stage."""
        visual: Any = self.model.visual
        layers = _layers(visual)
        if not -layers <= layer < layers:
            raise UserError(f"teacher {self.name} has layers 0 to {layers - 1}; there is no layer {layer}")
        output = visual.forward_intermediates(
            pixels, indices=[layer % layers], intermediates_only=True, output_fmt="NCHW"
        )
        grid: Tensor = output["image_intermediates"][0]
        return grid.permute(0, 2, 3, 1).float()

    def scales(self, features: Tensor) -> Tensor:
        """See ``Teacher.scales``: the same for every feature."""
        return torch.full_like(features[..., :1], self.logit_scale)

    def class_weights(self, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
        """See ``Teacher.class_weights``."""
        prompts = [fill(template, name) for name in classes for template in templates]
        embeddings = []
        with torch.no_grad():
            for start in range(0, len(prompts), _PROMPTS_AT_ONCE):
                tokens = self.tokenizer(prompts[start : start + _PROMPTS_AT_ONCE]).to(self.device)
                embeddings.append(normalize(self.model.encode_text(tokens).float(), dim=-1))  # type: ignore[operator]
        per_class = torch.cat(embeddings).unflatten(0, (len(classes), len(templates)))
        return normalize(per_class.mean(1), dim=-1)


class _ImageEncoder(nn.Module):
    """The image tower as a module of its own, whichever class of open_clip it belongs to."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.visual: nn.Module = model.visual  # type: ignore[assignment]

    def forward(self, pixels: Tensor) -> Tensor:
        """``(B, 3, S, S)`` -> ``(B, F)``."""
        features = self.visual(pixels)
        # CoCa's tower answers with its tokens too.
        pooled: Tensor = features[0] if isinstance(features, tuple) else features
        return pooled.float()


def _side(size: int | Sequence[int]) -> int:
    return size if isinstance(size, int) else int(size[0])


def _trunk_patch(visual: Any) -> int | None:
    """Patch size of an image tower that timm built."""
    embedding: Any = getattr(getattr(visual, "trunk", None), "patch_embed", None)
    size = getattr(embedding, "patch_size", None)
    return None if size is None else _side(size)


def _layers(visual: Any) -> int:
    """Layers that ``forward_intermediates`` counts."""
    if blocks := getattr(getattr(visual, "transformer", None), "resblocks", None):
        return len(blocks)
    trunk = getattr(visual, "trunk", None)
    if trunk is not None:
        return len(getattr(trunk, "blocks", None) or trunk.feature_info)
    return 5  # ModifiedResNet: its stem and four stages


def _source(name: str, classifier: str, release: Release) -> Source:
    if classifier not in ("auto", "text"):
        raise UserError(
            f"teacher {name} has no {classifier} of its own; its class weights come from its text tower"
            + ("; for prototypes give --support FOLDER" if classifier == "prototypes" else ""),
            exit_code=2,
        )
    preprocess = {**vars(PreprocessCfg()), **release.preprocess}
    size = release.model["vision_cfg"].get("image_size", 224)
    preprocess["size"] = size
    preprocessing = Preprocessing(
        _side(size), tuple(preprocess["mean"]), tuple(preprocess["std"]), preprocess["interpolation"]
    )
    with one_line_errors(name, None):
        transform = image_transform_v2(PreprocessCfg(**preprocess), is_train=False)
    identity = {
        "weights_sha256": file_sha256(release.weights),
        "architecture": json.dumps(release.model, sort_keys=True),
        "preprocessing": json.dumps(preprocess, sort_keys=True),
        "quick_gelu": str(release.quick_gelu).lower(),
    }

    def build(device: torch.device) -> OpenClipTeacher:
        with one_line_errors(name, release.weights), warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*QuickGELU mismatch.*")
            model = open_clip.create_model(
                release.model_name,
                pretrained=release.pretrained,
                device=device,
                force_quick_gelu=release.quick_gelu,
                require_pretrained=True,
                weights_only=True,
            )
        return OpenClipTeacher(source, model, partial(open_clip.get_tokenizer, release.model_name), device)

    source = Source(name, identity, "text", preprocessing, transform, build)
    return source


def _from_configuration(name: str, model_name: str, configuration: Mapping[str, Any], weights: Path) -> Release:
    """A release that brings its own configuration."""
    if "model_cfg" not in configuration:
        raise UserError(f"teacher {name!r} has no model_cfg in its {_CONFIGURATION}; it is not open_clip's")
    model = configuration["model_cfg"]
    return Release(
        model_name, None, model, configuration.get("preprocess_cfg", {}), weights, bool(model.get("quick_gelu"))
    )


def _preprocessing(tag: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tag[key] for key in ("mean", "std", "interpolation", "resize_mode") if key in tag}


def _common_preprocessing(kind: str, tags: Sequence[str]) -> dict[str, Any]:
    """What all releases of an architecture agree on: a local checkpoint of a SigLIP is not normalised as CLIP is."""
    found = [_preprocessing(open_clip.get_pretrained_cfg(kind, tag)) for tag in tags]
    return found[0] if found and all(each == found[0] for each in found) else {}


@FAMILIES.register("embedded")
def embedded(name: str, classifier: str) -> Source:
    """``embedded``: the model that the package carries."""
    configuration = json.loads((EMBEDDED_FOLDER / _CONFIGURATION).read_text(encoding="utf-8"))
    weights = EMBEDDED_FOLDER / "open_clip_model.safetensors"
    return _source(name, classifier, _from_configuration(name, f"local-dir:{EMBEDDED_FOLDER}", configuration, weights))


@FAMILIES.register("hf-hub")
def from_hub(name: str, classifier: str) -> Source:
    """``hf-hub:organisation/repository``."""
    with one_line_errors(name, None):
        repository = name.removeprefix("hf-hub:")
        configuration = _get_hf_config(repository)
        weights = Path(download_pretrained_from_hf(repository))
    return _source(name, classifier, _from_configuration(name, name, configuration, weights))


@FAMILIES.register("open_clip")
def architecture(name: str, classifier: str) -> Source:
    """``ARCHITECTURE:TAG`` or ``ARCHITECTURE:/path/to/checkpoint``, such as ``ViT-B-16:openai``.

    Raises:
        UnknownName: for an architecture or a tag that open_clip does not know.
        UserError: for a local checkpoint that was trained with another activation than the architecture has.
    """
    kind, _, pretrained = name.partition(":")
    tags = open_clip.list_pretrained_tags_by_model(kind)
    if not pretrained:
        raise UserError(f"teacher {name!r} names no weights; write {kind}:TAG or {kind}:/path", 2)
    model = open_clip.get_model_config(kind)
    if pretrained in tags:
        tag = open_clip.get_pretrained_cfg(kind, pretrained)
        with one_line_errors(name, None):
            weights = Path(download_pretrained(tag))
        quick_gelu = bool(tag.get("quick_gelu", False)) or bool(model.get("quick_gelu"))
        preprocess = _preprocessing(tag)
        return _source(name, classifier, Release(kind, pretrained, model, preprocess, weights, quick_gelu))
    weights = Path(pretrained)
    if not weights.is_file():
        raise UnknownName(f"weights of {kind} (no such tag, no such file)", pretrained, tags)
    quick_gelu = bool(model.get("quick_gelu"))
    check_release(kind, weights, file_sha256(weights), quick_gelu)
    beside = weights.with_name(_CONFIGURATION)
    preprocess = _common_preprocessing(kind, tags)
    if beside.is_file():
        configuration = json.loads(beside.read_text(encoding="utf-8"))
        preprocess = configuration.get("preprocess_cfg", {})
        own = bool(configuration.get("model_cfg", {}).get("quick_gelu"))
        if own != quick_gelu:
            refuse_mismatch(kind, weights, own, f"{beside} says so")
    return _source(name, classifier, Release(kind, pretrained, model, preprocess, weights, quick_gelu))
