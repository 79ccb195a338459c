"""What a teacher makes of decoded pictures: it encodes them anew, as it would photographs, and names the nearest class.

A field's own token or features would not do: what has driven a dream there says nothing of what can be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from apm_tta.data.cards import card_names, load_card
from apm_tta.dream.one_thread import one_thread
from apm_tta.teachers import TEMPLATES, Teacher
from apm_tta.teachers.square import Square

_AT_ONCE = 256


@dataclass(frozen=True)
class Judge:
    """A teacher with the classes among which it decides.

    Attributes:
        teacher: encodes pictures.
        classes: their names.
        weights: unit rows, ``(C, F)``.
    """

    teacher: Teacher
    classes: Sequence[str]
    weights: Tensor

    def probabilities(self, embeddings: Tensor) -> Tensor:
        """Return the probability of every class, ``(N, C)``, of unit embeddings ``(N, F)``."""
        logits = self.teacher.scales(embeddings) * (embeddings @ self.weights.T)
        return logits.softmax(-1)


def judge_of(teacher: Teacher, classes: Sequence[str]) -> Judge:
    """Return the judge for classes: their names, or the name of one data set whose card states them.

    Raises:
        UserError: when the teacher has no weights for them, or a card does not state them.
    """
    names, template = list(classes), TEMPLATES["simple"][0]
    if len(names) == 1 and names[0] in card_names():
        card = load_card(names[0])
        names, template = list(card.class_list.names), card.template
    with one_thread():
        return Judge(teacher, names, teacher.class_weights(names, [template]).float().cpu())


@torch.no_grad()
def encoded_pictures(teacher: Teacher, colours: Tensor) -> Tensor:
    """Encode pictures ``(N, h, w, 3)``, RGB in 0 .. 1, as the teacher does images: unit rows ``(N, F)`` on the CPU."""
    square = Square(teacher.preprocessing)
    parts = []
    for part in colours.split(_AT_ONCE):
        pixels = torch.stack([square(as_image(picture)) for picture in part]).to(teacher.device)
        parts.append(normalize(teacher.encode_image(pixels).float(), dim=-1).cpu())
    return torch.cat(parts)


def as_image(colours: Tensor) -> Image.Image:
    """Return colours ``(h, w, 3)`` as an image with one pixel for each."""
    return Image.fromarray(np.round(colours.clamp(0, 1).numpy() * 255).astype(np.uint8))
