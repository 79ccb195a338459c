"""The revision of the code that all methods share."""

from __future__ import annotations

ENGINE_REVISION = 2
"""Raise it in a commit that changes numbers through shared code: the APM's fit, preprocessing, views, streams.

Whether two runs may be joined is decided not by their commits but by the revisions: this integer, one per method
(``Method.revision``) and one per family of corruptions (``apm_tta.data.corruptions.REVISIONS``). A run folder with
another revision holds another run.
"""
