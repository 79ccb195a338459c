"""Islands in the report are those of the run's own fits."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image
from records_by_hand import read_plain, write_plain

from apm_tta.cli import main
from apm_tta.errors import UserError
from apm_tta.report import write_report
from apm_tta.report.html.formation import draw_islands
from apm_tta.report.run_data import read_report_data

WORDS = ["demo", "--limit", "20", "--corruptions", "contrast", "--severities", "5", "--quiet"]


@pytest.fixture(scope="module")
def real_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main([*WORDS, "--methods", "zeroshot,apm", "--set", "apm.iterations=9", "--out", str(out)]) == 0
    return out


def test_a_few_images_have_layers_and_five_iterations_over_them(real_run: Path) -> None:
    assert "<figcaption>" not in (real_run / "report.html").read_text()
    assert main(["report", str(real_run), "--islands", "2"]) == 0
    text = (real_run / "report.html").read_text()
    captions = re.findall(r"<figcaption>([^<]*)", text)
    names = [f"layer {layer}" for layer in range(5)] + [f"apm, iteration {at}" for at in (0, 2, 4, 6, 9)]
    assert [caption.partition(":")[0] for caption in captions] == names * 2
    assert re.findall(r'<figure data-name="([^"]*)"', text) == names * 2
    assert text.count('<input type="range" name="place" min="0" max="9" value="0">') == 2
    assert text.count("--photograph: url(data:image/") == 2
    ends = [re.search(r"cosine (-?[\d.]+) \(in the run (-?[\d.]+)\)", caption) for caption in captions[9::10]]
    assert all(end is not None and abs(float(end[1]) - float(end[2])) <= 0.001 for end in ends)


def test_the_recorded_cosines_of_islands_are_those_of_the_records(real_run: Path) -> None:
    by_image = draw_islands(read_report_data(real_run), 60, 2)
    assert 1 <= len(by_image) <= 2
    recorded = {}
    for condition in ("clean", "contrast-5"):
        table = pq.read_table(real_run / "records" / "apm" / condition / "episodic-seed-0-shard-00000.parquet")
        recorded |= {(condition, row["id"]): row["last_cosine"] for row in table.to_pylist()}
    for (condition, sample_id), islands in by_image.items():
        assert f"(in the run {recorded[condition.replace(' ', '-'), sample_id]:.3f})" in islands[-1].caption
        assert all(island.colours.startswith(b"\x89PNG") for island in islands)
        assert all(island.contours.startswith(b"\x89PNG") for island in islands)


def test_islands_have_the_resolution_that_is_asked_for(real_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = read_report_data(real_run)
    for fine in ("field", "shift"):
        for islands in draw_islands(data, 60, 1, 16, fine).values():
            assert {Image.open(io.BytesIO(island.colours)).size for island in islands} == {(16, 16)}
    capsys.readouterr()
    assert main(["report", str(real_run), "--islands", "1", "--resolution", "12"]) == 2
    assert "--resolution 12 is no multiple of a grid of 8 x 8" in capsys.readouterr().err
    assert main(["report", str(real_run), "--resolution", "16"]) == 2
    assert "add --islands and their number" in capsys.readouterr().err


def test_a_run_whose_fits_cannot_be_repeated_is_refused(real_run: Path, tmp_path: Path) -> None:
    """Its manifest has a different learning rate than the one its records were computed with."""
    other = Path(shutil.copytree(real_run, tmp_path / "other"))
    manifest = read_plain(other)
    manifest["numbers"]["methods"]["apm"]["learning_rate"] = 0.001
    write_plain(other, manifest)
    with pytest.raises(UserError, match="its islands would be those of a different fit"):
        write_report(other, islands=2)


def test_a_run_without_an_apm_has_no_islands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--methods", "zeroshot", "--out", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    assert main(["report", str(tmp_path / "run"), "--islands", "2"]) == 2
    assert "the run has no method apm" in capsys.readouterr().err
