"""A network from images to logits that is found by its name, from whichever zoo: a head for its classes, or none."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from apm_tta.errors import UserError
from apm_tta.teachers.base import Classifier, Source
from apm_tta.teachers.built_teacher import BuiltTeacher
from apm_tta.teachers.checkpoints import one_line_errors
from apm_tta.teachers.head_labels import HeadLabels
from apm_tta.teachers.linear_head import LinearHead, probe_pixels
from apm_tta.teachers.measured_preprocessing import Transform
from apm_tta.teachers.network_head import HeadlessNetwork, checked_logits, take_head
from apm_tta.teachers.preprocessing import Preprocessing, patch_size

ADVICE = "use --classifier prototypes --support FOLDER"
NEAREST_NEIGHBOUR_TEMPERATURE = 0.07
"""Of DINO's nearest neighbours (arXiv 2104.14294), by which cosines with prototypes are divided."""

_CLASSIFIERS: tuple[Classifier, ...] = ("head", "prototypes")


@dataclass(frozen=True)
class Classified:
    """A network that can be built, and what is known of it before.

    Attributes:
        identity: what its features depend on besides preprocessing and head: ``weights_sha256``, ``architecture``, ...
        labels: classes of its logits.
        preprocessing: of its input.
        transform: makes its input.
        build: reads the weights and returns the network, on the CPU.
    """

    identity: Mapping[str, str]
    labels: HeadLabels
    preprocessing: Preprocessing
    transform: Transform
    build: Callable[[], nn.Module]


class ClassifierTeacher(BuiltTeacher):
    """A frozen network whose last linear layer gives class weights, and what goes into that, features; see ``Teacher``.

    Where the logits do not come straight from one linear layer, they are the features themselves. With the head, the
    features end in the constants 1 and 0, see ``LinearHead``.

    Raises:
        UserError: when the network does not give each image one finite logit per class. Exit code 2.
    """

    text_tower = None

    def __init__(self, source: Source, network: nn.Module, labels: HeadLabels, device: torch.device) -> None:
        self._labels = labels
        frozen = network.eval().requires_grad_(False).float().to(device)
        self.patch_size = patch_size(frozen)
        probe = probe_pixels(source.preprocessing.size, device)
        owner = f"teacher {source.name}"
        logits = checked_logits(owner, frozen, probe, labels.count)
        taken, _ = take_head(owner, frozen, probe, logits)
        self._head: LinearHead | None = taken if source.classifier == "head" else None
        self.logit_scale = 1 / NEAREST_NEIGHBOUR_TEMPERATURE if self._head is None else self._head.norm
        super().__init__(source, HeadlessNetwork(frozen, constants=self._head is not None), None, device)

    def class_weights(self, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
        """Return the head's rows for these classes; see ``Teacher.class_weights``. Templates are ignored.

        Raises:
            UserError: when the head has no rows for these classes, or prototypes were chosen. Exit code 2.
        """
        if self._head is None:
            raise UserError(f"teacher {self.name} was loaded without its head; {ADVICE}", exit_code=2)
        return self._head.weights(self._labels.rows(self.name, classes, ADVICE))


def classifier_source(name: str, classifier: str, found: Classified) -> Source:
    """Make the source of a network.

    Args:
        name: the teacher's.
        classifier: one of ``head`` and ``prototypes``, or ``auto`` for the head.
        found: the network.

    Raises:
        UserError: when it has no such classifier. Exit code 2.
    """
    chosen = next((each for each in _CLASSIFIERS if classifier in ("auto", each)), None)
    if chosen is None:
        raise UserError(f"teacher {name} has no {classifier}; its class weights come from its head, or {ADVICE}", 2)
    identity = {
        "preprocessing": json.dumps(asdict(found.preprocessing), sort_keys=True),
        **found.identity,
        "features": "before the head, then 1 and 0" if chosen == "head" else "before the head",
        **({"labels": found.labels.identity} if chosen == "head" else {}),
    }

    def build(device: torch.device) -> ClassifierTeacher:
        with one_line_errors(name):
            return ClassifierTeacher(source, found.build(), found.labels, device)

    source = Source(name, identity, chosen, _CLASSIFIERS, found.preprocessing, found.transform, build)
    return source
