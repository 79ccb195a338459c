"""``run-bench verify``: compare published zero-shot numbers with a run on a subset."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click

from apm_tta.commands.option_types import NamedPath, OneOf, Text, Whole
from apm_tta.commands.options import data_root_option
from apm_tta.errors import UserError
from apm_tta.harness.request.limits import MOST_IMAGES
from apm_tta.wording import visible


@click.command(
    "verify",
    params=[data_root_option()],
    short_help="Compare a published zero-shot accuracy with a run's on a few images.",
)
@click.argument("teacher", type=Text("ViT-B-16:openai"))
@click.argument("dataset", type=Text("imagenet"))
@click.option(
    "--limit",
    type=Whole(0, MOST_IMAGES, 5000),
    default=5000,
    show_default=True,
    help="Images per condition, spread evenly over the classes; 0 for all.",
)
@click.option("--metric", type=OneOf(["top1", "top5"]), default="top1", show_default=True, help="Accuracy to compare.")
@click.option(
    "--published",
    type=NamedPath(),
    help="CSV of published numbers in place of the package's: columns teacher, dataset, value; also source, method, "
    "metric, images, classes, templates, severity, subset.",
)
@click.option("--device", type=Text("cpu"), default="auto", show_default=True, help="cpu, cuda, cuda:N or auto.")
def verify_command(
    teacher: str, dataset: str, data_root: Path | None, limit: int, metric: str, published: Path | None, device: str
) -> None:
    """Compare what is published of TEACHER alone on DATASET with its accuracy here, under each row's own protocol.

    Where a number is outside the interval, the usual causes are tried on the same images: templates, class names, order
    of labels, activation, resizing, interpolation, normalization. Exit code 3: outside. 2: nothing can be compared.
    """
    from tqdm import tqdm

    from apm_tta.api.verify import verify
    from apm_tta.system.bars import bar

    progress: tqdm[None]
    with bar(desc="images encoded") as progress:
        found = verify(
            teacher, dataset, limit, data_root, cast(Any, metric), published, device=device, progress=progress.update
        )
    click.echo("\n".join(map(visible, found.lines())))
    if found.exit_code:
        raise UserError(found.summary, found.exit_code)


COMMANDS = [verify_command]
