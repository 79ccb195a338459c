"""A run folder's report files: complete, consistent with each other, and refused where the run is incomplete."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from records_by_hand import read_plain, rows_of_table, write_plain, write_rows

from apm_tta.data.sample import CLEAN, Condition
from apm_tta.errors import UserError
from apm_tta.harness.plan import Cell
from apm_tta.harness.storage.records import read_shard, write_digest
from apm_tta.report import write_report
from apm_tta.report.render import csv_text
from apm_tta.report.run_data import ReportData


def markdown_rows(text: str, heading: str) -> list[list[str]]:
    """Return the lines of the first table after ``heading``, without its header."""
    lines = text[text.index(heading) :].splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("|"))
    table = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table[2:]


@pytest.mark.parametrize(
    ("name", "frame"),
    [
        ("results.csv", "results"),
        ("iterations.csv", "iterations"),
        ("calibration.csv", "calibration"),
        ("trust.csv", "trust"),
    ],
)
def test_a_csv_parses_back_to_its_table(run_folder: Path, data: ReportData, name: str, frame: str) -> None:
    write_report(run_folder)
    empty = ["published_source", "published_differs", "beside", "times_disturbed", "tuned", "published_tuned"]
    empty += ["subset", "prompts"]
    expected = getattr(data, frame).drop(columns=empty, errors="ignore")
    parsed = pd.read_csv(run_folder / name, dtype={"batch_size": str}).drop(columns=empty, errors="ignore")
    pd.testing.assert_frame_equal(parsed, expected, check_dtype=False, rtol=1e-5)


def test_results_csv_begins_with_the_documented_columns(run_folder: Path) -> None:
    write_report(run_folder)
    documented = (
        "dataset,corruption,severity,setting,teacher,method,seed,n,errors,top1,top1_low,top1_high,top5,delta_zeroshot,"
        "delta_low,delta_high,p_mcnemar,agreement,ece,latency_ms_p50,latency_ms_p95,images_per_s,peak_memory_mb,"
        "gflop_per_image,forwards,backwards,published_top1,published_source,"
    )
    assert (run_folder / "results.csv").read_text().startswith(documented)


def test_results_md_equals_the_returned_text_and_has_the_numbers_of_the_csv(run_folder: Path) -> None:
    text = write_report(run_folder).text
    assert (run_folder / "results.md").read_text(encoding="utf-8") == text
    parsed = pd.read_csv(run_folder / "results.csv")
    rows = markdown_rows(text, "# Made by hand")
    assert len(rows) == len(parsed) == 10
    for row, (_, numbers) in zip(rows, parsed.iterrows(), strict=True):
        name = "clean" if numbers["corruption"] == "clean" else f"{numbers['corruption']} {numbers['severity']}"
        assert row[:3] == [name, numbers["method"], str(numbers["n"])]
        assert float(row[3]) == pytest.approx(numbers["top1"], abs=0.0501)
        low, high = map(float, row[4].split(" .. "))
        assert (low, high) == pytest.approx((numbers["top1_low"], numbers["top1_high"]), abs=0.0501)
        assert float(row[9]) == pytest.approx(numbers["agreement"], abs=0.0501)


def test_results_md_has_every_section_below_its_title_and_caption(run_folder: Path) -> None:
    text = write_report(run_folder).text
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == [
        "# Made by hand",
        "## Mean over corruptions",
        "## Top-1 by corruption, severity 3",
        "## Top-1 by corruption, severity 5",
        "## Trust",
        "## apm by iteration",
        "## Cost",
    ]
    assert "8 of 2000 images" in text
    assert "of which apm was right in 6 and the teacher in 2" in text
    assert markdown_rows(text, "## Mean over corruptions")[1] == ["mean of 2, severity 3", "apm", "43.8", "68.8"]
    assert markdown_rows(text, "## apm by iteration")[-1][:3] == ["2", "75.0", "75.0"]


def test_a_report_written_again_is_identical_to_the_byte(run_folder: Path) -> None:
    names = ("results.csv", "iterations.csv", "results.md", "results.tex", "calibration.csv", "trust.csv")
    write_report(run_folder)
    before = [(run_folder / name).read_bytes() for name in names]
    for name in names:
        (run_folder / name).unlink()
    write_report(run_folder)
    assert [(run_folder / name).read_bytes() for name in names] == before


def test_without_corruptions_and_distilled_methods_there_are_only_results_and_costs(run_folder: Path) -> None:
    manifest = read_plain(run_folder)
    manifest["numbers"]["conditions"] = ["clean"]
    del manifest["numbers"]["methods"]["apm"]
    write_plain(run_folder, manifest)
    shutil.rmtree(run_folder / "records" / "apm")
    for folder in (run_folder / "records" / "zeroshot").iterdir():
        if folder.name != "clean":
            shutil.rmtree(folder)
    text = write_report(run_folder).text
    assert [line for line in text.splitlines() if line.startswith("#")] == ["# Made by hand", "## Trust", "## Cost"]
    assert not (run_folder / "iterations.csv").exists()
    assert pd.read_csv(run_folder / "results.csv")["top1"].tolist() == [75.0]


def refusal(run: Path) -> str:
    with pytest.raises(UserError) as caught:
        write_report(run)
    assert str(run) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (run / "results.csv").exists()
    assert not (run / "results.md").exists()
    return str(caught.value)


def test_a_missing_cell_is_refused_with_the_way_to_resume(run_folder: Path) -> None:
    shutil.rmtree(run_folder / "records" / "apm" / "pixelate-5")
    message = refusal(run_folder)
    assert "lacks 1 of 10 cells" in message
    assert f"--out {run_folder}" in message


@pytest.mark.parametrize("shard", ["episodic-seed-3-shard-00000.parquet", "episodic-seed-3-shard-00001.parquet"])
def test_a_cell_that_lacks_a_shard_is_refused_with_the_way_to_resume(run_folder: Path, shard: str) -> None:
    """A table never mixes subsets: five of eight images do not make a row."""
    (run_folder / "records" / "zeroshot" / "clean" / shard).unlink()
    message = refusal(run_folder)
    assert "lacks 1 of 10 cells" in message
    assert f"--out {run_folder}" in message


def test_every_missing_or_incomplete_cell_is_counted(run_folder: Path) -> None:
    """One cell is missing, two are incomplete."""
    shutil.rmtree(run_folder / "records" / "apm" / "pixelate-5")
    for condition in ("clean", "contrast-3"):
        (run_folder / "records" / "zeroshot" / condition / "episodic-seed-3-shard-00001.parquet").unlink()
    assert "lacks 3 of 10 cells" in refusal(run_folder)


def test_a_cell_with_too_many_images_is_refused(run_folder: Path) -> None:
    """A shard that is present twice must not count twice."""
    folder = run_folder / "records" / "apm" / "clean"
    shutil.copy(folder / "episodic-seed-3-shard-00001.parquet", folder / "episodic-seed-3-shard-00002.parquet")
    write_digest(
        folder / "episodic-seed-3-shard-00002.parquet", (folder / "episodic-seed-3-shard-00002.parquet").read_bytes()
    )
    assert "does not name: records/apm/clean/episodic-seed-3-shard-00002.parquet; move them out" in refusal(run_folder)


def test_a_shard_in_the_place_of_another_is_refused(run_folder: Path) -> None:
    """The number of images is right, but the images are not."""
    folder = run_folder / "records" / "apm" / "clean"
    shutil.copy(folder / "episodic-seed-3-shard-00001.parquet", folder / "episodic-seed-3-shard-00000.parquet")
    write_digest(
        folder / "episodic-seed-3-shard-00000.parquet", (folder / "episodic-seed-3-shard-00000.parquet").read_bytes()
    )
    assert "shard-00000.parquet holds what was recorded as records/apm/clean/episodic-seed-3-shard-00001.parquet" in (
        refusal(run_folder)
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "tpt"}, "has tpt as its method, not apm"),
        ({"seed": 4}, "has 4 as its seed, not 3"),
        ({"condition": Condition("fog", 1)}, "has fog as its corruption, not clean"),
        ({"dataset": "other"}, "has other as its dataset, not fashion-mnist"),
        ({"teacher": "x"}, "has x as its teacher, not embedded"),
        ({"setting": "iid"}, "has iid as its setting, not episodic"),
    ],
)
def test_rows_of_another_cell_are_refused(run_folder: Path, changes: dict[str, Any], message: str) -> None:
    """Whatever else the file says of itself."""
    path = run_folder / "records" / "apm" / "clean" / "episodic-seed-3-shard-00000.parquet"
    known = Cell("fashion-mnist", CLEAN, "embedded", "apm", 3)
    write_rows(path, replace(known, **changes), rows_of_table(read_shard(path)))
    assert message in refusal(run_folder)


def test_records_that_the_manifest_does_not_name_are_refused(run_folder: Path) -> None:
    path = run_folder / "records" / "apm" / "clean" / "episodic-seed-3-shard-00000.parquet"
    shutil.copy(path, run_folder / "records" / "more.parquet")
    assert "does not name: records/more.parquet; move them out of" in refusal(run_folder)


def test_a_damaged_shard_is_refused_by_name(run_folder: Path) -> None:
    path = run_folder / "records" / "apm" / "clean" / "episodic-seed-3-shard-00001.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    assert str(path) in refusal(run_folder)


def test_a_folder_that_is_not_a_run_is_refused(tmp_path: Path) -> None:
    assert "run.yaml" in refusal(tmp_path)


def test_a_run_without_records_is_refused(run_folder: Path) -> None:
    shutil.rmtree(run_folder / "records")
    assert "holds no records" in refusal(run_folder)


def test_a_table_that_cannot_be_written_is_named(run_folder: Path) -> None:
    """A folder is in the place of ``results.csv``."""
    (run_folder / "results.csv").mkdir()
    with pytest.raises(UserError, match="cannot be written") as caught:
        write_report(run_folder)
    assert str(run_folder / "results.csv") in str(caught.value)
    assert "--out" not in str(caught.value), "report of one run has no such option"


def test_an_incomplete_run_is_shown_on_request_and_marked(run_folder: Path) -> None:
    shutil.rmtree(run_folder / "records" / "apm" / "pixelate-5")
    (run_folder / "records" / "zeroshot" / "clean" / "episodic-seed-3-shard-00001.parquet").unlink()
    text = write_report(run_folder, partial=True).text
    assert (
        "Incomplete: 2 cells are missing or incomplete (3 of 8 images of clean, zeroshot, seed 3; all of pixelate 5, "
        "apm, seed 3)." in text
    )
    parsed = pd.read_csv(run_folder / "results.csv")
    assert len(parsed) == 8
    assert set(parsed["n"]) == {8}, "an incomplete cell is not a row"


def test_cells_with_different_images_are_not_compared(run_folder: Path) -> None:
    """The same number of images, but not the same images, as from mixed-up subsets."""
    path = run_folder / "records" / "apm" / "clean" / "episodic-seed-3-shard-00001.parquet"
    shard = read_shard(path)
    rows = rows_of_table(shard)
    write_rows(path, Cell("fashion-mnist", CLEAN, "embedded", "apm", 3), [replace(rows[0], id="other"), *rows[1:]])
    assert "are of different images, such as other" in refusal(run_folder)


def test_a_cell_in_two_folders_is_refused(run_folder: Path) -> None:
    folder = run_folder / "records" / "apm"
    shutil.copytree(folder / "clean", folder / "clean-again")
    assert "does not name: records/apm/clean-again/" in refusal(run_folder)


def test_names_and_messages_are_escaped(run_folder: Path) -> None:
    """Titles that hold tags, table borders and commands."""
    manifest = read_plain(run_folder)
    manifest["title"] = "<script>alert(1)</script> a|b"
    manifest["dataset_title"] = "50% of R&D_{x} \\input{secret}"
    write_plain(run_folder, manifest)
    text = write_report(run_folder).text
    assert "<script>" not in text
    assert "# &lt;script&gt;alert(1)&lt;/script&gt; a\\|b" in text
    assert r"50\% of R\&D\_\{x\} \textbackslash{}input\{secret\}" in (run_folder / "results.tex").read_text()


def test_latex_compiles_whatever_the_names(run_folder: Path, tmp_path: Path) -> None:
    """Names with line breaks, commands and several scripts reach the captions; all of Latin is set as it is written."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    latin = "".join(map(chr, [*range(0xA0, 0x250), *range(0x1E00, 0x1F00)]))
    manifest = read_plain(run_folder)
    manifest["title"] = "b\n\nx"
    manifest["dataset_title"] = f"[a]\n\n日本 Ωμέγα 😀 a\u0301 {latin} --set ?` \u202e\u2028 {{}}\\end{{document}} %"
    manifest["notes"] = ["*\n\n\x1b[31m\t\\par"]
    write_plain(run_folder, manifest)
    write_report(run_folder)
    text = (run_folder / "results.tex").read_text()
    assert text.startswith("% for pdflatex, xelatex or lualatex")
    assert r"[U+65E5 U+672C]" in text
    assert text.isascii()
    packages = "\\usepackage{booktabs}\\usepackage{graphicx}"
    body = "\\input{" + str(run_folder / "results.tex") + "}"
    source = tmp_path / "paper.tex"
    source.write_text(f"\\documentclass{{article}}{packages}\\begin{{document}}{body}\\end{{document}}")
    words = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "-output-directory", str(tmp_path), str(source)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


def test_files_of_an_earlier_report_do_not_stay_where_this_one_has_none(run_folder: Path) -> None:
    optional = ["iterations.csv", "calibration.csv", "errors.csv"]
    write_report(run_folder)
    assert [(run_folder / name).exists() for name in optional] == [True, True, False]
    (run_folder / "errors.csv").write_text("corruption,severity,id,error\nclean,0,1.png,cut short\n")
    manifest = read_plain(run_folder)
    del manifest["numbers"]["methods"]["apm"]
    write_plain(run_folder, manifest)
    shutil.rmtree(run_folder / "records" / "apm")
    write_report(run_folder)
    assert [(run_folder / name).exists() for name in optional] == [False, True, False]


def test_a_file_of_other_columns_is_not_of_an_earlier_report(run_folder: Path) -> None:
    (run_folder / "errors.csv").write_text("my,own\n1,2\n")
    write_report(run_folder)
    assert (run_folder / "errors.csv").read_text() == "my,own\n1,2\n"


NAMES = ["plain", "a\rb", "a\nb", 'say "a", b', "=1+1", " blank ", "日本\u2028"]


@pytest.mark.parametrize("names", [NAMES[:1], NAMES])
def test_a_csv_holds_every_name_as_it_is(names: list[str]) -> None:
    frame = pd.DataFrame({"name": names, "value": 0.5})
    rows = list(csv.reader(io.StringIO(csv_text(frame), newline="")))
    assert rows == [["name", "value"], *([name, "0.5"] for name in names)]


@pytest.mark.parametrize("title", ["a\n\n# b", "a\u202eb", "a\x1b[2J"])
def test_a_name_breaks_no_line_and_turns_no_direction(run_folder: Path, title: str) -> None:
    manifest = read_plain(run_folder)
    manifest["title"] = title
    write_plain(run_folder, manifest)
    text = write_report(run_folder).text
    shown = title.encode("unicode_escape").decode()
    assert text.splitlines()[0].replace("\\", "") == f"# {shown}".replace("\\", "")
    page = (run_folder / "report.html").read_text()
    assert f"<h1>{shown}</h1>" in page
    assert title not in text + page
