"""One condition after another without a reset (CoTTA, arXiv 2203.13591)."""

from __future__ import annotations

from apm_tta.harness.streams.setting import StreamSetting, register


@register
class Continual(StreamSetting):
    """Each condition shuffled; methods keep what they learned of the conditions before."""

    name = "continual"
    default_reset = "dataset"
