"""A server on this machine for every test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from download_server import Server, running


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as started:
        yield started
