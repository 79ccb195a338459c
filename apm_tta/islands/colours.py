"""Features as colours: t-SNE in one and in three dimensions, three principal components (scikit-learn)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

Floats = npt.NDArray[np.float64]
Kind = Literal["tsne1", "tsne3", "pca"]

KINDS: dict[Kind, str] = {"tsne1": "1-D t-SNE", "tsne3": "3-D t-SNE", "pca": "PCA"}
# A tenth of the locations, at most t-SNE's usual 30: by trustworthiness on grids of 64, 196 and 784 locations.
_PERPLEXITY, _LOCATIONS_A_NEIGHBOUR, _LEAST = 30.0, 10, 5.0
_LARGEST = 32  # side of a grid that is embedded, the APM's; t-SNE of 112 x 112 locations takes minutes and gigabytes
_NEIGHBOURS = 5
_OUTERMOST = 2  # percent


@dataclass(frozen=True)
class Shading:
    """A grid of features as colours.

    Attributes:
        picture: RGB ``(h, w, 3)`` in 0 .. 1.
        trustworthiness: of the embedding (Venna and Kaski, 2001), 0 .. 1: whether the five locations whose colours are
            nearest to a location's are also near in its features; 1 where the features are all one.
    """

    picture: Floats
    trustworthiness: float


def colours(grids: Sequence[Tensor], kind: Kind, seed: int) -> list[Shading]:
    """Each grid of features ``(h, w, C)`` as colours.

    Every grid is embedded by itself. An embedding is known but for a rotation, which is chosen so that its colours
    differ least from those of the grid before, where that has the same locations: what changes from picture to picture
    has changed in the features. A grid of more than 32 locations a side is drawn as means of blocks.

    Args:
        grids: in the order in which they are shown; at least two locations each.
        kind: of embedding.
        seed: of t-SNE. With the same grids the result is the same, to the last bit, on any number of threads.
    """
    found: list[Shading] = []
    before: Floats | None = None
    for grid in map(_drawable, grids):
        points = _standardised(grid)
        embedded = _embedded(points, kind, seed)
        if before is not None and before.shape == embedded.shape:
            embedded = _turned(embedded, before)
        before = embedded
        found.append(Shading(_shaded(embedded).reshape(*grid.shape[:2], 3), _trustworthiness(points, embedded)))
    return found


def joint_colours(grids: Sequence[Tensor]) -> list[Floats]:
    """Grids ``(h, w, C)`` -> RGB ``(h, w, 3)`` each, by the three principal components of all of them together.

    The same feature has the same colour in every picture.
    """
    points = _standardised(torch.cat([grid.flatten(0, 1) for grid in grids])[None])
    shaded = _shaded(_embedded(points, "pca", 0))
    sizes = [grid.shape[0] * grid.shape[1] for grid in grids]
    parts = np.split(shaded, np.cumsum(sizes)[:-1])
    return [part.reshape(*grid.shape[:2], 3) for part, grid in zip(parts, grids, strict=True)]


def _drawable(grid: Tensor) -> Tensor:
    """The grid, or means of equal blocks of it, ``(h, w, C)``."""
    block = -(-max(grid.shape[:2]) // _LARGEST)
    if block == 1:
        return grid
    return avg_pool2d(grid.permute(2, 0, 1), block, ceil_mode=True).permute(1, 2, 0)


def _trustworthiness(points: Floats, embedded: Floats) -> float:
    from sklearn.manifold import trustworthiness

    neighbours = min(_NEIGHBOURS, (len(points) - 1) // 2)
    if not points.any() or not neighbours:
        return 1.0
    return float(trustworthiness(points, embedded, n_neighbors=neighbours))


def _standardised(grid: Tensor) -> Floats:
    """``(L, C)``, mean zero and mean square one: embeddings of features of 1e-4 and of 1e4 are alike.

    All zeros where the features are equal at every location but for what rounding leaves.
    """
    points: Floats = grid.detach().double().cpu().flatten(0, 1).numpy()
    centred = points - points.mean(0)
    scale = np.sqrt(np.mean(centred**2))
    if scale <= 1e-12 * np.abs(points).max(initial=0.0):
        return np.zeros_like(points)
    standardised: Floats = centred / scale
    return standardised


def _embedded(points: Floats, kind: Kind, seed: int) -> Floats:
    """``(L, C)`` -> ``(L, 1)`` or ``(L, 3)``; zeros where all points are one."""
    dimensions = 1 if kind == "tsne1" else 3
    if not points.any():
        return np.zeros((len(points), dimensions))
    if kind == "pca":
        return _principal(points)
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        # At 1,024 locations two threads took longer than one, and the order of their sums is promised by nobody.
        warnings.simplefilter("ignore", FutureWarning)
        wanted = min(_PERPLEXITY, max(_LEAST, len(points) / _LOCATIONS_A_NEIGHBOUR))
        perplexity = min(wanted, (len(points) - 1) / 3)
        embedding = TSNE(
            dimensions, perplexity=perplexity, init=_start(points, dimensions), random_state=seed, n_jobs=1
        )
        embedded: Floats = embedding.fit_transform(points.astype(np.float32)).astype(np.float64)
    return embedded


def _principal(points: Floats) -> Floats:
    """The first three principal components, ``(L, 3)``; those that there are not are zero."""
    from sklearn.decomposition import PCA

    most = min(3, *points.shape)
    components: Floats = PCA(most, svd_solver="full").fit_transform(points)
    return np.pad(components, ((0, 0), (0, 3 - most)))


def _start(points: Floats, dimensions: int) -> Any:
    """Where t-SNE begins: at the principal components, of the size that scikit-learn gives them."""
    components = _principal(points)[:, :dimensions]
    return (components / components[:, 0].std() * 1e-4).astype(np.float32)


def _turned(points: Floats, before: Floats) -> Floats:
    """``points`` turned, or mirrored, to lie as near to ``before`` as they can; distances stay as they are."""
    from scipy.linalg import orthogonal_procrustes

    centred, other = points - points.mean(0), before - before.mean(0)
    rotation, _ = orthogonal_procrustes(centred, other)
    turned: Floats = centred @ rotation
    return turned


def _shaded(points: Floats) -> Floats:
    """Coordinates ``(L, 1)`` or ``(L, 3)`` -> RGB ``(L, 3)``: a map of colours, or a coordinate a channel.

    All channels have one scale, so that a coordinate in which nothing differs does not look as if it did. It is that of
    all but the outermost 2 % on each side: t-SNE throws single points far out, beside which all others would be one.
    """
    low, high = np.percentile(points, [_OUTERMOST, 100 - _OUTERMOST], axis=0)
    span = (high - low).max()
    scaled = np.full_like(points, 0.5) if not span else np.clip((points - low) / span, 0, 1)
    if points.shape[1] == 3:
        return scaled
    import matplotlib

    shaded: Floats = matplotlib.colormaps["viridis"](scaled[:, 0])[:, :3]
    return shaded
