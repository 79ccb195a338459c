"""Ways to features at more locations than a teacher's grid has; one file a way, found by name in ``WAYS``."""

from apm_tta.islands.fine import bilinear, shift, stride  # noqa: F401  each registers its way
from apm_tta.islands.fine.way import COSTS, PLAIN, WAYS, FineGrid, cell_centres, fine_grids, multiple_of, refuse_way

__all__ = ["COSTS", "PLAIN", "WAYS", "FineGrid", "cell_centres", "fine_grids", "multiple_of", "refuse_way"]
