"""Compare published zero-shot numbers with a run on a subset from Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

from apm_tta.api.run_folder import to_path
from apm_tta.errors import UserError
from apm_tta.harness.request.limits import MOST_IMAGES
from apm_tta.verification import compare
from apm_tta.verification.compare import Metric
from apm_tta.verification.verdict import Verification


def verify(
    teacher: str,
    dataset: str,
    limit: int = 5000,
    data_root: str | Path | None = None,
    metric: Metric = "top1",
    published: str | Path | None = None,
    *,
    device: str = "auto",
    progress: Callable[[int], object] | None = None,
) -> Verification:
    """Compare published zero-shot numbers with a teacher's accuracy here, the same as ``run-bench verify``.

    Args:
        teacher: name, see ``load_teacher``.
        dataset: name, as ``run-bench list datasets`` prints it.
        limit: images per condition, spread evenly over the classes; 0 for all.
        data_root: where the set lies, or a folder that holds it under its name; unless given from
            ``APM_TTA_DATA_ROOT``.
        metric: ``top1`` or ``top5``.
        published: CSV of published numbers in place of the package's.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
        progress: is called with the number of images that were encoded since the last call.

    Returns:
        One verdict per published number, in ``rows``; ``lines()`` is what the command prints.

    Raises:
        UserError: when nothing is published of the two, or the teacher or the images are not there.

    Example:
        >>> import apm_tta, pathlib, tempfile
        >>> table = pathlib.Path(tempfile.mkdtemp()) / "published.csv"
        >>> _ = table.write_text("teacher,dataset,value\\nembedded,fashion-mnist,10.0\\n")
        >>> apm_tta.verify("embedded", "fashion-mnist", 100, published=table).rows[0].outcome
        'outside'
    """
    if metric not in get_args(Metric):
        raise UserError(f"metric {metric!r} does not exist; choose from {', '.join(get_args(Metric))}", exit_code=2)
    if type(limit) is not int or not 0 <= limit <= MOST_IMAGES:
        raise UserError(f"limit {limit!r} is not a whole number from 0 to {MOST_IMAGES}, such as 5000", exit_code=2)
    return compare.verify(
        teacher,
        dataset,
        limit,
        None if data_root is None else to_path(data_root),
        metric,
        None if published is None else to_path(published),
        device,
        progress or (lambda _images: None),
    )
