"""Features of labelled images: class prototypes instead of a text tower, and the votes of nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from apm_tta.errors import UserError
from apm_tta.teachers.base import Classifier, Support, Teacher
from apm_tta.teachers.class_weight_checks import check_class_weights
from apm_tta.teachers.encoding_of import WrappingTeacher

_IMAGES_AT_ONCE = 64


def encode_support(
    teacher: Teacher, images: Sequence[tuple[Image.Image, int]], classes: Sequence[str], fingerprint: str
) -> Support:
    """Compute the teacher's features of labelled images.

    Raises:
        UserError: when a class has no image.
    """
    features, labels, remaining = [], [], iter(images)
    while part := list(islice(remaining, _IMAGES_AT_ONCE)):
        pixels = torch.stack([teacher.preprocess(image) for image, _ in part]).to(teacher.device)
        with torch.no_grad():
            encoded = teacher.encode_image(pixels)
        features.append(normalize(encoded[:, :-2] if teacher.classifier == "head" else encoded, dim=-1))
        labels += [label for _, label in part]
    if missing := sorted(set(range(len(classes))) - set(labels)):
        raise UserError(f"the support has no image of {classes[missing[0]]} (classes without an image: {len(missing)})")

    def read_again(index: int) -> Tensor:
        return teacher.preprocess(images[index][0])

    places = torch.tensor(labels, device=teacher.device)
    return Support(torch.cat(features), places, tuple(classes), fingerprint, read_again)


class SupportedTeacher(WrappingTeacher):
    """A teacher with labelled images, for ``knn`` and for class weights if ``prototypes`` is chosen.

    Everything else is delegated to the wrapped teacher, ``encoder``.

    Args:
        teacher: for prototypes it must not be loaded with its head, whose features end in constants.
        support: its features of labelled images.
        classifier: ``prototypes``, or the source of the teacher's own class weights.

    Raises:
        UserError: for prototypes of a teacher that was loaded with its head. Exit code 2.
    """

    def __init__(self, teacher: Teacher, support: Support, classifier: Classifier) -> None:
        if classifier == "prototypes" and teacher.classifier == "head":
            raise UserError(f"for prototypes load teacher {teacher.name} with classifier prototypes, not head", 2)
        super().__init__(teacher, {"support_sha256": support.fingerprint})
        self.support: Support = support
        self.classifier = classifier

    @property
    def tokenizer_sha256(self) -> str | None:
        """The wrapped teacher's ``Teacher.tokenizer_sha256``, if its own class weights were chosen."""
        return None if self.classifier == "prototypes" else self._teacher.tokenizer_sha256

    def class_weights(self, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
        r"""Return prototypes, or the teacher's own class weights if these were chosen.

        A prototype is the mean of a class's unit features, scaled to unit norm:

        .. math:: w_c = \frac{\sum_{i: y_i = c} f_i}{\lVert \sum_{i: y_i = c} f_i \rVert}

        Raises:
            UserError: when the support has other classes, or its prototypes tell none apart. Exit code 2.
        """
        if self.classifier != "prototypes":
            return super().class_weights(classes, templates)
        support = self.support
        if tuple(classes) != support.classes:
            raise UserError(
                f"the support has {len(support.classes)} classes, of which {support.classes[0]} is the first; they are "
                f"not the {len(classes)} requested, beginning with {classes[0] if classes else 'none'}",
                exit_code=2,
            )
        sums = support.features.new_zeros(len(classes), support.features.shape[1])
        prototypes = normalize(sums.index_add(0, support.labels, support.features), dim=-1)
        check_class_weights(self.name, "prototypes", classes, prototypes)
        return prototypes


def knn_logits(features: Tensor, support: Support, neighbours: int, temperature: float, classes: int) -> Tensor:
    r"""Count the votes of the nearest labelled images (DINO, arXiv 2104.14294, ``eval_knn.py``).

    .. math:: v_c = \sum_{i \in N_k(f)} [y_i = c] \exp(\cos(f, f_i) / \tau)

    Args:
        features: ``(B, F)``, of any norm; a linear head's two constants at their end are ignored.
        support: N labelled images; if they are fewer than ``neighbours``, all vote.
        neighbours: k.
        temperature: tau.
        classes: C.

    Returns:
        Votes as logits ``(B, C)``: their logarithms, so that a softmax returns each class's share of the votes. A class
        without a vote ranks below every class with one.
    """
    cosines = normalize(features[:, : support.features.shape[1]], dim=-1) @ support.features.T
    nearest = cosines.topk(min(neighbours, cosines.shape[1]), dim=1)
    # Relative to the nearest: the shares stay the same, and nothing overflows.
    votes = ((nearest.values - nearest.values[:, :1]) / temperature).exp()
    counted = votes.new_zeros(len(features), classes).scatter_add(1, support.labels[nearest.indices], votes)
    return counted.clamp_min(torch.finfo(counted.dtype).tiny).log()
