"""Features as colours: t-SNE in one and in three dimensions, and three principal components (scikit-learn)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from apm_tta.errors import UserError

Floats = npt.NDArray[np.float64]
Kind = Literal["tsne1", "tsne3", "pca"]

KINDS: dict[Kind, str] = {"tsne1": "1-D t-SNE", "tsne3": "3-D t-SNE", "pca": "PCA"}
# A tenth of the locations, at most t-SNE's usual 30: chosen by trustworthiness on grids of 64, 196 and 784 locations.
_PERPLEXITY, _LOCATIONS_PER_NEIGHBOUR, _MIN_PERPLEXITY = 30.0, 10, 5.0
MOST_EMBEDDED = 32
"""Side of the largest grid that t-SNE embeds, the APM's: of 112 x 112 locations it takes minutes and gigabytes."""

_MOST_COMPARED = 32  # locations per side among which an embedding's nearest neighbours are looked for
_NEIGHBOURS = 5
_OUTERMOST = 2  # percent of the coordinates at each end


@dataclass(frozen=True)
class Shading:
    """A grid of features, drawn as colours.

    Attributes:
        picture: RGB ``(h, w, 3)`` in 0 .. 1.
        trustworthiness: trustworthiness of the embedding (Venna and Kaski, 2001), 0 .. 1: whether the five locations
            whose colours are nearest to a location's are also near in their features; 1 where all features are equal.
    """

    picture: Floats
    trustworthiness: float


def colours(grids: Sequence[Tensor], kind: Kind, seed: int) -> list[Shading]:
    """Draw each grid of features ``(h, w, C)`` as colours.

    Every grid is embedded on its own. An embedding is determined up to a rotation, which is chosen so that its colours
    differ least from those of the previous grid, if that has the same locations: what changes from picture to picture
    has changed in the features.

    Args:
        grids: in the order in which they are shown; at least two locations each.
        kind: kind of embedding.
        seed: seed of t-SNE. The same grids give the same result, to the last bit, on any number of threads.

    Raises:
        UserError: for t-SNE of more than 32 locations per side. Exit code 2.
    """
    for grid in grids:
        if kind != "pca" and max(grid.shape[:2]) > MOST_EMBEDDED:
            raise UserError(
                f"t-SNE draws at most {MOST_EMBEDDED} x {MOST_EMBEDDED} locations, not {grid.shape[0]} x "
                f"{grid.shape[1]}; choose --colours pca",
                exit_code=2,
            )
    shadings: list[Shading] = []
    previous: Floats | None = None
    for grid in grids:
        points = _standardise(grid)
        embedded = _embed(points, kind, seed)
        if previous is not None and previous.shape == embedded.shape:
            embedded = _turn_towards(embedded, previous)
        previous = embedded
        shadings.append(Shading(_shade(embedded).reshape(*grid.shape[:2], 3), _trustworthiness(grid, points, embedded)))
    return shadings


def joint_colours(grids: Sequence[Tensor]) -> list[Floats]:
    """Draw grids ``(h, w, C)`` as RGB ``(h, w, 3)`` by the three principal components of all of them together.

    The same feature has the same colour in every picture.
    """
    return [shading.picture for shading in joint_shadings(grids)]


def joint_shadings(grids: Sequence[Tensor]) -> list[Shading]:
    """Draw as ``joint_colours`` does, with the trustworthiness of each picture."""
    points = _standardise(torch.cat([grid.flatten(0, 1) for grid in grids])[None])
    embedded = _embed(points, "pca", 0)
    borders = np.cumsum([grid.shape[0] * grid.shape[1] for grid in grids])[:-1]
    parts = zip(grids, *(np.split(each, borders) for each in (points, embedded, _shade(embedded))), strict=True)
    return [
        Shading(shaded.reshape(*grid.shape[:2], 3), _trustworthiness(grid, own, placed))
        for grid, own, placed, shaded in parts
    ]


def _trustworthiness(grid: Tensor, points: Floats, embedded: Floats) -> float:
    """Compute the trustworthiness of an embedding; of a large grid, among at most 32 x 32 evenly spaced locations."""
    from sklearn.manifold import trustworthiness

    step = -(-max(grid.shape[:2]) // _MOST_COMPARED)
    places = np.arange(len(points)).reshape(grid.shape[:2])[::step, ::step].ravel()
    points, embedded = points[places], embedded[places]
    neighbours = min(_NEIGHBOURS, (len(points) - 1) // 2)
    if not points.any() or not neighbours:
        return 1.0
    return float(trustworthiness(points, embedded, n_neighbors=neighbours))


def _standardise(grid: Tensor) -> Floats:
    """Return the features as ``(L, C)`` with mean zero and mean square one, so that their scale does not matter.

    Embeddings of features of 1e-4 and of 1e4 are then alike. Where the features are equal at every location, up to
    rounding, all values are zero.
    """
    points: Floats = grid.detach().double().cpu().flatten(0, 1).numpy()
    centred = points - points.mean(0)
    scale = np.sqrt(np.mean(centred**2))
    if scale <= 1e-12 * np.abs(points).max(initial=0.0):
        return np.zeros_like(points)
    standardised: Floats = centred / scale
    return standardised


def _embed(points: Floats, kind: Kind, seed: int) -> Floats:
    """Embed points ``(L, C)`` as ``(L, 1)`` or ``(L, 3)``; zeros where all points are equal."""
    dimensions = 1 if kind == "tsne1" else 3
    if not points.any():
        return np.zeros((len(points), dimensions))
    if kind == "pca":
        return _principal_components(points)
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        # At 1,024 locations two threads took longer than one, and nothing guarantees the order of their sums.
        warnings.simplefilter("ignore", FutureWarning)
        preferred = min(_PERPLEXITY, max(_MIN_PERPLEXITY, len(points) / _LOCATIONS_PER_NEIGHBOUR))
        perplexity = min(preferred, (len(points) - 1) / 3)
        embedding = TSNE(
            dimensions, perplexity=perplexity, init=_initial_positions(points, dimensions), random_state=seed, n_jobs=1
        )
        embedded: Floats = embedding.fit_transform(points.astype(np.float32)).astype(np.float64)
    return embedded


def _principal_components(points: Floats) -> Floats:
    """Compute the first three principal components, ``(L, 3)``; missing ones are zero."""
    from sklearn.decomposition import PCA

    count = min(3, *points.shape)
    components: Floats = PCA(count, svd_solver="full").fit_transform(points)
    return np.pad(components, ((0, 0), (0, 3 - count)))


def _initial_positions(points: Floats, dimensions: int) -> Any:
    """Return the start of t-SNE: the principal components, scaled as scikit-learn scales them."""
    components = _principal_components(points)[:, :dimensions]
    return (components / components[:, 0].std() * 1e-4).astype(np.float32)


def _turn_towards(points: Floats, target: Floats) -> Floats:
    """Turn or mirror ``points`` to lie as near to ``target`` as possible; their distances stay unchanged."""
    from scipy.linalg import orthogonal_procrustes

    centred, other = points - points.mean(0), target - target.mean(0)
    rotation, _ = orthogonal_procrustes(centred, other)
    turned: Floats = centred @ rotation
    return turned


def _shade(points: Floats) -> Floats:
    """Convert coordinates ``(L, 1)`` or ``(L, 3)`` to RGB ``(L, 3)``: by a colour map, or one coordinate per channel.

    All channels share one scale, so that a coordinate in which nothing differs does not look as if it did. The scale
    leaves out the outermost 2 % on each side: t-SNE throws single points far out, beside which all others would look
    alike.
    """
    low, high = np.percentile(points, [_OUTERMOST, 100 - _OUTERMOST], axis=0)
    span = (high - low).max()
    scaled = np.full_like(points, 0.5) if not span else np.clip((points - low) / span, 0, 1)
    if points.shape[1] == 3:
        return scaled
    import matplotlib

    shaded: Floats = matplotlib.colormaps["viridis"](scaled[:, 0])[:, :3]
    return shaded
