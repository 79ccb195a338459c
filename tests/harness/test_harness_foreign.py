"""Images of another data set: answered like a condition, in streams of their own, and only told from the clean ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from apm_tta.cli import main
from apm_tta.data.cards import load_card
from apm_tta.data.dataset import ChangedImage, Dataset, open_dataset
from apm_tta.data.image_digests import ImageDigests
from apm_tta.data.sample import CLEAN, FOREIGN, Condition, parse_condition
from apm_tta.errors import UserError
from apm_tta.harness.compute.content import hash_stored
from apm_tta.harness.plan import apart_from_foreign, condition_name
from apm_tta.harness.request.suite import load_suite
from apm_tta.harness.storage.records import digest_path, read_records, record_files

DIGITS = "sklearn-digits"
WORDS = [
    "demo",
    "--methods",
    "zeroshot,tda",
    "--limit",
    "10",
    "--corruptions",
    "contrast",
    "--severities",
    "3",
    "--quiet",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a run with foreign images. Do not change it."""
    folder = tmp_path_factory.mktemp("foreign") / "run"
    assert main([*WORDS, "--quiet", "--foreign", DIGITS, "--out", str(folder)]) == 0
    return folder


def test_the_digits_are_those_of_scikit_learn() -> None:
    """The 17 levels become 0 .. 255, so that white is white; the labels are scikit-learn's."""
    dataset, expected = open_dataset(DIGITS), load_digits()
    entries = dataset.entries(CLEAN)
    assert [entry.label for entry in entries] == expected.target.tolist()
    for place in (0, 1000, 1796):
        image = dataset.read(entries[place], CLEAN).image
        assert (image.mode, image.size) == ("RGB", (8, 8))
        assert np.array_equal(np.asarray(image)[..., 0], np.rint(expected.images[place] * 255 / 16))


def test_the_condition_has_a_name_that_reads_back() -> None:
    assert (str(FOREIGN), condition_name(FOREIGN)) == ("foreign", "foreign")
    assert parse_condition("foreign") == FOREIGN
    assert [parse_condition(str(each)) for each in (CLEAN, Condition("fog", 3))] == [CLEAN, Condition("fog", 3)]


def test_foreign_images_are_read_from_their_own_set_and_have_no_class() -> None:
    dataset = Dataset(load_card("fashion-mnist"), limit=20, foreign=open_dataset(DIGITS, limit=20))
    entries = dataset.entries(FOREIGN)
    assert len(entries) == 20
    assert {entry.label for entry in entries} == {-1}
    assert all(entry.id.startswith(f"foreign://{DIGITS}/digits/") for entry in entries)
    own = open_dataset(DIGITS, limit=20)
    for entry, other in zip(entries, own.entries(CLEAN), strict=True):
        assert dataset.read(entry, FOREIGN).image.tobytes() == own.read(other, CLEAN).image.tobytes()


def test_a_foreign_image_that_changed_is_refused() -> None:
    dataset = Dataset(load_card("fashion-mnist"), limit=10, foreign=open_dataset(DIGITS, limit=10))
    ids = [entry.id for condition in (CLEAN, FOREIGN) for entry in dataset.entries(condition)]
    digests = hash_stored(dataset, ids, len(ids))
    assert list(digests.by_id) == ids
    dataset.expect(digests)
    entry = dataset.entries(FOREIGN)[0]
    assert dataset.read(entry, FOREIGN).sha256 == digests.by_id[entry.id]
    dataset.expect(ImageDigests({**digests.by_id, entry.id: "0" * 63 + "1"}, len(ids)))
    with pytest.raises(ChangedImage, match=entry.id):
        dataset.read(entry, FOREIGN)


def test_what_is_not_foreign_is_refused() -> None:
    with pytest.raises(UserError, match="fashion-mnist is not foreign to fashion-mnist: both have the class T-shirt"):
        Dataset(load_card("fashion-mnist"), foreign=open_dataset("fashion-mnist"))
    with pytest.raises(UserError, match=r"foreign images .* are told from clean ones"):
        load_suite("demo", {"foreign": DIGITS, "clean": False}).conditions()


def test_foreign_images_are_in_no_other_stream() -> None:
    fog = Condition("fog", 3)
    assert apart_from_foreign({CLEAN: 4, fog: 4, FOREIGN: 5}) == [{CLEAN: 4, fog: 4}, {FOREIGN: 5}]
    assert apart_from_foreign({CLEAN: 4, fog: 4}) == [{CLEAN: 4, fog: 4}]


def test_their_records_have_no_score_of_a_label(finished: Path) -> None:
    records = read_records(finished).to_pandas()
    foreign = records[records["corruption"] == "foreign"]
    assert foreign.groupby("method", observed=True).size().to_dict() == {"tda": 10, "zeroshot": 10}
    assert set(foreign["label"]) == {-1}
    assert foreign[["nll", "brier"]].isna().all(axis=None)
    assert foreign[["energy", "confidence"]].notna().all(axis=None)


def test_the_report_has_scikit_learns_area(finished: Path) -> None:
    records = read_records(finished).to_pandas()
    results = pd.read_csv(finished / "results.csv")
    assert set(results["corruption"]) == {"clean", "contrast"}
    columns = ["foreign_auroc", "foreign_fpr95", "foreign_auroc_energy", "foreign_fpr95_energy"]
    assert results.query("corruption == 'contrast'")[columns].isna().all(axis=None)
    for row in results.query("corruption == 'clean'").to_dict("records"):
        own = records[(records["method"] == row["method"]) & records["corruption"].isin(["clean", "foreign"])]
        is_own = own["corruption"] == "clean"
        assert row["foreign_auroc"] == pytest.approx(100 * roc_auc_score(is_own, own["confidence"]), rel=1e-5)
        assert row["foreign_auroc_energy"] == pytest.approx(100 * roc_auc_score(is_own, -own["energy"]), rel=1e-5)
    text = (finished / "results.md").read_text()
    assert f"Foreign images: {DIGITS}, 10 of 1797 images" in text
    assert "foreign AUROC %" in text
    trust = pd.read_csv(finished / "trust.csv").set_index("method")
    clean = results.query("corruption == 'clean'").set_index("method")
    assert trust["foreign_auroc"].to_dict() == pytest.approx(clean["foreign_auroc"].to_dict())


def test_no_other_answer_depends_on_them(finished: Path, tmp_path: Path) -> None:
    assert main([*WORDS, "--quiet", "--out", str(tmp_path / "run")]) == 0
    names = ["method", "corruption", "id", "prediction", "confidence"]
    with_foreign, without = (read_records(run).select(names).to_pandas() for run in (finished, tmp_path / "run"))
    own = with_foreign[with_foreign["corruption"] != "foreign"].sort_values(names[:3], ignore_index=True)
    pd.testing.assert_frame_equal(own, without.sort_values(names[:3], ignore_index=True), check_categorical=False)


def test_parts_are_merged_and_a_lost_file_is_answered_again(finished: Path, tmp_path: Path) -> None:
    foreign = ["--foreign", DIGITS]
    parts = [tmp_path / name for name in ("one", "two")]
    for place, part in enumerate(parts, 1):
        assert main([*WORDS, "--quiet", *foreign, "--shard-range", f"{place}/2", "--out", str(part)]) == 0
    whole = tmp_path / "whole"
    assert main(["merge", "--out", str(whole), *map(str, parts)]) == 0
    (lost,) = (whole / "records" / "tda" / "foreign").glob("*.parquet")
    lost.unlink()
    digest_path(lost).unlink()
    assert main([*WORDS, "--quiet", *foreign, "--out", str(whole)]) == 0
    columns = ["method", "corruption", "id", "prediction", "confidence", "energy"]
    tables = [
        read_records(run).select(columns).to_pandas().sort_values(columns[:3], ignore_index=True)
        for run in (whole, finished)
    ]
    pd.testing.assert_frame_equal(*tables)
    assert len(record_files(whole)) == 6


def test_another_foreign_set_is_another_run(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--quiet", "--out", str(finished)]) == 1
    assert "holds another run" in capsys.readouterr().err
