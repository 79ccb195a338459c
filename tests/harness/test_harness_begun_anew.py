"""A folder in which nothing was answered yet holds no run: what was mended since is run there."""

from __future__ import annotations

from pathlib import Path

import pytest

import apm_tta
from apm_tta.errors import UserError
from apm_tta.methods import METHODS


def register(mended: bool) -> None:
    @apm_tta.register
    class Mine(apm_tta.Method):
        """Fail, unless it was mended."""

        name = "mine"
        protocol = "episodic"

        def predict(self, batch: apm_tta.Batch) -> apm_tta.Predictions:
            if not mended:
                raise ZeroDivisionError("a slip")
            return apm_tta.Predictions(self.logits(self.features(batch)))


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METHODS, "_entries", dict(METHODS.registered()))


def test_a_method_that_was_mended_is_run_in_the_same_folder(tmp_path: Path) -> None:
    options = {"methods": ["mine"], "corruptions": "", "limit": 10, "out": tmp_path / "run", "quiet": True}
    register(mended=False)
    with pytest.raises(UserError, match="ZeroDivisionError: a slip"):
        apm_tta.run("demo", **options)  # type: ignore[arg-type]
    register(mended=True)
    found = apm_tta.run("demo", **options)  # type: ignore[arg-type]
    assert len(found.results) == 1

    register(mended=False)
    with pytest.raises(UserError, match="holds another run"):
        apm_tta.run("demo", **options)  # type: ignore[arg-type]
