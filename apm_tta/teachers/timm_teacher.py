"""Image encoders from timm, such as DINO, with the checkpoint's own linear head where it has one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from timm.data import create_transform
from timm.models import PretrainedCfg
from torch import Tensor, nn

from apm_tta.errors import UserError
from apm_tta.teachers.base import FAMILIES, Classifier, Source
from apm_tta.teachers.built_teacher import BuiltTeacher
from apm_tta.teachers.checkpoints import one_line_errors, weights_file
from apm_tta.teachers.head_labels import HeadLabels
from apm_tta.teachers.linear_head import (
    LinearHead,
    probe_pixels,
    replace_with_identity,
    same_logits,
    with_constants,
)
from apm_tta.teachers.preprocessing import Preprocessing, patch_size
from apm_tta.teachers.timm_model import PROTOTYPES, build_model
from apm_tta.teachers.timm_release import evaluation_settings, find_release

_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_DINO_TEMPERATURE = 0.07


class TimmTeacher(BuiltTeacher):
    """A frozen timm model; its members are described by ``Teacher``.

    When its head is used, the features end in the constants 1 and 0, see ``LinearHead``; cosines with prototypes are
    divided by the temperature of DINO's nearest neighbours (arXiv 2104.14294).
    """

    text_tower = None

    def __init__(self, source: Source, model: nn.Module, labels: HeadLabels, device: torch.device) -> None:
        self._labels = labels
        self.model = model.eval().requires_grad_(False).to(device)
        self.patch_size = patch_size(model)
        self._head = _take_head(source, self.model, device) if source.classifier == "head" else None
        self.logit_scale = 1 / _DINO_TEMPERATURE if self._head is None else self._head.norm
        image_encoder = _ImageEncoder(self.model, constants=self._head is not None)
        intermediates = self._intermediates if hasattr(model, "forward_intermediates") else None
        super().__init__(source, image_encoder, intermediates, device)

    def class_weights(self, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
        """Return the head's rows for these classes; see ``Teacher.class_weights``. Templates are ignored.

        Raises:
            UserError: when the head has no rows for these classes, or the teacher has no head. Exit code 2.
        """
        if self._head is None:
            raise UserError(f"teacher {self.name} has no class weights of its own; {PROTOTYPES}", exit_code=2)
        return self._head.weights(self._labels.rows(self.name, classes, PROTOTYPES))

    def _intermediates(self, pixels: Tensor, layers: list[int] | None) -> list[Tensor]:
        model: Any = self.model
        outputs: list[Tensor] = model.forward_intermediates(
            pixels, indices=layers, intermediates_only=True, output_fmt="NCHW"
        )
        return outputs


class _ImageEncoder(nn.Module):
    """The features before the head; with ``constants``, they end in the constants of ``LinearHead``."""

    def __init__(self, model: nn.Module, constants: bool) -> None:
        super().__init__()
        self.model = model
        self._constants = constants

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed images ``(B, 3, S, S)`` as ``(B, F)``."""
        features = _before_head(self.model, pixels)
        return with_constants(features) if self._constants else features


def _before_head(model: Any, pixels: Tensor) -> Tensor:
    features: Tensor = model.forward_head(model.forward_features(pixels), pre_logits=True)
    return features.float()


def _take_head(source: Source, model: Any, device: torch.device) -> LinearHead:
    """Take the head off the model, as its parameters do not belong to the features.

    Raises:
        UserError: when the model's logits are not those of its head applied to its features. Exit code 2.
    """
    classifier = model.get_classifier()
    head = LinearHead(source.name, classifier)
    probe = probe_pixels(source.preprocessing.size, device)
    with torch.no_grad():
        expected, computed = model(probe).float(), head.logits(_before_head(model, probe))
    if not same_logits(expected, computed):
        raise UserError(f"the logits of teacher {source.name} are not linear in its features; {PROTOTYPES}", 2)
    replace_with_identity(model, next(name for name, module in model.named_modules() if module is classifier))
    return head


@FAMILIES.register("timm")
def timm_source(name: str, classifier: str) -> Source:
    """Find ``timm:ARCHITECTURE[.TAG]`` with released weights, or ``timm:ARCHITECTURE[.TAG]:/path/to/checkpoint``.

    Raises:
        UserError: for an architecture that timm does not know, or for weights or a head that are missing.
    """
    kind, _, path = name.removeprefix("timm:").partition(":")
    if not timm.is_model(kind):
        raise UserError(f"unknown timm architecture {kind!r}; timm.list_models() lists {len(timm.list_models())}", 2)
    release = find_release(name, kind, path)
    configuration = release.configuration
    _refuse_other_activation(name, kind, configuration, path)
    classifiers: tuple[Classifier, ...] = ("head", "prototypes") if configuration.num_classes else ("prototypes",)
    if classifier != "auto" and classifier not in classifiers:
        raise UserError(f"teacher {name} has no {classifier}; {PROTOTYPES}", 2)
    chosen = next(candidate for candidate in classifiers if classifier in ("auto", candidate))
    weights = weights_file(Path(path) if path else _download(name, configuration))
    settings = evaluation_settings(name, configuration)
    transform = create_transform(**{key: settings[key] for key in settings if key != "trained_at"}, is_training=False)
    preprocessing = Preprocessing(
        settings["input_size"][-1], tuple(settings["mean"]), tuple(settings["std"]), settings["interpolation"]
    )
    labels = HeadLabels.of(configuration.num_classes, configuration.label_names, configuration.label_descriptions)
    identity = {
        "weights_sha256": weights.sha256,
        "architecture": kind,
        "preprocessing": json.dumps({key: str(value) for key, value in settings.items()}, sort_keys=True),
        "quick_gelu": str("quickgelu" in kind).lower(),
        "features": "before the head, then 1 and 0" if chosen == "head" else "before the head",
        **({"arguments": json.dumps(dict(release.arguments), sort_keys=True)} if release.arguments else {}),
        **({"global_pool": release.global_pool} if release.global_pool else {}),
        **({"labels": labels.identity} if chosen == "head" else {}),
    }

    def build(device: torch.device) -> TimmTeacher:
        with one_line_errors(name):
            model = build_model(release, weights, needs_head=chosen == "head")
            return TimmTeacher(source, model, labels, device)

    source = Source(name, identity, chosen, classifiers, preprocessing, transform, build)
    return source


def _refuse_other_activation(name: str, kind: str, configuration: PretrainedCfg, path: str) -> None:
    """Refuse an architecture with GELU for weights that were trained with QuickGELU: timm has some CLIPs as both."""
    plain, _, tag = kind.partition(".")
    trained = f"{plain.replace('_clip_', '_clip_quickgelu_')}.{tag or ('' if path else configuration.tag)}"
    if not trained.startswith(f"{plain}.") and trained in timm.list_pretrained():
        right = f"timm:{trained}" + (f":{path}" if path else "")
        raise UserError(
            f"the weights of teacher {name} were trained with QuickGELU, but {plain} has GELU: accuracy would be "
            f"silently lower; use {right}",
            exit_code=2,
        )


def _download(name: str, configuration: PretrainedCfg) -> Path:
    with one_line_errors(name):
        repository = configuration.hf_hub_id
        if not repository:
            raise UserError(f"teacher {name} has no released weights on a hub; use {name}:/path", 2)
        files = (configuration.hf_hub_filename,) if configuration.hf_hub_filename else _HUB_FILES
        error: Exception | None = None
        for file in files:
            try:
                return Path(hf_hub_download(repository, file))
            except EntryNotFoundError as failure:  # the next file may exist
                error = error or failure
        raise error or FileNotFoundError(repository)
