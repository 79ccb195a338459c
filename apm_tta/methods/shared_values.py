"""What all methods share: the teacher's input and features of a batch, computed once and by no method's own code."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from apm_tta.methods.batch import Batch, CommonKey
from apm_tta.methods.views import Views, ViewSpec, normalized, stack_pixels
from apm_tta.teachers import Teacher

# More gain nothing on a CPU: what is computed together then no longer fits its caches.
_ENCODED_AT_ONCE = {"cpu": 16, "cuda": 256}


def loaded_pixels_key(teacher: Teacher) -> CommonKey:
    """Return the key of the teacher's input on the CPU, which a loader may have made."""
    return CommonKey("loaded pixels", (teacher,))


def pixels_key(teacher: Teacher) -> CommonKey:
    """Return the key of what ``pixels_of`` returns."""
    return CommonKey("pixels", (teacher,))


def features_key(teacher: Teacher) -> CommonKey:
    """Return the key of what ``features_of`` returns, which a cache on disk may have."""
    return CommonKey("features", (teacher,))


def views_key(teacher: Teacher, spec: ViewSpec, seed: int) -> CommonKey:
    """Return the key of the views of every image beside its evaluation crop, ``uint8``."""
    return CommonKey("views", (teacher, spec, seed))


def pixels_of(batch: Batch, teacher: Teacher) -> Tensor:
    """Return the teacher's input: evaluation crops, normalised, on its device, ``(B, 3, S, S)``."""

    def prepare() -> Tensor:
        return torch.stack([teacher.preprocess(image) for image in batch.images])

    def move() -> Tensor:
        return batch.shared.get(loaded_pixels_key(teacher), prepare).to(teacher.device, non_blocking=True)

    return batch.shared.get(pixels_key(teacher), move)


def features_of(batch: Batch, teacher: Teacher) -> Tensor:
    """Return the teacher's embeddings of the evaluation crops, ``(B, F)``, not normalised."""
    return batch.shared.get(features_key(teacher), lambda: _encode(pixels_of(batch, teacher), teacher))


def view_pixels_of(batch: Batch, teacher: Teacher, index: int, spec: ViewSpec, seed: int) -> Tensor:
    """Return the teacher's input for the views of one image, the evaluation crop first, ``(N, 3, S, S)``."""
    views = _views_of(batch, teacher, spec, seed)
    return stack_pixels(pixels_of(batch, teacher)[index], views[index], teacher.preprocessing)


def view_features_of(batch: Batch, teacher: Teacher, spec: ViewSpec, seed: int) -> Tensor:
    """Return the teacher's embeddings of the views ``(B, N, F)``, not normalised; index 0 is ``features_of``."""

    def encode() -> Tensor:
        first = features_of(batch, teacher)[:, None]
        if spec.count == 1:
            return first
        parts = torch.cat(_views_of(batch, teacher, spec, seed)).split(_encoded_at_once(teacher))
        encoded = [_encode(normalized(part, teacher.preprocessing, teacher.device), teacher) for part in parts]
        return torch.cat([first, torch.cat(encoded).unflatten(0, (len(batch), spec.count - 1))], dim=1)

    return batch.shared.get(CommonKey("view features", (teacher, spec, seed)), encode)


def cosine_logits(teacher: Teacher, class_weights: Tensor, features: Tensor) -> Tensor:
    """Compute logits ``(..., C)`` of features ``(..., F)``, not normalised, against unit rows ``(C, F)``.

    In float32 under autocast too: bfloat16 would round a logit of 25 to the next eighth, and make ties.
    """
    with torch.autocast(teacher.device.type, enabled=False):
        precise = features.float()
        return teacher.scales(precise) * normalize(precise, dim=-1) @ class_weights.T


def _views_of(batch: Batch, teacher: Teacher, spec: ViewSpec, seed: int) -> list[Tensor]:
    """Return views 1 .. N - 1 of every image, ``uint8``, of which methods see copies."""

    def make() -> list[Tensor]:
        views = Views(spec, teacher.preprocessing, seed)
        return [views.of(sample_id, image) for sample_id, image in zip(batch.ids, batch.images, strict=True)]

    return batch.shared.get(views_key(teacher, spec, seed), make, lend=False)


def _encode(pixels: Tensor, teacher: Teacher) -> Tensor:
    with torch.no_grad():
        return torch.cat([teacher.encode_image(part) for part in pixels.split(_encoded_at_once(teacher))])


def _encoded_at_once(teacher: Teacher) -> int:
    return _ENCODED_AT_ONCE.get(teacher.device.type, _ENCODED_AT_ONCE["cpu"])
