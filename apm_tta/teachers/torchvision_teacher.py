"""ImageNet networks of torchvision with its released weights, under the transform and the classes that these state."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import get_model_builder, get_model_weights, list_models

from apm_tta.data.class_lists import imagenet_1k
from apm_tta.data.imagenet_classes import imagenet_terms
from apm_tta.errors import UnknownName, UserError, describe_error
from apm_tta.system.files import is_file
from apm_tta.teachers.base import FAMILIES, Source
from apm_tta.teachers.checkpoints import (
    WeightsFile,
    load_strictly,
    read_state_dict,
    refuse_changed,
    weights_file,
)
from apm_tta.teachers.classifier_teacher import Classified, classifier_source
from apm_tta.teachers.head_labels import HeadLabels
from apm_tta.teachers.measured_preprocessing import measure_preprocessing
from apm_tta.teachers.undrawn import Undrawn
from apm_tta.teachers.weight_names import without_prefix

_PREFIX = "torchvision:"
# What torchvision's builders pass only along with weights that they load themselves.
_WITH_AUXILIARY_HEADS = {"transform_input": True, "aux_logits": True, "init_weights": False}
_ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "googlenet": _WITH_AUXILIARY_HEADS,
    "inception_v3": _WITH_AUXILIARY_HEADS,
}
# The names in files that were released before torchvision renamed modules.
_RENAMED = (
    (re.compile(r"(\.denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"(\.mlp)\.linear_1\."), r"\1.0."),
    (re.compile(r"(\.mlp)\.linear_2\."), r"\1.3."),
)
# Counted in training; old releases lack them, and no answer depends on them.
_COUNTER = ".num_batches_tracked"


@FAMILIES.register("torchvision")
def torchvision_source(name: str, classifier: str) -> Source:
    """Find ``torchvision:NAME.WEIGHTS`` or ``torchvision:NAME.WEIGHTS:/path``: ``torchvision:resnet50.IMAGENET1K_V1``.

    Raises:
        UnknownName: for an architecture or weights that torchvision does not have.
        UserError: for weights that are not classes of ImageNet, or not available.
    """
    kind, _, path = name.removeprefix(_PREFIX).partition(":")
    plain, _, tag = kind.partition(".")
    if plain not in (known := list_models(module=torchvision.models)):
        raise UnknownName("classification network of torchvision", plain, known)
    releases = {release.name: release for release in get_model_weights(plain)}  # without DEFAULT, which changes
    if tag not in releases:
        raise UnknownName(f"weights of torchvision's {plain}", tag, list(releases))
    release = releases[tag]
    labels = _labels(name, release.meta.get("categories"))
    weights = weights_file(_local_file(name, path) if path else _downloaded(name, release.url))
    _refuse_damaged(weights, "" if path else release.url)
    transform = release.transforms()
    arguments = _arguments(plain, release.meta["min_size"])

    def build() -> nn.Module:
        return _build(plain, arguments, weights)

    identity = {
        "weights_sha256": weights.sha256,
        "architecture": f"torchvision {plain}",
        "preprocessing": " ".join(repr(transform).split()),
        **({"arguments": str(arguments)} if arguments else {}),
    }
    preprocessing = measure_preprocessing(transform)
    return classifier_source(name, classifier, Classified(identity, labels, preprocessing, transform, build))


def released_names() -> list[str]:
    """Return the names of all networks with released weights that classify ImageNet."""
    return [
        f"{_PREFIX}{kind}.{release.name}"
        for kind in list_models(module=torchvision.models)
        for release in get_model_weights(kind)
        if release.meta.get("categories")
    ]


def _labels(name: str, categories: Sequence[str] | None) -> HeadLabels:
    """Return ImageNet's labels in our order, once every category is known to be a word for the class of its row.

    Raises:
        UserError: when the weights are not a classifier's, or state another order of classes. Exit code 2.
    """
    if not categories:
        raise UserError(f"the weights of teacher {name} state no classes: they are of features alone", 2)
    words = imagenet_terms(imagenet_1k().names)[1]
    own = [_letters(category) for category in categories]
    for row, (category, described) in enumerate(zip(own, words, strict=False)):
        if not any(category.startswith(_letters(word)) for word in described.split(",")):
            raise UserError(f"teacher {name} states {category!r} as class {row}, which in ImageNet is {described!r}", 2)
    if len(own) != len(words):
        raise UserError(f"teacher {name} states {len(own)} classes, not the {len(words)} of ImageNet", exit_code=2)
    return HeadLabels.of(len(words), None, None)


def _letters(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))


def _local_file(name: str, path: str) -> Path:
    if not is_file(Path(path)):
        raise UserError(f"teacher {name}: there is no file {path}", exit_code=2)
    return Path(path)


def _downloaded(name: str, url: str) -> Path:
    """Return the release in torchvision's own cache; it is downloaded to there first, as torchvision does."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if is_file(path):
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), progress=False)
    except OSError as error:
        reason = describe_error(error)
        raise UserError(
            f"teacher {name}: {url} cannot be downloaded ({reason}); get it in another way, and write {name}:/path "
            f"or put it at {path}"
        ) from error
    return path


def _refuse_damaged(weights: WeightsFile, url: str) -> None:
    """Refuse a release whose digest is not the one that its name begins with.

    Raises:
        UserError: saying what to do.
    """
    stated = re.search(r"-([0-9a-f]{8,})\.pth$", url)
    if stated and not weights.sha256.startswith(stated[1]):
        raise UserError(
            f"{weights.path} is damaged: its SHA-256 begins with {weights.sha256[: len(stated[1])]}, not "
            f"{stated[1]}; delete it and start again"
        )


def _arguments(kind: str, smallest: tuple[int, int]) -> dict[str, Any]:
    """Return what the builder would pass on where it loads the weights itself.

    Args:
        kind: architecture.
        smallest: input that the weights state, pixels: a ViT has positions for one size.
    """
    return {**_ARGUMENTS.get(kind, {}), **({"image_size": smallest[0]} if kind.startswith("vit_") else {})}


def _build(kind: str, arguments: Mapping[str, Any], weights: WeightsFile) -> nn.Module:
    found = read_state_dict(weights)  # before the network is made, which takes longer than to refuse a wrong file
    with Undrawn():
        network: nn.Module = get_model_builder(kind)(weights=None, **arguments)
    own = network.state_dict()
    state = OrderedDict(without_prefix(_renamed(found), own, weights.path))
    # The version of MNASNet's names, which it asks for.
    state._metadata = {"": {"version": 2}}  # type: ignore[attr-defined]
    load_strictly(network, state, weights.path, [each for each in own if each.endswith(_COUNTER)])
    refuse_changed(weights)
    return network


def _renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed = dict(state)
    for old, new in _RENAMED:
        renamed = {old.sub(new, key): value for key, value in renamed.items()}
    return renamed
