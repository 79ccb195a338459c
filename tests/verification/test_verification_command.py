"""``run-bench verify`` as typed: what it prints, its exit codes, and that its accuracy is a run's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import apm_tta
from apm_tta.cli import main
from apm_tta.data.dataset import open_dataset
from apm_tta.data.sample import Condition
from apm_tta.teachers import load_teacher
from apm_tta.verification.evaluation import Evaluation
from apm_tta.verification.setup import teacher_setup


def verified(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = main(["verify", *words, "--device", "cpu"])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_its_accuracy_is_a_runs_under_each_rows_protocol(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"limit": 60, "teacher": "embedded-resnet", "devices": "cpu", "quiet": True, "corruptions": []}
    run = apm_tta.run("demo", methods="zeroshot,ensemble", out=tmp_path / "run", **settings)  # type: ignore[arg-type]
    table = tmp_path / "published.csv"
    top1 = dict(zip(run.results["method"], run.results["top1"], strict=True))
    lines = [f"mine,embedded-resnet,{method},fashion-mnist,{value:.2f}" for method, value in top1.items()]
    table.write_text("\n".join(["source,teacher,method,dataset,top1", *lines]), encoding="utf-8")
    code, out, err = verified(["embedded-resnet", "fashion-mnist", "--limit", "60", "--published", str(table)], capsys)
    assert (code, err) == (0, "")
    for method, value in top1.items():
        assert f"mine: {method}, top1 {value:.2f} %" in out
        assert f"here {value:.2f} % of 60 images; of all 2,000 between" in out
    assert out.count("  inside: published") == 2
    assert "80 templates (openai80)" in out
    found = apm_tta.verify("embedded-resnet", "fashion-mnist", 60, published=table, device="cpu")
    assert found.lines() == out.rstrip("\n").split("\n")
    assert found.encoded == 60  # both rows are of the same images


def test_top5_counts_labels_among_five(reference: Callable[..., Path]) -> None:
    table = reference(99.0, dataset="fashion-mnist", metric="top5")
    found = apm_tta.verify("embedded", "fashion-mnist", 60, metric="top5", published=table, device="cpu")
    assert found.rows[0].tally is not None
    assert found.rows[0].tally.accuracy > 95


def test_a_number_outside_ends_with_code_3(
    reference: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = str(reference(20.0, dataset="fashion-mnist"))
    code, out, err = verified(["embedded", "fashion-mnist", "--limit", "20", "--published", table], capsys)
    assert code == 3
    assert "  outside: published 20.00 % ± 0.355" in out
    assert "1 of 1 published number of embedded on fashion-mnist is outside the interval, see above" in err


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"images": "500"}, "another split: the row is of 500 images, fashion-mnist here has 2,000"),
        (
            {"images": "500", "split": "its mini set"},
            "another split: the row is of 500 images (its mini set), fashion-",
        ),
        ({"classes": "12"}, "other classes: the row has 12, fashion-mnist here has 10"),
        ({"other_classes": "in French"}, "other names of the classes: in French"),
        ({"severity": "5"}, "the row is a mean over corruptions, and fashion-mnist stores none"),
        ({"method": "source"}, "the row is of a classification head, the class weights here are from text"),
    ],
)
def test_what_cannot_be_compared_says_why_and_ends_with_code_2(
    columns: dict[str, str], said: str, reference: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    table = str(reference(90.0, dataset="fashion-mnist", **columns))
    code, out, err = verified(["embedded", "fashion-mnist", "--limit", "20", "--published", table], capsys)
    assert code == 2
    assert "  cannot be compared: " in out
    assert said in out
    assert "none of 1 published number of embedded on fashion-mnist can be compared with a run here" in err


def test_another_split_is_told_without_images_or_weights(capsys: pytest.CaptureFixture[str]) -> None:
    """By a row of the package."""
    code, out, _ = verified(["ViT-B-32:openai", "dtd"], capsys)
    assert code == 2
    assert "another split: the row is of 1,880 images (the test images of split 1), dtd here has 1,692" in out


def test_a_row_of_a_list_of_images_is_compared_on_that_list(
    reference: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The embedded set does not have RobustBench's images."""
    table = str(reference(90.0, dataset="fashion-mnist", subset="robustbench-5k"))
    code, out, err = verified(["embedded", "fashion-mnist", "--published", table], capsys)
    assert (code, out) == (2, "")
    assert "robustbench-5k" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["embedded", "imagenet"], "no zero-shot top1 of embedded on imagenet is published here"),
        (["embeded", "fashion-mnist"], "no zero-shot top1 of embeded"),
        (["embedded", "fashion"], "unknown dataset"),
        (["embedded", "fashion-mnist", "--published", "/nowhere.csv"], "/nowhere.csv cannot be read"),
        (["embedded", "fashion-mnist", "--metric", "top2"], "is not one of"),
        (["embedded", "fashion-mnist", "--limit", "-1"], "--limit"),
    ],
)
def test_mistakes_are_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = verified(words, capsys)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_a_mean_over_corruptions_is_the_mean_of_their_accuracies() -> None:
    dataset, teacher = open_dataset("fashion-mnist", limit=40), load_teacher("embedded")
    seen = [Condition("contrast", 3), Condition("pixelate", 5)]
    start = teacher_setup(teacher, dataset, ("a photo of a {}.",), dataset.classes)
    both, *each = (Evaluation(teacher, dataset, part).tally([start])[0] for part in (seen, seen[:1], seen[1:]))
    assert both.accuracy == pytest.approx((each[0].accuracy + each[1].accuracy) / 2)
    assert (both.images, both.available) == (40, 2000)
