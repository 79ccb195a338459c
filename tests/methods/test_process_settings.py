"""Settings of the process, while a thread that loads images has lifted Pillow's limit."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import torch
from PIL import Image

from apm_tta.data.image_files.size_limit import pillows_limit_lifted
from apm_tta.guard.process_state import StateChanged, isolated

CPU = torch.device("cpu")


def test_a_method_is_not_blamed_for_a_limit_that_a_loading_thread_lifts() -> None:
    before = Image.MAX_IMAGE_PIXELS
    with ExitStack() as loading:
        loading.enter_context(pillows_limit_lifted())
        with isolated(0, CPU):
            loading.close()
    with ExitStack() as loading, isolated(0, CPU):
        loading.enter_context(pillows_limit_lifted())
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_limit_that_a_method_sets_is_put_back() -> None:
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(StateChanged, match="MAX_IMAGE_PIXELS"), isolated(0, CPU):
        Image.MAX_IMAGE_PIXELS = 7
    assert before == Image.MAX_IMAGE_PIXELS
