"""Independent images, condition by condition."""

from __future__ import annotations

from apm_tta.harness.streams.setting import StreamSetting, register


@register
class Independent(StreamSetting):
    """Each condition shuffled."""

    name = "iid"
