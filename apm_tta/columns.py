"""The columns of records and tables, each declared once.

The Parquet schema, ``results.csv``, the printed tables and ``run-bench list columns`` are made from ``COLUMNS``. To add
a column, declare it here and compute it: a column of images where answers become columns
(``apm_tta.harness.compute.answer_columns``), a column of cells where a cell becomes a row (``apm_tta.report.cells``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

Per = Literal["cell key", "image", "cell"]
Seeds = Literal["same", "mean", "mean of all", "every", "unknown", "joined"]
Form = Literal["text", "count", "number", "signed", "p", "interval", "signed interval", "mean", "published"]
Omit = Literal["never", "unknown", "zero", "empty", "several seeds", "episodic", "teacher's own", "same"]


@dataclass(frozen=True)
class Shown:
    """How a column appears in the results table.

    Attributes:
        header: text of the column header.
        place: sort key; columns are in the order of their places.
        form: how a value is formatted; ``interval`` takes its other end from the column ``upto``.
        digits: number of digits after the point.
        upto: name of the column with the other end of an interval.
        omit: when the column is left out: ``never``; where every value is unknown, zero or empty; where the table is of
            several seeds; where every cell is episodic; where it only repeats the agreement with the teacher; where it
            is one and the same in every cell.
    """

    header: str
    place: int
    form: Form = "number"
    digits: int = 1
    upto: str = ""
    omit: Omit = "never"


@dataclass(frozen=True)
class Column:
    """One column of the records, of ``results.csv``, or of both.

    Attributes:
        name: name of the column in the records, the results or both.
        type: Parquet type.
        per: ``cell key``: identifies the cell of a row, in records and results; ``image``: one value per image, in
            records; ``cell``: one value per cell, in results.
        doc: its meaning in one line.
        unit: unit of its values; empty for none.
        required: whether records without it cannot be read. Any other absent column, as in records written before it
            existed, reads as unknown.
        mean: for a column of images: whether results have its mean over a cell's images under the same name.
        seeds: how the values of several seeds are merged in one table: ``same``, the first seed's value; ``mean``, over
            the seeds that have a value; ``mean of all``, unknown where a seed lacks it; ``every``, true where it is
            true for all seeds; ``unknown``, since it applies to a single seed; ``joined``, every seed's text once.
        timing: whether it depends on the machine and the batch size, so that it is unknown where these were several.
        shown: how the results table shows it; None where it does not.
    """

    name: str
    type: pa.DataType
    per: Per
    doc: str
    unit: str = ""
    required: bool = False
    mean: bool = False
    seeds: Seeds = "mean"
    shown: Shown | None = None
    timing: bool = False


_NAME = pa.dictionary(pa.int32(), pa.string())
_CLASS, _REAL, _SMALL = pa.int32(), pa.float64(), pa.float32()


def _key(name: str, type: pa.DataType, doc: str, shown: Shown | None = None) -> Column:
    return Column(name, type, "cell key", doc, required=True, seeds="same", shown=shown)


def _share(name: str, doc: str, shown: Shown | None = None, *, seeds: Seeds = "mean of all") -> Column:
    return Column(name, _REAL, "cell", doc, "%", seeds=seeds, shown=shown)


COLUMNS: tuple[Column, ...] = (
    _key("dataset", _NAME, "name of the data set's card"),
    _key("corruption", _NAME, "corruption, clean, or foreign: images of another data set"),
    _key("severity", pa.int8(), "1 to 5; 0 for clean and foreign"),
    _key(
        "setting",
        _NAME,
        "episodic, or the stream in which an online method saw the images",
        Shown("setting", 30, "text", omit="episodic"),
    ),
    _key("teacher", _NAME, "name of the teacher, as requested"),
    _key("method", _NAME, "name of the method", Shown("method", 20, "text")),
    _key("seed", pa.int64(), "seed of every random draw"),
    # Records: one value per image.
    Column("id", pa.string(), "image", "path of the image below the data set's root", required=True),
    Column(
        "position",
        pa.int64(),
        "image",
        "place in its stream, from 0, part of a row's key; null where every image is shown once under each condition",
    ),
    Column("label", _CLASS, "image", "class of the image, from 0; -1 for a foreign image", required=True),
    Column("other_labels", pa.list_(_CLASS), "image", "other classes that are right too; null where there are none"),
    Column("error", pa.string(), "image", "why there is no answer; null where there is one"),
    Column(
        "error_kind",
        _NAME,
        "image",
        "unreachable, damaged, missing, too large or unsupported; null where there is an answer",
    ),
    Column(
        "image_sha256",
        pa.string(),
        "image",
        "SHA-256 of the image, where images.sha256 has none or another for it, since it was repaired; null elsewhere",
    ),
    Column("prediction", _CLASS, "image", "predicted class; null, like all columns below, where there is an error"),
    Column("top5", pa.list_(_CLASS), "image", "at most five classes by descending logit"),
    Column("confidence", _SMALL, "image", "softmax probability of the prediction", "0 .. 1"),
    Column(
        "logit_margin",
        _SMALL,
        "image",
        "highest logit minus the second highest; null where there is only one class",
        mean=True,
        seeds="mean of all",
    ),
    Column(
        "nll",
        _SMALL,
        "image",
        "negative log-likelihood of the label; null where confidences are votes, like the two below",
        "nat",
        mean=True,
        seeds="mean of all",
    ),
    Column(
        "brier",
        _SMALL,
        "image",
        "Brier score: squared distance of the probabilities of all classes to the label",
        "0 .. 2",
        mean=True,
        seeds="mean of all",
    ),
    Column("energy", _SMALL, "image", "minus the log of the sum of the logits' exponentials (arXiv 2010.03759), T = 1"),
    Column("teacher_prediction", _CLASS, "image", "zero-shot prediction of the teacher with the method's templates"),
    Column("target_prediction", _CLASS, "image", "class predicted by the method's target feature; null for none"),
    Column("iteration_predictions", pa.list_(_CLASS), "image", "predictions after 0 .. T iterations; empty for none"),
    Column("first_loss", _SMALL, "image", "the method's loss before its first iteration; null for none"),
    Column("last_loss", _SMALL, "image", "the method's loss after its last iteration; null for none"),
    Column("last_cosine", _SMALL, "image", "cosine of the adapted feature to its target after the last iteration"),
    Column("iterations", _CLASS, "image", "number of iterations, T"),
    Column("latency_ms", _REAL, "image", "time alone in a batch of one; null where it was not measured", "ms"),
    Column("batch_ms", _REAL, "image", "share of its batch's time; null where features came from a cache", "ms"),
    Column("peak_memory_mb", _SMALL, "image", "peak memory of its batch: device, or process on a CPU", "MB"),
    Column("gflop", _REAL, "image", "cost per image, recorded for the first image of a cell; null elsewhere", "GFLOP"),
    # Results: one value per cell.
    Column("n", pa.int64(), "cell", "images with an answer, each as often as shown", shown=Shown("n", 40, "count")),
    Column(
        "errors",
        pa.int64(),
        "cell",
        "images that could not be read",
        shown=Shown("errors", 50, digits=0, omit="zero"),
    ),
    _share("top1", "right answers", Shown("top-1 %", 60, "mean")),
    _share(
        "top1_low",
        "lower end of top1's 95 % Wilson interval",
        Shown("95 % interval", 70, "interval", upto="top1_high", omit="several seeds"),
        seeds="unknown",
    ),
    _share("top1_high", "upper end of top1's 95 % Wilson interval", seeds="unknown"),
    _share("top5", "labels among the top five classes"),
    Column(
        "delta_zeroshot",
        _REAL,
        "cell",
        "top1 minus that of zeroshot on the same images",
        "percentage points",
        seeds="mean of all",
        shown=Shown("vs zeroshot", 80, "signed", omit="unknown"),
    ),
    Column(
        "delta_low",
        _REAL,
        "cell",
        "lower end of the paired bootstrap 95 % interval of delta_zeroshot",
        "percentage points",
        seeds="unknown",
        shown=Shown("its interval", 90, "signed interval", upto="delta_high", omit="unknown"),
    ),
    Column("delta_high", _REAL, "cell", "upper end of that interval", "percentage points", seeds="unknown"),
    Column("p_mcnemar", _REAL, "cell", "McNemar's exact p of delta_zeroshot", seeds="unknown"),
    _share("agreement", "answers that equal the teacher's zero-shot answer", Shown("agreement %", 120)),
    _share("ece", "expected calibration error, 15 bins; empty where confidences are votes", Shown("ECE %", 110)),
    Column(
        "latency_ms_p50",
        _REAL,
        "cell",
        "median time of one image alone",
        "ms",
        shown=Shown("latency p50 ms", 150),
        timing=True,
    ),
    Column(
        "latency_ms_p95",
        _REAL,
        "cell",
        "95th percentile of that time; unknown of fewer than 100 images, unless one takes more than a second",
        "ms",
        shown=Shown("p95", 160, omit="unknown"),
        timing=True,
    ),
    Column(
        "images_per_s",
        _REAL,
        "cell",
        "images per second at the batch size of its row",
        "1/s",
        shown=Shown("images/s", 170, digits=0),
        timing=True,
    ),
    Column(
        "peak_memory_mb",
        _REAL,
        "cell",
        "largest peak memory of any batch: device, or process on a CPU",
        "MB",
        timing=True,
    ),
    Column("gflop_per_image", _REAL, "cell", "floating-point operations per image", "GFLOP"),
    Column("forwards", _REAL, "cell", "forward passes through the teacher per image, by the method's formula"),
    Column("backwards", _REAL, "cell", "backward passes through the teacher per image, by the method's formula"),
    Column(
        "published_top1",
        _REAL,
        "cell",
        "a paper's number for the same cell",
        "%",
        shown=Shown("published %", 140, "published", omit="unknown"),
    ),
    Column("published_source", pa.string(), "cell", "paper or table with that number", seeds="same"),
    Column(
        "p_holm",
        _REAL,
        "cell",
        "p_mcnemar with Holm's correction over the methods under the condition",
        seeds="unknown",
        shown=Shown("p", 100, "p", omit="unknown"),
    ),
    Column(
        "best",
        pa.bool_(),
        "cell",
        "whether top1 is the best under its condition, and significantly better than every other",
        seeds="every",
    ),
    _share(
        "agreement_target",
        "answers that equal those of the method's target feature",
        Shown("target agreement %", 130, omit="teacher's own"),
    ),
    Column("iterations", pa.int64(), "cell", "largest number of iterations of any image"),
    Column(
        "published_differs",
        pa.string(),
        "cell",
        "how the paper's protocol differs; empty where it does not",
        seeds="same",
    ),
    Column(
        "measured_on",
        pa.string(),
        "cell",
        "hardware and threads that answered; where there are several, times and memory are unknown",
        seeds="joined",
        shown=Shown("measured on", 32, "text", omit="same"),
    ),
    Column(
        "batch_size",
        pa.string(),
        "cell",
        "images at once; where there are several sizes, times and memory are unknown",
        seeds="joined",
        shown=Shown("batch size", 34, "text", omit="same"),
    ),
    Column(
        "beside",
        pa.string(),
        "cell",
        "what to compare the row with where its prompts are not zeroshot's: the row with the same; empty elsewhere",
        seeds="same",
        shown=Shown("beside", 36, "text", omit="empty"),
    ),
    Column(
        "subset",
        pa.string(),
        "cell",
        "the list that the images are from, by its name; empty where they are from all of the data set",
        seeds="same",
        shown=Shown("subset", 34, "text", omit="empty"),
    ),
    Column(
        "prompts",
        pa.string(),
        "cell",
        "learned prompts that class weights come from, with the start of their digest; empty elsewhere",
        seeds="same",
        shown=Shown("prompts", 35, "text", omit="empty"),
    ),
    Column(
        "tuned",
        pa.string(),
        "cell",
        "settings that are not the defaults, beside those that the row's name states; empty elsewhere",
        seeds="same",
        shown=Shown("tuned", 37, "text", omit="empty"),
    ),
    Column(
        "published_tuned",
        pa.string(),
        "cell",
        "how the paper chose a setting for each data set or by test labels; empty where it did not",
        seeds="same",
    ),
    Column(
        "entropy",
        _SMALL,
        "image",
        "entropy of the softmax of the logits",
        "nat",
        mean=True,
        seeds="mean of all",
    ),
    Column("latency_images", _REAL, "cell", "images that were timed alone", timing=True),
    Column(
        "time_vs_zeroshot",
        _REAL,
        "cell",
        "time of an image in its batch, divided by zeroshot's under the same condition on the same hardware",
        shown=Shown("time / zeroshot (one kind of machine only)", 165, omit="unknown"),
        timing=True,
    ),
    Column(
        "times_disturbed",
        pa.string(),
        "cell",
        "by what it is known that something else ran while the cell was timed; empty where nothing did, or is known",
        seeds="joined",
    ),
    _share("adaptive_ece", "the same error as ece over 15 bins of equally many images (arXiv 1904.01685)"),
    _share(
        "aurc", "area under the risk-coverage curve: error rate among the most confident images, over all coverages"
    ),
    _share("balanced_accuracy", "mean over the classes of the share of right answers in each"),
    _share("foreign_auroc", "of clean cells: area under the ROC of telling them from foreign images by confidence"),
    _share("foreign_fpr95", "likewise: foreign images that pass where 95 % of the clean images do"),
    _share("foreign_auroc_energy", "foreign_auroc by minus the energy"),
    _share("foreign_fpr95_energy", "foreign_fpr95 by minus the energy"),
    Column(
        "images",
        _REAL,
        "cell",
        "different images among the n, where some were shown several times: intervals and tests draw these",
        seeds="same",
        shown=Shown("different images", 45, digits=0, omit="unknown"),
    ),
    _share("worst_classes", "the same mean over the tenth of the classes where it is lowest, at least one class"),
)

KEY: tuple[str, ...] = tuple(column.name for column in COLUMNS if column.per == "cell key")
"""The columns that identify the cell of a row."""

RECORD_COLUMNS: tuple[Column, ...] = tuple(column for column in COLUMNS if column.per != "cell")
"""The columns of the records, in their order."""

RESULT_COLUMNS: tuple[Column, ...] = (
    *(column for column in COLUMNS if column.per != "image"),
    *(column for column in COLUMNS if column.per == "image" and column.mean),
)
"""The columns of ``results.csv``, in their order: means of columns of images come last, so the others keep theirs."""


TIMINGS: tuple[str, ...] = tuple(column.name for column in RESULT_COLUMNS if column.timing)
"""The columns of ``results.csv`` that depend on the machine and the batch size."""

CLOCKED: tuple[str, ...] = tuple(name for name in TIMINGS if not name.startswith("peak_memory"))
"""Those of them that depend on what else runs on the machine."""


def header(name: str) -> str:
    """Return the header of a column of the results table.

    Raises:
        KeyError: when there is no such column, or it is not shown.
    """
    for column in RESULT_COLUMNS:
        if column.name == name and column.shown is not None:
            return column.shown.header
    raise KeyError(name)


def documentation() -> list[str]:
    """Return the lines that ``run-bench list columns`` prints: one per column, those of the records first."""
    rows = [("column", "type", "unit", "several seeds", "meaning")]
    for title, columns in (("records/**/*.parquet", RECORD_COLUMNS), ("results.csv", RESULT_COLUMNS)):
        rows.append((f"[{title}]", "", "", "", ""))
        for column in columns:
            mean = "mean over the images: " if column.per == "image" and columns is RESULT_COLUMNS else ""
            seeds = column.seeds if columns is RESULT_COLUMNS else ""
            rows.append((column.name, str(_plain(column.type)), column.unit, seeds, mean + column.doc))
    widths = [max(len(row[place]) for row in rows) for place in range(4)]
    return ["  ".join([*map(str.ljust, row, widths), row[4]]).rstrip() for row in rows]


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return the type of the values; readers need not know that strings are stored as indices."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind
