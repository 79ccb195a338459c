"""CLIP through open_clip: the embedded model, released weights and local checkpoints, through the same code."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.factory import _get_hf_config
from open_clip.pretrained import download_pretrained, download_pretrained_from_hf
from open_clip.transform import image_transform_v2
from torch import Tensor, nn
from torch.nn.functional import normalize

from apm_tta.errors import UnknownName, UserError
from apm_tta.system.files import is_file
from apm_tta.teachers.base import FAMILIES, Classifier, Source
from apm_tta.teachers.built_teacher import BuiltTeacher
from apm_tta.teachers.checkpoints import WeightsFile, one_line_errors, weights_file
from apm_tta.teachers.class_weight_checks import SAME
from apm_tta.teachers.embedded import FOLDERS as EMBEDDED_FOLDERS
from apm_tta.teachers.embedded import WEIGHTS as EMBEDDED_WEIGHTS
from apm_tta.teachers.open_clip_json import (
    FILE,
    PreprocessFields,
    refuse_another_model,
    resolve_preprocessing,
    split_configuration,
)
from apm_tta.teachers.open_clip_model import build_model
from apm_tta.teachers.open_clip_tokenizer import load_tokenizer, tokenizer_beside, tokenizer_sha256
from apm_tta.teachers.preprocessing import patch_size
from apm_tta.teachers.prompt_tokens import CheckedTokenizer
from apm_tta.teachers.quick_gelu import known_release, refuse_mismatch
from apm_tta.teachers.strict_json import read_strict_json
from apm_tta.teachers.templates import sentences_of
from apm_tta.teachers.text_tower import TextTower

_PROMPTS_AT_ONCE = 256
_CLASSIFIERS: tuple[Classifier, ...] = ("text", "prototypes")


@dataclass(frozen=True)
class Release:
    """A weights file with everything needed to run it.

    Attributes:
        tokenizer: open_clip's name for its tokenizer, or the folder that it lies in.
        model: configuration of the architecture.
        preprocess: configuration of the transform.
        weights: the weights file.
        quick_gelu: whether the weights were trained with QuickGELU.
    """

    tokenizer: str | Path
    model: Mapping[str, Any]
    preprocess: Mapping[str, Any]
    weights: WeightsFile
    quick_gelu: bool


class OpenClipTeacher(BuiltTeacher):
    """A frozen open_clip model; see ``Teacher`` for what its members mean.

    SigLIP (arXiv 2303.15343) was trained with a sigmoid of scale times cosine plus bias for every pair. The answer is
    one of the classes all the same, and logits are those of a softmax over them: with SigLIP's own scale, and without
    its bias, which is the same for all classes and so changes neither a softmax nor its entropy.
    """

    def __init__(self, source: Source, model: nn.Module, device: torch.device) -> None:
        self.model = model.eval().requires_grad_(False).to(device)
        self._source = source
        self.logit_scale = float(model.logit_scale.exp())  # type: ignore[operator]
        if not (math.isfinite(self.logit_scale) and self.logit_scale > 0):
            raise UserError(f"teacher {source.name} has a logit scale of {self.logit_scale}: its weights are damaged")
        self.patch_size = patch_size(model.visual)
        exposes_layers = hasattr(getattr(model.visual, "trunk", model.visual), "forward_intermediates")
        intermediates = self._intermediates if exposes_layers else None
        super().__init__(source, _ImageEncoder(self.model), intermediates, device)

    @property
    def tokenizer(self) -> CheckedTokenizer:
        """The tokenizer of the text tower, loaded at the first access.

        Raises:
            UserError: when it needs a missing package, or a hub that cannot be reached.
        """
        assert self._source.tokenizer is not None
        return self._source.tokenizer()

    @cached_property
    def text_tower(self) -> TextTower:
        """The tower that prompts are tuned through; see ``Teacher.text_tower``."""
        return TextTower(self.name, self.model, self.tokenizer, self.device)

    def _intermediates(self, pixels: Tensor, layers: list[int] | None) -> list[Tensor]:
        visual: Any = self.model.visual
        output = visual.forward_intermediates(pixels, indices=layers, intermediates_only=True, output_fmt="NCHW")
        found: list[Tensor] = output["image_intermediates"]
        return found

    def class_weights(self, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
        """Return the text tower's class weights; see ``Teacher.class_weights``.

        Raises:
            UserError: when prototypes were requested: these come from labelled images; for a prompt that is cut off, or
                a tower that tells no prompts apart. Exit code 2.
        """
        if self.classifier != "text":
            raise UserError(f"the prototypes of teacher {self.name} have to come from --support FOLDER", exit_code=2)
        sentences = sentences_of(templates, classes)
        prompts = [sentence for each in sentences for sentence in each]
        embeddings = []
        with torch.no_grad():
            for start in range(0, len(prompts), _PROMPTS_AT_ONCE):
                tokens = self.tokenizer(prompts[start : start + _PROMPTS_AT_ONCE]).to(self.device)
                embeddings.append(normalize(self.model.encode_text(tokens).float(), dim=-1))  # type: ignore[operator]
        weights = normalize(_mean_by_class(torch.cat(embeddings), [*map(len, sentences)]), dim=-1)
        self._refuse_one_for_all([each[0] for each in sentences], weights)
        return weights

    def _refuse_one_for_all(self, prompts: Sequence[str], weights: Tensor) -> None:
        """Refuse a tower that gives different words one embedding, as one does that pools the wrong position.

        Args:
            prompts: one of each class.
            weights: of the classes, ``(C, F)``.

        Raises:
            UserError: when no class differs from another, though some words do for the tower itself. Exit code 2.
        """
        if len(prompts) < 2 or (weights - weights[0]).norm(dim=1).max() > SAME:
            return
        words = getattr(getattr(self.model, "text", self.model), "token_embedding", None)
        tokens = self.tokenizer(prompts).to(self.device)
        if words is None or bool((words(tokens) - words(tokens[:1])).any()):
            raise UserError(
                f"the text tower of teacher {self.name} gives all of the {len(prompts)} classes one embedding, though "
                "their words differ: its configuration, such as its pooling, is not that of its weights",
                exit_code=2,
            )


def _mean_by_class(embeddings: Tensor, counts: Sequence[int]) -> Tensor:
    """Return the mean embedding of each class ``(C, F)`` of those of its sentences, which follow one another."""
    if len({*counts}) == 1:
        means: Tensor = embeddings.unflatten(0, (len(counts), counts[0])).mean(1)
        return means
    return torch.stack([each.mean(0) for each in embeddings.split([*counts])])


class _ImageEncoder(nn.Module):
    """The image tower as a separate module, whichever class of open_clip it belongs to."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.visual: nn.Module = model.visual  # type: ignore[assignment]

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed images ``(B, 3, S, S)`` as ``(B, F)``."""
        features = self.visual(pixels)
        # CoCa's tower returns its tokens too.
        pooled: Tensor = features[0] if isinstance(features, tuple) else features
        return pooled.float()


def _make_source(name: str, classifier: str, release: Release) -> Source:
    if classifier == "head":
        raise UserError(f"teacher {name} has no head; its class weights come from its text tower", exit_code=2)
    preprocess, preprocessing = resolve_preprocessing(name, release.preprocess, release.model)
    with one_line_errors(name):
        transform = image_transform_v2(preprocess, is_train=False)
    identity = {
        "weights_sha256": release.weights.sha256,
        "architecture": json.dumps(release.model, sort_keys=True),
        "preprocessing": json.dumps(asdict(preprocess), sort_keys=True),
        "quick_gelu": str(release.quick_gelu).lower(),
    }

    def build(device: torch.device) -> OpenClipTeacher:
        with one_line_errors(name):
            model = build_model(release.model, release.weights, release.quick_gelu)
            return OpenClipTeacher(source, model, device)

    chosen: Classifier = "prototypes" if classifier == "prototypes" else "text"
    text = release.model["text_cfg"]
    tokenizer = cache(partial(load_tokenizer, name, release.tokenizer, text))
    digest = cache(partial(tokenizer_sha256, text, tokenizer))
    source = Source(name, identity, chosen, _CLASSIFIERS, preprocessing, transform, build, tokenizer, digest)
    return source


def _from_configuration(name: str, tokenizer: str, configuration: Any, weights: Path) -> Release:
    """Make a release that has its own configuration."""
    model, preprocess = split_configuration(f"teacher {name}", configuration)
    return Release(tokenizer, model, preprocess, weights_file(weights), bool(model.get("quick_gelu")))


def _tag_preprocessing(tag: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tag[key] for key in PreprocessFields.model_fields if key in tag}


def _common_preprocessing(kind: str) -> dict[str, Any]:
    """Return the preprocessing shared by all of an architecture's releases: SigLIP is not normalised like CLIP.

    Raises:
        UserError: when they disagree, so that the preprocessing of an unknown file is unknown. Exit code 2.
    """
    found = [
        _tag_preprocessing(open_clip.get_pretrained_cfg(kind, tag))
        for tag in open_clip.list_pretrained_tags_by_model(kind)
    ]
    if any(each != found[0] for each in found):
        raise UserError(
            f"the releases of {kind} are not preprocessed alike, and it is unknown which of them this file follows: "
            f"put an {FILE} with model_cfg and preprocess_cfg beside it",
            exit_code=2,
        )
    return found[0] if found else {}


def embedded_source(name: str, classifier: str) -> Source:
    """Find one of the models that the package carries, such as ``embedded``.

    Raises:
        UserError: when anything follows the name. Exit code 2.
    """
    if name not in EMBEDDED_FOLDERS:
        embedded = name.partition(":")[0]
        raise UserError(f"unknown teacher {name!r}; the embedded teacher is named {embedded}", exit_code=2)
    folder = EMBEDDED_FOLDERS[name]
    configuration = read_strict_json(folder / FILE)
    return _make_source(
        name,
        classifier,
        _from_configuration(name, f"local-dir:{folder}", configuration, EMBEDDED_WEIGHTS[name]),
    )


for _name in EMBEDDED_FOLDERS:
    FAMILIES.register(_name)(embedded_source)


@FAMILIES.register("hf-hub")
def hub_source(name: str, classifier: str) -> Source:
    """Find ``hf-hub:organisation/repository``.

    Raises:
        UserError: when the hub cannot be reached or has no open_clip model of that name.
    """
    with one_line_errors(name):
        repository = name.removeprefix("hf-hub:")
        configuration = _get_hf_config(repository)
        weights = Path(download_pretrained_from_hf(repository))
    return _make_source(name, classifier, _from_configuration(name, name, configuration, weights))


@FAMILIES.register("open_clip")
def architecture_source(name: str, classifier: str) -> Source:
    """Find ``ARCHITECTURE:TAG`` or ``ARCHITECTURE:/path/to/checkpoint``, such as ``ViT-B-16:openai``.

    Raises:
        UnknownName: for a tag that open_clip does not know, when no such file exists either.
        UserError: for a checkpoint that was trained with a different activation from the architecture's.
    """
    kind, _, pretrained = name.partition(":")
    tags = open_clip.list_pretrained_tags_by_model(kind)
    if not pretrained:
        raise UserError(f"teacher {name!r} names no weights; write {kind}:TAG or {kind}:/path", 2)
    if pretrained in tags:
        release = _tagged_release(name, kind, pretrained)
    elif is_file(Path(pretrained)):
        release = _local_release(kind, Path(pretrained))
    else:
        raise UnknownName(f"weights of {kind} (no such tag, no such file)", pretrained, tags)
    return _make_source(name, classifier, release)


def _tagged_release(name: str, kind: str, pretrained: str) -> Release:
    """Find a release by its tag, whose own configuration states which activation it was trained with."""
    model, tag = open_clip.get_model_config(kind), open_clip.get_pretrained_cfg(kind, pretrained)
    quick_gelu = bool(tag.get("quick_gelu"))
    if model.get("quick_gelu") and not quick_gelu:
        repository = tag.get("hf_hub", "").rstrip("/")
        raise UserError(
            f"QuickGELU mismatch: open_clip's {kind} has it, but its release {pretrained} does not state it; "
            f"use hf-hub:{repository}, whose own configuration decides",
            exit_code=2,
        )
    with one_line_errors(name):
        weights = Path(download_pretrained(tag))
    return Release(kind, model, _tag_preprocessing(tag), weights_file(weights), quick_gelu)


def _local_release(kind: str, path: Path) -> Release:
    """Describe a file by the configuration beside it, else by the known release it is, else by all releases."""
    model, weights = open_clip.get_model_config(kind), weights_file(path)
    quick_gelu = bool(model.get("quick_gelu"))
    tokenizer = tokenizer_beside(path, model["text_cfg"]) or kind
    known = known_release(kind, weights)
    if known is not None and bool(known[1].get("quick_gelu")) != quick_gelu:
        refuse_mismatch(kind, path, not quick_gelu, f"it is open_clip's {known[0]}")
    configuration_file = path.with_name(FILE)
    if not os.path.lexists(configuration_file):  # a broken link too: what it said is unknown
        shared = _common_preprocessing(kind) if known is None else _tag_preprocessing(known[1])
        return Release(tokenizer, model, shared, weights, quick_gelu)
    own, preprocess = split_configuration(str(path), read_strict_json(configuration_file))
    if bool(own.get("quick_gelu")) != quick_gelu:
        refuse_mismatch(kind, path, not quick_gelu, f"{configuration_file} states so")
    refuse_another_model(str(path), kind, own, model)
    return Release(tokenizer, model, preprocess, weights, quick_gelu)
