"""What brightness and colour alone reach: the lines that features have to beat."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from apm_tta.islands.overlay import Labels
from apm_tta.islands.yardsticks.scores import COUNTS

_SIDE = 56  # on which colours are clustered


def otsu(image: Image.Image) -> Labels:
    """Return brighter and darker pixels, by Otsu's threshold (OpenCV), ``(N, N)``."""
    _, above = cv2.threshold(np.asarray(image.convert("L")), 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return above.astype(np.int64)


def colour_clusters(image: Image.Image, seed: int = 0) -> list[Labels]:
    """Return clusters of colours for each of ``COUNTS`` (k-means of scikit-learn), ``(56, 56)`` each.

    They need not be connected. Where there are fewer colours than clusters, there are fewer clusters.
    """
    from sklearn.cluster import KMeans

    small = image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX)
    colours = np.asarray(small, dtype=np.float64).reshape(-1, 3)
    different = len(np.unique(colours, axis=0))
    found = [KMeans(min(count, different), n_init=3, random_state=seed).fit_predict(colours) for count in COUNTS]
    return [labels.astype(np.int64).reshape(_SIDE, _SIDE) for labels in found]
