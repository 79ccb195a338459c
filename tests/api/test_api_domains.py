"""A suite of several domains: each is a condition with its own number of images, and tables have the mean over them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

import apm_tta
from apm_tta.data.cards import load_card
from apm_tta.resources import DATASETS

IMAGES = {"photo": 14, "sketch": 21}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a small PACS of two domains, and a support set beside it."""
    root = tmp_path_factory.mktemp("pacs")
    generator = np.random.default_rng(3)
    for folder, images in {"PACS/photo": 2, "PACS/sketch": 3, "support": 1}.items():
        for name in load_card("pacs").class_list.folders:
            (root / folder / name).mkdir(parents=True)
            for number in range(images):
                pixels = generator.integers(0, 256, (28, 28, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / folder / name / f"{number}.png")
    return root


@pytest.fixture
def small_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """State the small numbers in PACS's card."""
    card = yaml.safe_load((DATASETS / "pacs.yaml").read_text(encoding="utf-8"))
    (tmp_path / "pacs.yaml").write_text(yaml.safe_dump({**card, "domains": IMAGES}), encoding="utf-8")
    monkeypatch.setattr("apm_tta.data.cards.DATASETS", tmp_path)


def run(root: Path, out: Path, domains: str) -> apm_tta.Run:
    given = {"data_root": root, "support": root / "support", "shots": 1, "teacher": "embedded-resnet", "workers": 0}
    return apm_tta.run("pacs", methods="zeroshot,norm", domains=domains, out=out, quiet=True, devices="cpu", **given)


@pytest.mark.usefixtures("small_card")
def test_domains_are_conditions_of_a_run(root: Path, tmp_path: Path) -> None:
    both = run(root, tmp_path / "both", "photo,sketch")
    assert dict(zip(both.results["corruption"], both.results["n"], strict=True)) == IMAGES
    assert set(both.results["severity"]) == {0}
    manifest = yaml.safe_load((tmp_path / "both" / "run.yaml").read_text(encoding="utf-8"))
    stated = manifest["numbers"]["dataset"]
    assert stated["images_per_condition"] == IMAGES
    assert stated["subset"] == "all 14 to 21 images"
    assert manifest["title"] == "PACS: 2 domains, 14 to 21 images each"
    text = (tmp_path / "both" / "results.md").read_text(encoding="utf-8")
    assert "## Mean over domains" in text
    assert "## Top-1 by domain" in text
    assert "severities" not in text
    tops = both.results[both.results["method"] == "norm"]["top1"]
    assert f"{tops.mean():.1f}" in text.partition("## Mean over domains")[2].partition("##")[0]
    page = (tmp_path / "both" / "report.html").read_text(encoding="utf-8")
    assert "Method by domain" in page

    sketch = run(root, tmp_path / "sketch", "sketch")
    table = apm_tta.compare(sketch, both)
    assert set(table["corruption"]) == {"sketch"}
    assert (table["delta"] == 0).all()
    pd.testing.assert_frame_equal(
        sketch.answers(corruption="sketch").drop(columns="microseconds", errors="ignore")[["id", "prediction"]],
        both.answers(corruption="sketch")[["id", "prediction"]],
    )


@pytest.mark.usefixtures("small_card")
def test_the_estimate_states_the_numbers_of_all_domains(root: Path) -> None:
    estimate = apm_tta.estimate(
        "pacs",
        methods="zeroshot",
        domains="photo,sketch",
        teacher="embedded-resnet",
        data_root=root,
        support=root / "support",
        shots=1,
        devices="cpu",
        workers=0,
    )
    assert (estimate.fewest_images, estimate.images) == (14, 21)
    assert "14 to 21 images per condition" in estimate.text()
