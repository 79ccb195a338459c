"""The revision of what every method shares."""

from __future__ import annotations

ENGINE_REVISION = 1
"""Raise it in the commit that changes numbers through what methods share: the APM's fit, preprocessing, views, streams.

What decides whether two runs may be joined is not the commit but what changes numbers: this integer, one a method
(``Method.revision``) and one a family of corruptions (``apm_tta.data.corruptions.REVISIONS``). A run folder of another
revision is another run.
"""
