"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from apm_tta.islands.gallery import Drawing
    from apm_tta.islands.picture_folder import PictureFolder

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def data_root_option() -> click.Option:
    """Make the option ``--data-root``; ``apm_tta.data.data_root.resolve_data_root`` decides what it means."""
    return click.Option(
        ["--data-root"],
        type=click.Path(path_type=Path),
        help="Where the data set lies, or a folder that holds it under its name; also from APM_TTA_DATA_ROOT.",
    )


def picture_options(kind: str) -> Decorator:
    """All that a command has that draws islands; ``kind`` names its default folder."""
    return within("out", "seed", "device", "threshold", "animation", kind=kind)


def within(*names: str, kind: str) -> Decorator:
    """Some options of commands that draw; ``kind`` names their default folder."""
    known = {
        "out": click.option(
            "--out", type=click.Path(path_type=Path), help=f"Folder of the files.  [default: results/{kind}/TIME]"
        ),
        "seed": click.option(
            "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of every random draw."
        ),
        "device": click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:N or auto."),
        "threshold": click.option(
            "--threshold",
            type=click.FloatRange(-1, 1),
            default=0.9,
            show_default=True,
            help="Cosine from which neighbours belong to one island.",
        ),
        "animation": click.option(
            "--animation",
            type=click.Choice(["gif", "webp", "none"]),
            default="gif",
            show_default=True,
            help="Kind of animation.",
        ),
    }

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(names):
            function = known[name](function)
        return function

    return decorate


def opened(kind: str, pictures: Mapping[str, Any]) -> tuple[PictureFolder, Drawing]:
    """The folder that ``within``'s options name, and how they have islands drawn."""
    from apm_tta.islands.gallery import Drawing
    from apm_tta.islands.picture_folder import PictureFolder

    animation = pictures["animation"]
    drawn = Drawing(pictures["threshold"], pictures["seed"], None if animation == "none" else animation)
    return PictureFolder(pictures["out"], kind), drawn
