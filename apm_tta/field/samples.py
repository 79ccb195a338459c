"""Training and validation images with their targets: pixels for the APM, the teacher's tokens at the same locations."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize, pad
from torchvision.transforms.functional import hflip

from apm_tta.apm import APMConfig
from apm_tta.apm.heads import rgb_target
from apm_tta.apm.memory import free_memory
from apm_tta.data.unlabelled import Unlabelled, by_digest
from apm_tta.field.between import draw_places, fine_tokens, values_at
from apm_tta.islands.targets import resample
from apm_tta.methods.apm_input import apm_input
from apm_tta.randomness import torch_generator
from apm_tta.system.cores import usable_cores
from apm_tta.teachers import Teacher
from apm_tta.teachers.square import Square
from apm_tta.wording import pluralise

T = TypeVar("T")
Progress = Callable[[Sequence[Sequence[int]]], Iterable[Sequence[int]]]
"""Wraps batches that are iterated over, as a progress bar does."""

_VALIDATION = 0.1
_AT_ONCE = 64
_SHARE_OF_FREE = 0.5
_AREA, _STRETCH = (0.7, 1.0), 1.1


class SampleBatch(NamedTuple):
    """B samples, with targets at as many places as there are locations.

    Attributes:
        pixels: the APM's input before it is normalised, ``(B, 3, S, S)``, uint8.
        tokens: the teacher's tokens, ``(B, g * g, F)``.
        colours: means of the image's patches, ``(B, g * g, 3)``; of a fine field of smaller squares.
        places: where the targets are, ``(B, g * g, 2)``; ``(B, 0, 2)`` where they are at the grid's locations.
        embeddings: the teacher's embeddings as unit vectors, filled with zeros, ``(B, F)``; of a fine field only, else
            ``(B, 0)``.
    """

    pixels: Tensor
    tokens: Tensor
    colours: Tensor
    places: Tensor
    embeddings: Tensor

    def locations(self, chosen: Tensor) -> Tensor:
        """Return where targets of these indices ``(L,)`` are, as ``APM.query`` takes it."""
        return self.places[:, chosen] if self.places.shape[1] else chosen

    def nearest(self) -> Tensor:
        """Return the location that is nearest to each target's place, ``(B, g * g)``."""
        count = self.tokens.shape[1]
        if not self.places.shape[1]:
            return torch.arange(count).expand(len(self.tokens), -1)
        grid = math.isqrt(count)
        rows, columns = self.places.round().long().clamp(0, grid - 1).unbind(-1)
        return rows * grid + columns


def split(images: Sequence[Unlabelled]) -> tuple[list[Unlabelled], list[Unlabelled]]:
    """Split into training and validation images: one in ten is held out, by the lowest SHA-256 of its id; at least one.

    Raises:
        ValueError: for fewer than two images.
    """
    if len(images) < 2:
        given = pluralise(len(images), "image")
        raise ValueError(f"{given} cannot be split into training and validation; at least 2 are needed")
    held_out = {image.id for image in by_digest(images)[: max(1, round(_VALIDATION * len(images)))]}
    return [image for image in images if image.id not in held_out], [image for image in images if image.id in held_out]


class Samples:
    """Views of images with their targets.

    Where all of them fit into half of the free memory they are computed once, in a fixed order, and kept; otherwise
    each is computed whenever it is requested. Sample n is view ``n % views`` of image ``n // views``.

    Args:
        images: in a fixed order.
        teacher: provides the targets.
        layer: the layer of the teacher whose tokens they are.
        config: the APM's sizes.
        views: number of views of every image; the first is the image itself.
        seed: seed of the views, and of the places.
        factor: tokens per side for each of the teacher's; above 1 targets are at drawn places, and the embedding is a
            target too.
    """

    def __init__(
        self,
        images: Sequence[Unlabelled],
        teacher: Teacher,
        layer: int,
        config: APMConfig,
        views: int,
        seed: int,
        factor: int = 1,
    ) -> None:
        self._images, self._teacher, self._layer, self._config = images, teacher, layer, config
        self._views, self._seed, self._factor = views, seed, factor
        self._square, self._teacher_square = apm_input(config.image_size), Square(teacher.preprocessing)
        self._kept: SampleBatch | None = None

    @property
    def ids(self) -> list[str]:
        """The images' ids."""
        return [image.id for image in self._images]

    def __len__(self) -> int:
        return len(self._images) * self._views

    def keep(self, progress: Progress) -> bool:
        """Compute all samples now where memory has room for them; return whether it had."""
        locations, side = self._config.grid**2, self._config.image_size
        each = 3 * side**2 + 4 * locations * (self._config.feature_dim + 5) + 4 * self._config.feature_dim
        if len(self) * each > _SHARE_OF_FREE * free_memory(torch.device("cpu")):
            return False
        batches = [range(start, min(start + _AT_ONCE, len(self))) for start in range(0, len(self), _AT_ONCE)]
        computed = [self._compute(batch) for batch in progress(batches)]
        self._kept = SampleBatch(*(torch.cat(parts) for parts in zip(*computed, strict=True)))
        return True

    def get(self, indices: Sequence[int]) -> SampleBatch:
        """Return samples, on the CPU.

        Raises:
            UserError: when an image cannot be read.
        """
        if self._kept is None:
            return self._compute(indices)
        rows = torch.tensor(indices)
        return SampleBatch(*(part[rows] for part in self._kept))

    def normalized(self, pixels: Tensor) -> Tensor:
        """Normalise pixels that ``get`` returned, on any device, to the APM's input."""
        return self._square.normalized(pixels)

    @torch.no_grad()
    def _compute(self, indices: Sequence[int]) -> SampleBatch:
        squares = _in_threads(self._read, indices)
        for_teacher = torch.stack([square for _, square in squares]).to(self._teacher.device)
        inputs = self._teacher_square.normalized(for_teacher)
        pixels = torch.stack([square for square, _ in squares])
        images = self._square.normalized(pixels)
        if self._factor > 1:
            return SampleBatch(pixels, *self._between(indices, inputs, images))
        grid = self._config.grid
        tokens = resample(self._teacher.encode_grid(inputs, self._layer), grid).flatten(1, 2)
        colours = rgb_target(images, self._config.patch_size)
        none = torch.zeros(len(indices), 0)
        return SampleBatch(pixels, self._filled(tokens), colours, none[..., None].expand(-1, -1, 2), none)

    def _between(self, indices: Sequence[int], inputs: Tensor, images: Tensor) -> tuple[Tensor, ...]:
        """Compute targets at drawn places: tokens, colours, the places themselves, and embeddings."""
        grid, factor = self._config.grid, self._factor
        names = [(self._images[index // self._views].id, index % self._views) for index in indices]
        generators = [torch_generator(self._seed, name, f"places in view {view} of a field") for name, view in names]
        places = torch.stack([draw_places(grid, grid**2, generator) for generator in generators])
        tokens = fine_tokens(self._teacher, inputs, self._layer, factor, grid).cpu()
        cells = rgb_target(images, self._config.patch_size // factor).unflatten(1, (grid * factor, grid * factor))
        embeddings = normalize(self._teacher.encode_image(inputs).float(), dim=-1)
        found = [values_at(values, places, grid) for values in (tokens, cells)]
        return self._filled(found[0]), found[1], places, self._filled(embeddings)

    def _filled(self, features: Tensor) -> Tensor:
        return pad(features, (0, self._config.feature_dim - features.shape[-1])).cpu()

    def _read(self, index: int) -> tuple[Tensor, Tensor]:
        image = self._images[index // self._views]
        view = view_of(image.read(), image.id, index % self._views, self._seed)
        return self._square.bytes(view), self._teacher_square.bytes(view)


def view_of(image: Image.Image, sample_id: str, view: int, seed: int) -> Image.Image:
    """Return the image itself, or a crop of 0.7 to 1 of its area, stretched by at most 10 %, flipped at random."""
    if view == 0:
        return image
    generator = torch_generator(seed, sample_id, f"view {view} for a field")
    area, stretch, left, top, flip = torch.rand(5, generator=generator).tolist()
    side = math.sqrt(_AREA[0] + area * (_AREA[1] - _AREA[0]))
    ratio = _STRETCH ** (2 * stretch - 1)
    width = min(image.width, max(1, round(image.width * side * ratio)))
    height = min(image.height, max(1, round(image.height * side / ratio)))
    x, y = round(left * (image.width - width)), round(top * (image.height - height))
    crop = image.crop((x, y, x + width, y + height))
    return hflip(crop) if flip < 0.5 else crop


def images_digest(images: Sequence[Unlabelled], validation: Sequence[Unlabelled], size: int) -> str:
    """Return the SHA-256 of all ``images``' ids and of the ``validation`` images' pixels as squares of ``size``."""
    digest = hashlib.sha256("\n".join(image.id for image in images).encode())
    square = apm_input(size)
    for pixels in _in_threads(lambda image: square.bytes(image.read()), validation):
        digest.update(pixels.numpy().tobytes())
    return digest.hexdigest()


def _in_threads(work: Callable[[Any], T], items: Sequence[Any]) -> list[T]:
    """Return the results in order; decoding and resizing release Python's lock."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(work, items))
