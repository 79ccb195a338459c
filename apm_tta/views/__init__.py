"""Random views of images: what they are, the choices behind them, and their pixels. Knows no teacher and no method."""

from __future__ import annotations

from apm_tta.views.draws import draw_views
from apm_tta.views.make import make_views
from apm_tta.views.spec import ViewSpec

__all__ = ["ViewSpec", "draw_views", "make_views"]
