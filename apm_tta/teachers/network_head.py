"""The last linear layer of any network that classifies: found by what it returns, taken off, and kept as class weights.

Used for networks that a caller has, and for those that are found by name.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from apm_tta.errors import UserError, describe_error
from apm_tta.teachers.linear_head import LinearHead, replace_with_identity, same_logits, with_constants


class HeadlessNetwork(nn.Module):
    """What the head of a network sees.

    Args:
        network: without its head.
        constants: whether the constants of ``LinearHead`` stand behind the features.
    """

    def __init__(self, network: nn.Module, constants: bool = True) -> None:
        super().__init__()
        self.network = network
        self._constants = constants

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed images ``(B, 3, S, S)`` as ``(B, F)``."""
        features: Tensor = _tensor(self.network(pixels)).float()
        return with_constants(features) if self._constants else features


def checked_logits(owner: str, network: nn.Module, probe: Tensor, classes: int) -> Tensor:
    """Return a network's logits of two images, ``(2, C)``, once it is known to give each image logits of its own.

    Args:
        owner: of the network, for messages: ``network Mine``, ``teacher torchvision:...``.
        network: in evaluation mode.
        probe: the images, ``(2, 3, S, S)``.
        classes: C.

    Raises:
        UserError: when it does not take such images, or its output is not one finite logit per class that depends on
            the image alone. Exit code 2.
    """
    try:
        with torch.no_grad():
            logits, again, alone = (_tensor(network(pixels)) for pixels in (probe, probe, probe[:1]))
    except Exception as error:
        reason = describe_error(error)
        raise UserError(f"{owner} fails on images {tuple(probe.shape)}: {reason}", 2) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(probe):
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UserError(f"{owner} returns {found} for {tuple(probe.shape)}; it must return logits (B, C)", 2)
    if logits.layout != torch.strided or not logits.is_floating_point():
        kind = f"{logits.dtype} values ({logits.layout})"
        raise UserError(f"{owner} returns {kind}; it must return dense floating-point logits", 2)
    if not bool(logits.isfinite().all()):
        raise UserError(f"{owner} returns logits that are not finite", 2)
    if not torch.equal(again, logits):
        raise UserError(f"{owner} is random: it returns other logits for the same images each time", 2)
    if not same_logits(logits[:1].float(), alone.float()):
        raise UserError(f"{owner} returns other logits for an image alone than in a batch", 2)
    if logits.shape[1] != classes:
        raise UserError(
            f"{owner} returns {logits.shape[1]} logits per image, but {classes} class names were given", exit_code=2
        )
    return logits.float()


def take_head(owner: str, network: nn.Module, probe: Tensor, logits: Tensor) -> tuple[LinearHead, str]:
    """Take the last linear layer off ``network``; return it and its name.

    Where the network cannot be divided so, it stays whole, the head is the identity, and the name is empty.

    Args:
        owner: see ``checked_logits``.
        network: changed in place.
        probe: see ``checked_logits``.
        logits: what that returned.

    Raises:
        UserError: when the head was never trained, or the network answers every image alike. Exit code 2.
    """
    name = owner.partition(" ")[2]
    head, path = _divide(name, network, probe, logits)
    if bool((logits[0] == logits[1]).all()):
        raise UserError(f"{owner} returns the same logits for every image", 2)
    return head, path


def _divide(name: str, network: nn.Module, probe: Tensor, logits: Tensor) -> tuple[LinearHead, str]:
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


def _tensor(output: Any) -> Any:
    return output if isinstance(output, Tensor) else getattr(output, "logits", output)


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
