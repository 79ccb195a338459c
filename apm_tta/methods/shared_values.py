"""What all methods share: the teacher's input and features of a batch, computed once and by no method's own code."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from apm_tta.methods.batch import Batch, CommonKey
from apm_tta.methods.preparation import Preparation
from apm_tta.methods.views import drawn_views
from apm_tta.precision import full_precision
from apm_tta.teachers import Teacher
from apm_tta.teachers.evaluation_crop import EvaluationCrop, normalized
from apm_tta.views import ViewSpec, make_views


class _Crop:
    """A preparation whose result does not depend on the image's id."""

    def __init__(self, crop: EvaluationCrop) -> None:
        self._crop = crop

    def __call__(self, _sample_id: str, image: Image.Image) -> Tensor:
        return self._crop(image)


_CROPS: WeakKeyDictionary[Teacher, _Crop] = WeakKeyDictionary()
# More gain nothing on a CPU: what is computed together then no longer fits its caches.
_ENCODED_AT_ONCE = {"cpu": 16, "cuda": 256}
_VIEWS_TOGETHER = 512
"""Views that are made at once on a GPU: 77 MB at 224 pixels, four times that with AugMix."""


def evaluation_crops(teacher: Teacher) -> Preparation:
    """Return what makes the teacher's evaluation crops: ``uint8`` where it normalises bytes; see ``EvaluationCrop``."""
    if teacher not in _CROPS:
        _CROPS[teacher] = _Crop(EvaluationCrop(teacher.preprocess, teacher.preprocessing))
    return Preparation(CommonKey("teacher's input", (teacher,)), _CROPS[teacher])


def pixels_key(teacher: Teacher) -> CommonKey:
    """Return the key of what ``pixels_of`` returns."""
    return CommonKey("pixels", (teacher,))


def features_key(teacher: Teacher) -> CommonKey:
    """Return the key of what ``features_of`` returns, which a cache on disk may have."""
    return CommonKey("features", (teacher,))


def whole_images_key(device: torch.device) -> CommonKey:
    """Return the key of what ``whole_images`` returns."""
    return CommonKey("whole images", (device,))


def view_pixels_key(teacher: Teacher, spec: ViewSpec, seed: int) -> CommonKey:
    """Return the key of the views that are held, before they are normalised, by the index of their image."""
    return CommonKey("view pixels", (teacher, spec, seed))


def view_features_key(teacher: Teacher, spec: ViewSpec, seed: int) -> CommonKey:
    """Return the key of what ``view_features_of`` returns."""
    return CommonKey("view features", (teacher, spec, seed))


def prepared(batch: Batch, preparation: Preparation) -> Tensor:
    """Return what ``preparation`` makes of the images, ``(B, ...)``: what a loading process made, or made here."""

    def make() -> Tensor:
        made = [preparation.make(name, image) for name, image in zip(batch.ids, batch.images, strict=True)]
        return torch.stack(made)

    return batch.shared.get(preparation.key, make, lend=False)


def whole_images(batch: Batch, device: torch.device) -> list[Tensor]:
    """Return the images on ``device``, ``(H, W, 3)`` each, ``uint8``; nobody may write into them."""

    def move() -> list[Tensor]:
        return [image.to(device) for image in batch.tensors]

    return batch.shared.get(whole_images_key(device), move, lend=False)


def pixels_of(batch: Batch, teacher: Teacher) -> Tensor:
    """Return the teacher's input: evaluation crops, normalised, on its device, ``(B, 3, S, S)``."""

    def normalise() -> Tensor:
        crops = prepared(batch, evaluation_crops(teacher)).to(teacher.device, non_blocking=True)
        return normalized(crops, teacher.preprocessing) if crops.dtype == torch.uint8 else crops

    return batch.shared.get(pixels_key(teacher), normalise)


def features_of(batch: Batch, teacher: Teacher) -> Tensor:
    """Return the teacher's embeddings of the evaluation crops, ``(B, F)``, not normalised."""
    return batch.shared.get(features_key(teacher), lambda: _encode(pixels_of(batch, teacher), teacher))


def view_pixels_of(batch: Batch, teacher: Teacher, index: int, spec: ViewSpec, seed: int) -> Tensor:
    """Return the teacher's input for the views of one image, the evaluation crop first, ``(N, 3, S, S)``.

    They are made for as many images together as memory allows; only those are kept.
    """
    first = pixels_of(batch, teacher)[index : index + 1]
    if spec.count == 1:
        return first
    held = batch.shared.get(view_pixels_key(teacher, spec, seed), dict[int, Tensor], lend=False)
    if index not in held:
        held.clear()
        together = range(index, min(index + _images_together(teacher, spec), len(batch)))
        made = _make_views(batch, teacher, slice(together.start, together.stop), spec, seed)
        held.update(zip(together, made, strict=True))
    return torch.cat([first, normalized(held[index], teacher.preprocessing)])


def view_features_of(batch: Batch, teacher: Teacher, spec: ViewSpec, seed: int) -> Tensor:
    """Return the teacher's embeddings of the views ``(B, N, F)``, not normalised; index 0 is ``features_of``."""

    def encode() -> Tensor:
        first = features_of(batch, teacher)[:, None]
        if spec.count == 1:
            return first
        together, encoded = _images_together(teacher, spec), []
        for start in range(0, len(batch), together):
            views = _make_views(batch, teacher, slice(start, start + together), spec, seed)
            for part in views.flatten(0, 1).split(_encoded_at_once(teacher)):
                encoded.append(_encode(normalized(part, teacher.preprocessing), teacher))
        return torch.cat([first, torch.cat(encoded).unflatten(0, (len(batch), spec.count - 1))], dim=1)

    return batch.shared.get(view_features_key(teacher, spec, seed), encode)


def cosine_logits(teacher: Teacher, class_weights: Tensor, features: Tensor) -> Tensor:
    """Compute logits ``(..., C)`` of features ``(..., F)``, not normalised, against unit rows ``(C, F)``.

    In float32 under autocast too: bfloat16 would round a logit of 25 to the next eighth, and make ties.
    """
    with full_precision(teacher.device.type):
        precise = features.float()
        return teacher.scales(precise) * normalize(precise, dim=-1) @ class_weights.T


def _make_views(batch: Batch, teacher: Teacher, part: slice, spec: ViewSpec, seed: int) -> Tensor:
    """Make views 1 .. N - 1 of some of the images, ``(b, N - 1, 3, S, S)``, on the teacher's device."""
    size = teacher.preprocessing.size
    draws = prepared(batch, drawn_views(spec, seed, size))
    return make_views(spec, size, whole_images(batch, teacher.device)[part], draws[part])


def _images_together(teacher: Teacher, spec: ViewSpec) -> int:
    """Return of how many images the views are made together: on a CPU of each by itself, as if it came alone."""
    return 1 if teacher.device.type == "cpu" else max(1, _VIEWS_TOGETHER // spec.count)


def _encode(pixels: Tensor, teacher: Teacher) -> Tensor:
    with torch.no_grad():
        return torch.cat([teacher.encode_image(part) for part in pixels.split(_encoded_at_once(teacher))])


def _encoded_at_once(teacher: Teacher) -> int:
    return _ENCODED_AT_ONCE.get(teacher.device.type, _ENCODED_AT_ONCE["cpu"])
