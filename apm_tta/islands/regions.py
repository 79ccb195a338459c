r"""Islands: the fewest connected regions of a picture whose mean features say enough about their locations.

Ward's method with a picture's neighbours as the only ones that may merge (scikit-learn) joins regions one by one, each
time those two whose merging adds least to

.. math:: W = \frac1L \sum_l \lVert u_l - \bar u_{r(l)} \rVert^2

with unit features :math:`u_l` and the mean :math:`\bar u_r` of a region. Islands are the regions before W exceeds half
of what it is for the whole picture, or 0.05, whichever is more: features that agree to within that are one island. A
rule on neighbours' cosines would depend on how far apart neighbours lie: in a picture enlarged four times, all are
alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn.functional import normalize

EXPLAINED = 0.5
ALIKE = 0.05
"""Mean squared distance of unit features to their mean that is taken for agreement: a cosine of 0.975."""


@dataclass(frozen=True)
class Regions:
    """The order in which the L locations of a picture merge.

    Attributes:
        shape: rows and columns.
        merged: the two regions of every merge, ``(L - 1, 2)``; locations are 0 .. L - 1, merge m makes region L + m.
        within: W after 0 .. L - 1 merges, ``(L,)``.
    """

    shape: tuple[int, int]
    merged: npt.NDArray[np.int64]
    within: npt.NDArray[np.float64]

    def count(self, explained: float = EXPLAINED) -> int:
        """Return the number of islands.

        Args:
            explained: share of the whole picture's W that they explain, 0 .. 1.
        """
        bound = max((1 - explained) * self.within[-1], ALIKE)
        return len(self.within) - int(np.flatnonzero(self.within <= bound)[-1])

    def labels(self, count: int) -> npt.NDArray[np.int64]:
        """Return the region of every location, ``(h, w)``, 0 .. ``count`` - 1, when there are ``count`` of them.

        Raises:
            ValueError: when there never are as many.
        """
        locations = len(self.within)
        if not 1 <= count <= locations:
            raise ValueError(f"{locations} locations do not form {count} regions")
        merges = locations - count
        made = np.arange(locations, locations + merges)
        ends = (np.repeat(made, 2), self.merged[:merges].ravel())
        links = coo_array((np.ones(len(ends[0])), ends), shape=(locations + merges, locations + merges))
        found = connected_components(links, directed=False)[1][:locations]
        labels: npt.NDArray[np.int64] = np.unique(found, return_inverse=True)[1].reshape(self.shape)
        return labels


def merge_regions(features: Tensor) -> Regions:
    """Merge the locations of features ``(h, w, C)``, at least two, until one region is left."""
    from sklearn.cluster import ward_tree
    from sklearn.feature_extraction.image import grid_to_graph

    height, width, _ = features.shape
    units = normalize(features.detach().double().cpu(), dim=-1).flatten(0, 1).numpy()
    neighbours = grid_to_graph(height, width)
    merged, _, _, _, distances = ward_tree(units, connectivity=neighbours, return_distance=True)
    # The distance of Ward's method is the root of twice what a merge adds to the sum of squares.
    within = np.concatenate([[0.0], np.cumsum(distances**2 / 2)]) / (height * width)
    return Regions((height, width), np.asarray(merged, dtype=np.int64), within)
