"""DINO and every other image encoder of timm: features, and the checkpoint's own linear head where it has one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import hf_hub_download
from timm.data import create_transform, resolve_data_config
from timm.models import load_checkpoint
from torch import Tensor, nn

from apm_tta.data.class_lists import imagenet_rows
from apm_tta.errors import UnknownName, UserError
from apm_tta.teachers.base import FAMILIES, Classifier, Source
from apm_tta.teachers.checkpoints import file_sha256, one_line_errors
from apm_tta.teachers.preprocessing import Preprocessing
from apm_tta.teachers.scales import scales

_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_IMAGENET_CLASSES = 1000
_DINO_TEMPERATURE = 0.07


class TimmTeacher:
    r"""A frozen timm model; see ``Teacher`` for what its members mean.

    A linear head is no cosine: its rows have norms, and a bias. With the constants 1 and 0 behind every feature it
    becomes one, and nothing is lost: for features f, head W, b and the largest norm M of a row with its bias,

    .. math::
        x = [f, 1, 0], \qquad w_c = \frac{1}{M} \Bigl[ W_c, b_c, \sqrt{M^2 - \lVert W_c \rVert^2 - b_c^2} \Bigr],
        \qquad M \lVert x \rVert \cos(x, w_c) = W_c f + b_c

    So ``scales`` is M times the norm, and every method sees the head's own logits. On 250 ImageNet images the cosines
    with the rows alone would get three fewer right.
    """

    def __init__(self, source: Source, model: nn.Module, device: torch.device) -> None:
        self.name = source.name
        self.identity = source.identity
        self.classifier = source.classifier
        self.preprocessing = source.preprocessing
        self.preprocess = source.transform
        self.model = model.eval().requires_grad_(False).to(device)
        self.device = device
        self.image_size = source.preprocessing.size
        embedding = getattr(model, "patch_embed", None)
        self.patch_size = int(embedding.patch_size[0]) if hasattr(embedding, "patch_size") else None  # type: ignore[union-attr]
        has_head = source.classifier == "head"
        self._head = _head_rows(source.name, model) if has_head else None
        self.image_encoder = _ImageEncoder(self.model, constants=has_head)
        self.logit_scale = 1 / _DINO_TEMPERATURE if self._head is None else float(self._head.norm(dim=1).max())
        with torch.no_grad():
            blank = torch.zeros(1, 3, self.image_size, self.image_size, device=device)
            self.feature_dim = int(self.encode_image(blank).shape[1])

    def encode_image(self, pixels: Tensor) -> Tensor:
        """See ``Teacher.encode_image``."""
        features: Tensor = self.image_encoder(pixels)
        return features

    def encode_grid(self, pixels: Tensor, layer: int = -1) -> Tensor:
        """See ``Teacher.encode_grid``; for a convolutional network the output of a stage."""
        model: Any = self.model
        layers = len(getattr(model, "blocks", ())) if self.patch_size else len(getattr(model, "feature_info", ()))
        if not layers or not hasattr(model, "forward_intermediates"):
            raise UserError(f"teacher {self.name} gives no tokens by location; choose a ViT")
        if not -layers <= layer < layers:
            raise UserError(f"teacher {self.name} has layers 0 to {layers - 1}; there is no layer {layer}")
        grids = model.forward_intermediates(
            pixels, indices=[layer % layers], intermediates_only=True, output_fmt="NCHW"
        )
        grid: Tensor = grids[0]
        return grid.permute(0, 2, 3, 1).float()

    def scales(self, features: Tensor) -> Tensor:
        """See ``Teacher.scales``: with a head it grows with the feature's norm."""
        return scales(features, self.logit_scale, self.classifier)

    def class_weights(self, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
        """See ``Teacher.class_weights``; a head knows no templates.

        Raises:
            UserError: when the head has no row for these classes, or the teacher no head.
        """
        if self._head is None:
            raise UserError(
                f"teacher {self.name} has no class weights of its own; give --support FOLDER for prototypes", 2
            )
        rows = imagenet_rows(classes)
        if rows is None or len(self._head) != _IMAGENET_CLASSES:
            raise UserError(
                f"the head of teacher {self.name} has {len(self._head)} classes, not these {len(classes)}; "
                "use --classifier prototypes --support FOLDER",
                exit_code=2,
            )
        norm = self._head.norm(dim=1)
        slack = (norm.max() ** 2 - norm**2).clamp_min(0).sqrt()
        weights: Tensor = torch.cat([self._head, slack[:, None]], dim=1) / norm.max()
        return weights[list(rows)]


class _ImageEncoder(nn.Module):
    """Features before the head; with ``constants`` behind them, see ``TimmTeacher``."""

    def __init__(self, model: nn.Module, constants: bool) -> None:
        super().__init__()
        self.model = model
        self._constants = constants

    def forward(self, pixels: Tensor) -> Tensor:
        """``(B, 3, S, S)`` -> ``(B, F)``."""
        model: Any = self.model
        features: Tensor = model.forward_head(model.forward_features(pixels), pre_logits=True).float()
        if not self._constants:
            return features
        return torch.cat([features, torch.ones_like(features[:, :1]), torch.zeros_like(features[:, :1])], dim=1)


def _head_rows(name: str, model: Any) -> Tensor:
    """Rows of the head with their bias, ``(C, F + 1)``."""
    head = model.get_classifier()
    if not isinstance(head, nn.Linear):
        raise UserError(
            f"the head of teacher {name} is a {type(head).__name__}, not linear; use --classifier prototypes", 2
        )
    weight = head.weight.detach().float()
    bias = weight.new_zeros(len(weight)) if head.bias is None else head.bias.detach().float()
    return torch.cat([weight, bias[:, None]], dim=1)


@FAMILIES.register("timm")
def timm_source(name: str, classifier: str) -> Source:
    """``timm:ARCHITECTURE[.TAG]`` with released weights, or ``timm:ARCHITECTURE:/path/to/checkpoint``.

    Raises:
        UserError: for an architecture that timm does not know, weights that are not there, or a head that is not there.
    """
    kind, _, path = name.removeprefix("timm:").partition(":")
    if not timm.is_model(kind):
        raise UserError(f"unknown timm architecture {kind!r}; timm.list_models() names {len(timm.list_models())}", 2)
    configuration = timm.get_pretrained_cfg(kind, allow_unregistered=not path)
    if configuration is None:
        plain = kind.partition(".")[0]
        raise UnknownName(f"weights of {plain}", kind, timm.list_pretrained(f"{plain}.*"))
    has_head = configuration.num_classes > 0
    if classifier == "text" or (classifier == "head" and not has_head):
        raise UserError(f"teacher {name} has no {classifier}; use --classifier prototypes --support FOLDER", 2)
    chosen: Classifier = "head" if has_head and classifier in ("auto", "head") else "prototypes"
    weights = _weights_file(name, path, configuration)
    settings = resolve_data_config({}, pretrained_cfg=configuration.to_dict())
    preprocessing = Preprocessing(
        int(settings["input_size"][-1]),
        tuple(settings["mean"]),
        tuple(settings["std"]),
        settings["interpolation"],
    )
    identity = {
        "weights_sha256": file_sha256(weights),
        "architecture": kind,
        "preprocessing": json.dumps({key: str(value) for key, value in settings.items()}, sort_keys=True),
        "features": "before the head, then 1 and 0" if chosen == "head" else "before the head",
    }

    def build(device: torch.device) -> TimmTeacher:
        with one_line_errors(name, weights):
            model = timm.create_model(kind, pretrained=False)
            _load(model, weights, needs_head=chosen == "head")
        return TimmTeacher(source, model, device)

    source = Source(name, identity, chosen, preprocessing, create_transform(**settings, is_training=False), build)
    return source


def _weights_file(name: str, path: str, configuration: Any) -> Path:
    if path:
        if not Path(path).is_file():
            raise UserError(f"teacher {name}: there is no file {path}", exit_code=2)
        return Path(path)
    with one_line_errors(name, None):
        if not configuration.hf_hub_id:
            raise UserError(f"teacher {name} has no released weights on a hub; give timm:{name.split(':')[1]}:/path", 2)
        error: Exception | None = None
        for file in _HUB_FILES:
            try:
                return Path(hf_hub_download(configuration.hf_hub_id, file))
            except Exception as found:  # whatever a hub client raises: the next file may be there
                error = error or found
        raise error or FileNotFoundError(configuration.hf_hub_id)


def _load(model: Any, weights: Path, needs_head: bool) -> None:
    """Strict, but for the head where nobody asked for it.

    Raises:
        RuntimeError: naming a few keys that are missing or have no place.
    """
    found = load_checkpoint(model, str(weights), strict=False, weights_only=True, filter_fn=_filter(model))
    head = () if needs_head else tuple(_names(model.default_cfg.get("classifier")))
    missing = [key for key in found.missing_keys if not key.startswith(head)] if head else found.missing_keys
    surplus = [key for key in found.unexpected_keys if not key.startswith(head)] if head else found.unexpected_keys
    if missing or surplus:
        raise RuntimeError(
            f"{weights} is no checkpoint of this architecture: {len(missing)} tensors are missing ({_some(missing)}), "
            f"{len(surplus)} have no place ({_some(surplus)})"
        )


def _filter(model: nn.Module) -> Any:
    """timm's own translation of the authors' checkpoints, where the architecture's module has one."""
    import sys

    module = sys.modules[type(model).__module__]
    return getattr(module, "checkpoint_filter_fn", None)


def _names(classifier: str | Sequence[str] | None) -> tuple[str, ...]:
    """Names of the head's modules, as timm's configurations have them."""
    return (classifier,) if isinstance(classifier, str) else tuple(classifier or ())


def _some(keys: Sequence[str]) -> str:
    return ", ".join(list(keys)[:3]) or "none"
