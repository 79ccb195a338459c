"""``run-bench check``: a data set on disk against its card."""

from __future__ import annotations

from pathlib import Path

import click

from apm_tta.errors import UserError


@click.command("check", short_help="Compares a data set on disk with what is expected of it.")
@click.argument("name")
@click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    envvar="APM_TTA_DATA_ROOT",
    help="Where it lies, or a folder that holds it under its name; also from APM_TTA_DATA_ROOT.",
)
@click.option("--deep", is_flag=True, help="Decode every image, and compare published digests.")
@click.pass_context
def check_command(ctx: click.Context, name: str, data_root: Path | None, deep: bool) -> None:
    """Counts the data set NAME (see run-bench list datasets), and says what is missing, surplus or unreadable."""
    from tqdm import tqdm

    from apm_tta.data.cards import load_card
    from apm_tta.data.check import check, presence

    card = load_card(name)
    given = ctx.get_parameter_source("data_root") is not click.core.ParameterSource.ENVIRONMENT
    root = data_root if given or presence(card, None) != "carried" else None
    report = check(card, root, deep, lambda entries, total: tqdm(entries, total=total, leave=False, disable=None))
    click.echo("\n".join(report.lines()))
    if not report.right:
        raise UserError(f"{name} is not as it has to be: {len(report.problems)} problems, listed above")


COMMANDS = [check_command]
