"""Any network that classifies as a teacher: features are what its last linear layer sees, class weights its rows."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from apm_tta.errors import UserError, describe_error
from apm_tta.teachers.base import Source
from apm_tta.teachers.built_teacher import BuiltTeacher
from apm_tta.teachers.class_weight_checks import check_class_weights
from apm_tta.teachers.linear_head import (
    LinearHead,
    probe_pixels,
    replace_with_identity,
    same_logits,
    with_constants,
)
from apm_tta.teachers.measured_preprocessing import (
    Transform,
    evaluation_transform,
    measure_preprocessing,
    measure_region,
)
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
        logits = self._checked_logits(name, frozen, probe)
        self._head, self.head_layer = _take_head(name, frozen, probe, logits)
        if bool((logits[0] == logits[1]).all()):
            raise UserError(f"network {name} returns the same logits for every image", 2)
        self.logit_scale = self._head.norm
        source = Source(
            name=name,
            identity={
                "weights_sha256": _weights_digest(network),
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
        super().__init__(source, _Features(frozen), None, device)

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

    def _checked_logits(self, name: str, network: nn.Module, probe: Tensor) -> Tensor:
        """Return the network's logits of ``probe``, ``(2, C)``."""
        try:
            with torch.no_grad():
                logits, again, alone = (_tensor(network(pixels)) for pixels in (probe, probe, probe[:1]))
        except Exception as error:
            reason = describe_error(error)
            raise UserError(f"network {name} fails on images {tuple(probe.shape)}: {reason}", 2) from error
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(probe):
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise UserError(f"network {name} returns {found} for {tuple(probe.shape)}; it must return logits (B, C)", 2)
        if logits.layout != torch.strided or not logits.is_floating_point():
            kind = f"{logits.dtype} values ({logits.layout})"
            raise UserError(f"network {name} returns {kind}; it must return dense floating-point logits", 2)
        if not bool(logits.isfinite().all()):
            raise UserError(f"network {name} returns logits that are not finite", 2)
        if not torch.equal(again, logits):
            raise UserError(f"network {name} is random: it returns other logits for the same images each time", 2)
        if not same_logits(logits[:1].float(), alone.float()):
            raise UserError(f"network {name} returns other logits for an image alone than in a batch", 2)
        if logits.shape[1] != len(self.classes):
            raise UserError(
                f"network {name} returns {logits.shape[1]} logits per image, but {len(self.classes)} class names "
                "were given",
                2,
            )
        return logits.float()


class _Features(nn.Module):
    """What the head sees, with the constants of ``LinearHead`` behind it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed images ``(B, 3, S, S)`` as ``(B, F)``."""
        return with_constants(_tensor(self.network(pixels)).float())


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


def _tensor(output: Any) -> Any:
    return output if isinstance(output, Tensor) else getattr(output, "logits", output)


def _take_head(name: str, network: nn.Module, probe: Tensor, logits: Tensor) -> tuple[LinearHead, str]:
    """Take the last linear layer off ``network``; return it and its name.

    Where the network cannot be divided so, it stays whole, the head is the identity, and the name is empty.
    """
    path = _last_linear(network, probe, logits)
    if path:
        head = network.get_submodule(path)
        taken = LinearHead(name, head)
        replace_with_identity(network, path)
        try:
            with torch.no_grad():
                features = _tensor(network(probe))
            divided = features.shape == (len(probe), taken.width) and same_logits(logits, taken.logits(features))
        except Exception:  # a network may read its head's attributes: it is taken whole
            divided = False
        if divided:
            return taken, path
        parent, _, attribute = path.rpartition(".")
        setattr(network.get_submodule(parent), attribute, head)
    identity = nn.Linear(logits.shape[1], logits.shape[1], bias=False, device=logits.device)
    with torch.no_grad():
        identity.weight.copy_(torch.eye(logits.shape[1]))
    return LinearHead(name, identity), ""


def _last_linear(network: nn.Module, probe: Tensor, logits: Tensor) -> str:
    """Return the name of the linear layer whose output is the network's; empty where there is none."""
    outputs: dict[str, list[Tensor]] = {}

    def remember(path: str) -> Any:
        return lambda _module, _inputs, output: outputs.setdefault(path, []).append(output)

    linear = [(path, module) for path, module in network.named_modules() if path and type(module) is nn.Linear]
    handles = [module.register_forward_hook(remember(path)) for path, module in linear]
    try:
        with torch.no_grad():
            network(probe)
    finally:
        for handle in handles:
            handle.remove()
    equal = [path for path, found in outputs.items() if len(found) == 1 and torch.equal(found[0].float(), logits)]
    return equal[-1] if equal else ""


def _weights_digest(network: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if isinstance(tensor, Tensor):
            content = tensor.detach().cpu().contiguous()
            digest.update(f"{name} {content.dtype} {tuple(content.shape)}\n".encode())
            digest.update(content.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
