"""Any network that classifies as a teacher: features are what its last linear layer sees, class weights its rows."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict

import torch
from torch import Tensor, nn

from apm_tta.errors import UserError, describe_error
from apm_tta.teachers.base import Source
from apm_tta.teachers.built_teacher import BuiltTeacher
from apm_tta.teachers.class_weight_checks import check_class_weights
from apm_tta.teachers.linear_head import probe_pixels
from apm_tta.teachers.measured_preprocessing import (
    Transform,
    evaluation_transform,
    measure_preprocessing,
    measure_region,
)
from apm_tta.teachers.network_head import HeadlessNetwork, checked_logits, take_head
from apm_tta.teachers.preprocessing import Preprocessing, patch_size


class NetworkTeacher(BuiltTeacher):
    """A frozen copy of a network from images ``(B, 3, S, S)`` to logits ``(B, C)``; see ``Teacher``.

    Its features end in the constants 1 and 0, see ``LinearHead``. Where the logits do not come straight from one
    linear layer, they are the features themselves.

    Args:
        network: copied, never touched. Its output may also be an object with ``logits``.
        classes: names in the order of the logits.
        preprocessing: what makes its input from an RGB image, or a ``Preprocessing``: shorter side resized to its
            size, the square at the centre.
        interpolation: of resizing, where ``preprocessing`` does not state it.
        device: where it computes.

    Raises:
        UserError: when the network does not take such images or return one finite logit per class, or when its
            preprocessing cannot be measured. Exit code 2.

    Attributes:
        classes: as given.
    """

    text_tower = None

    def __init__(
        self,
        network: nn.Module,
        classes: Sequence[str],
        preprocessing: Preprocessing | Transform,
        interpolation: str | None,
        device: torch.device,
    ) -> None:
        name = type(network).__name__
        if isinstance(preprocessing, Preprocessing):
            transform, known = evaluation_transform(preprocessing), preprocessing
        else:
            transform, known = preprocessing, measure_preprocessing(preprocessing, interpolation)
        if isinstance(classes, str) or not isinstance(classes, Iterable):
            raise UserError(f"classes of network {name} are a sequence of names, not {classes!r}", 2)
        self.classes = tuple(map(str, classes))
        frozen = _frozen_copy(name, network, device)
        self.patch_size = patch_size(network)
        probe = probe_pixels(known.size, device)
        logits = checked_logits(f"network {name}", frozen, probe, len(self.classes))
        self._head, self.head_layer = take_head(f"network {name}", frozen, probe, logits)
        self.logit_scale = self._head.norm
        source = Source(
            name=name,
            identity={
                "weights_sha256": weights_digest(network),
                "architecture": f"{type(network).__module__}.{type(network).__qualname__}",
                "labels": f"sha256 {hashlib.sha256(json.dumps(self.classes).encode()).hexdigest()}",
                "preprocessing": json.dumps(
                    {**asdict(known), "region": measure_region(transform, known)}, sort_keys=True
                ),
                "features": f"before {self.head_layer}, then 1 and 0" if self.head_layer else "logits, then 1 and 0",
            },
            classifier="head",
            classifiers=("head",),
            preprocessing=known,
            transform=transform,
            build=lambda _device: self,
        )
        super().__init__(source, HeadlessNetwork(frozen), None, device)

    def class_weights(self, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
        """Return the head's rows for these classes, in this order; see ``Teacher.class_weights``.

        Raises:
            UserError: for a name that is none of the network's classes, or that several of them have; when the head
                tells no classes apart. Exit code 2.
        """
        if tuple(classes) == self.classes:
            weights = self._head.weights()
        else:
            weights = self._head.weights([self._row(name) for name in classes])
        check_class_weights(self.name, "head", classes, weights)
        return weights

    def _row(self, name: str) -> int:
        if self.classes.count(name) != 1:
            found = "has no class" if name not in self.classes else "has several classes named"
            some = ", ".join(self.classes[:5]) + (", ..." if len(self.classes) > 5 else "")
            raise UserError(f"network {self.name} {found} {name!r}; its {len(self.classes)} classes are {some}", 2)
        return self.classes.index(name)


def _frozen_copy(name: str, network: nn.Module, device: torch.device) -> nn.Module:
    try:
        frozen = copy.deepcopy(network).eval().requires_grad_(False).float().to(device)
    except Exception as error:  # such as parameters that are not initialised yet
        reason = describe_error(error)
        raise UserError(f"network {name} cannot be copied to {device}: {reason}") from error
    for parameter, value in frozen.named_parameters():
        if not bool(value.isfinite().all()):
            raise UserError(f"network {name} has a parameter that is not finite: {parameter}", 2)
    return frozen


def weights_digest(network: nn.Module) -> str:
    """Compute the SHA-256 of the names, types, shapes and values of a network's tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if isinstance(tensor, Tensor):
            content = tensor.detach().cpu().contiguous()
            digest.update(f"{name} {content.dtype} {tuple(content.shape)}\n".encode())
            digest.update(content.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
