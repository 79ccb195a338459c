"""A small run that several tests of the Python interface read."""

from __future__ import annotations

import pytest

import apm_tta

METHODS = ("zeroshot", "mta", "apm", "tent")
SETTINGS = {"mta": {"views": 4}, "apm": {"iterations": 2}}


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> apm_tta.Run:
    """Run episodic methods and an online one on 70 images, clean and corrupted: more than one batch."""
    return apm_tta.run(
        "demo",
        teacher="embedded",
        methods=METHODS,
        corruptions="contrast",
        severities=5,
        limit=70,
        settings=SETTINGS,
        devices="cpu",
        quiet=True,
        out=tmp_path_factory.mktemp("api") / "run",
    )
