"""What is forgotten is told by losses paired with those of fields that never saw the images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from docs_scripts import docs_script


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return docs_script("forgetting")


def losses(forgotten: float, others: float = 0.5) -> dict[str, Any]:
    noise = np.linspace(-0.1, 0.1, 50)
    return {
        "the forgotten": forgotten + noise,
        "others that it learned": others + noise,
        "images that none saw": 1.0 + noise,
    }


def test_the_forgotten_are_told_by_their_losses(script: dict[str, Any]) -> None:
    """A field with the losses of those that never saw the images is not told from them; one that knows them is."""
    found = script["summary"](
        {
            "untouched": losses(0.5),
            "never saw them, seed 1": losses(0.99),
            "never saw them, seed 2": losses(1.01),
            "perfect": losses(1.0),
            "dear": losses(1.0, others=0.9),
        }
    )
    assert found["untouched"]["membership"] == 1.0
    assert found["perfect"]["membership"] == pytest.approx(0.5)
    spread = {which: script["spread_of"](found, which) for which in losses(1.0)}
    assert spread["the forgotten"] == pytest.approx(0.02)
    verdicts = {name: script["verdict"](name, found[name], spread) for name in ("untouched", "perfect", "dear")}
    assert "by a loss that is lower" in verdicts["untouched"]
    assert "not told from" in verdicts["perfect"]
    assert "the others lose less" in verdicts["perfect"]
    assert "costs others that it learned more" in verdicts["dear"]
