"""Answers as columns of the records: from a method's tensors to the file, never as rows in between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from apm_tta.columns import RECORD_COLUMNS
from apm_tta.data.layouts import Entry
from apm_tta.methods import Predictions

_TYPES = {column.name: column.type for column in RECORD_COLUMNS}
_AT_ONCE = 2048  # images whose probabilities are in memory in double precision


def answer_columns(predictions: Predictions, teacher_classes: Tensor) -> pa.Table:
    """Turn a method's predictions for B images into columns, one row per image.

    Args:
        predictions: the method's predictions, with logits ``(B, C)`` for C classes.
        teacher_classes: classes predicted by the teacher itself, ``(B,)``.
    """
    logits = predictions.logits.float()
    order = logits.argsort(dim=1, descending=True, stable=True)[:, :5]
    best = order[:, :1]
    iterations, losses, cosines = predictions.iteration_classes, predictions.losses, predictions.cosines
    return make_columns(
        len(logits),
        prediction=best[:, 0],
        top5=order,
        confidence=logits.softmax(1).gather(1, best)[:, 0],
        entropy=torch.special.entr(logits.double().softmax(1)).sum(1).float(),
        logit_margin=None if logits.shape[1] < 2 else -logits.gather(1, order[:, :2]).diff()[:, 0],
        teacher_prediction=teacher_classes,
        target_prediction=predictions.target_classes,
        iteration_predictions=[[]] * len(logits) if iterations is None else iterations,
        first_loss=None if losses is None else losses[:, 0].float(),
        last_loss=None if losses is None else losses[:, -1].float(),
        last_cosine=None if cosines is None else cosines[:, -1].float(),
        iterations=[0 if iterations is None else iterations.shape[1] - 1] * len(logits),
    )


def probability_columns(logits: Tensor, labels: Sequence[int]) -> pa.Table:
    r"""Score the probabilities :math:`p = \mathrm{softmax}(z)` that a method gives all classes, one row per image.

    With the label y, :math:`\mathrm{NLL} = -\log p_y`, the Brier score (Brier, 1950)
    :math:`\sum_c (p_c - [c = y])^2`, and the energy :math:`-\log \sum_c e^{z_c}`. All are computed in double precision
    from the logits, since a probability may be too small for any number; one that is too large for the column's type
    becomes the largest of that type.

    Args:
        logits: of the method, ``(B, C)``, the ones that its confidence is computed from.
        labels: B classes; what is not one of the C has neither likelihood nor Brier score.
    """
    classes = torch.tensor(labels, dtype=torch.int64)
    known = (classes >= 0) & (classes < logits.shape[1])
    parts = []
    for z, own in zip(logits.split(_AT_ONCE), classes.where(known, 0).split(_AT_ONCE), strict=True):
        log_p, label = z.double().log_softmax(1), own[:, None]
        distances = log_p.exp().scatter_add(1, label, -torch.ones_like(label, dtype=torch.float64))
        energy = -z.double().logsumexp(1)
        parts.append(torch.stack([-log_p.gather(1, label)[:, 0], distances.square().sum(1), energy]))
    limit = torch.finfo(torch.float32).max
    nll, brier, energy = torch.cat(parts, 1).clamp(-limit, limit).float()
    unknown = (~known).numpy()
    return make_columns(
        len(classes),
        nll=pa.array(nll.numpy(), mask=unknown),
        brier=pa.array(brier.numpy(), mask=unknown),
        energy=energy,
    )


def nearest_labels(logits: Tensor, entries: Sequence[Entry]) -> list[int]:
    """Return the right class of every image, and of several the one to which its row of ``logits`` gives most."""
    return [
        max((entry.label, *entry.others), key=row.__getitem__) if entry.others else entry.label
        for entry, row in zip(entries, logits, strict=True)
    ]


def label_columns(entries: Sequence[Entry]) -> pa.Table:
    """Make the columns of right classes."""
    others = [list(entry.others) or None for entry in entries]
    return make_columns(
        len(entries), label=[entry.label for entry in entries], other_labels=others if any(others) else None
    )


def make_columns(count: int, **values: Tensor | Sequence[Any] | None) -> pa.Table:
    """Make a table of ``count`` rows with the records' types; a column that is None is null throughout."""
    return pa.table({name: _array(value, _TYPES[name], count) for name, value in values.items()})


def concatenate_rows(tables: Sequence[pa.Table]) -> pa.Table:
    """Concatenate the rows of tables; a column that one of them lacks is null in its rows."""
    return pa.concat_tables(tables, promote_options="default").combine_chunks()


def concatenate_columns(*tables: pa.Table) -> pa.Table:
    """Concatenate the columns of tables with the same number of rows."""
    return pa.table({name: table[name] for table in tables for name in table.column_names})


def count_right(table: pa.Table) -> int:
    """Count the rows whose prediction is a right class."""
    if "prediction" not in table.column_names:
        return 0
    right = int(pc.sum(pc.equal(table["prediction"], table["label"]), min_count=0).as_py())
    if "other_labels" not in table.column_names or table["other_labels"].null_count == len(table):
        return right
    rows = zip(table["prediction"].to_pylist(), table["other_labels"].to_pylist(), strict=True)
    return right + sum(prediction in (others or ()) for prediction, others in rows)


def _array(value: Tensor | Sequence[Any] | None, kind: pa.DataType, count: int) -> pa.Array:
    if value is None:
        return pa.nulls(count, kind)
    if isinstance(value, pa.Array):
        return value.cast(kind)
    if not isinstance(value, Tensor):
        return pa.array(value, kind)
    array = value.detach().cpu().numpy()
    if array.ndim == 1:
        return pa.array(array, kind)
    offsets = np.arange(len(array) + 1, dtype=np.int32) * array.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(array.reshape(-1), kind.value_type))
