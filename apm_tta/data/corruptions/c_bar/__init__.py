"""The ten corruptions of ImageNet-C-bar (arXiv 2102.11273), chosen by its authors to be unlike ImageNet-C's.

Written from the published definition. Drawn numbers come in the order of the published code, so that the same state of
the same generator gives the same image, as ``tests/data/test_data_corruptions_c_bar.py`` compares. A corruption is
defined for a square: other images are cut from that of the longer side.
"""

from __future__ import annotations

# Imported because each of them registers its corruptions.
from apm_tta.data.corruptions.c_bar import caustics, checkerboard, perlin, sparkles, spectral, waves  # noqa: F401
