"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from apm_tta.commands.option_types import Amount, NamedPath, OneOf, Text, Whole
from apm_tta.known_names import teacher_names
from apm_tta.plain_data import LARGEST

if TYPE_CHECKING:
    from apm_tta.islands.gallery import Drawing
    from apm_tta.islands.picture_folder import PictureFolder

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

FINE = ["field", "stride", "shift", "bilinear"]


def data_root_option() -> click.Option:
    """Make the option ``--data-root``; ``apm_tta.data.data_root.resolve_data_root`` decides what it means."""
    return click.Option(
        ["--data-root"],
        type=NamedPath(),
        help="Folder or archive of the data set, or one that contains it under its name; also from APM_TTA_DATA_ROOT.",
    )


def teacher_option() -> Decorator:
    """Add the option ``--teacher`` of a command that fits an APM."""
    return click.option(
        "--teacher",
        "teacher_name",
        type=Text("embedded", teacher_names),
        default="embedded",
        show_default=True,
        help="See run-bench list teachers.",
    )


def compared_teacher_option(use: str) -> Decorator:
    """Add the option ``--teacher`` of a command on a trained field; ``use`` says what for, opening with a verb."""
    return click.option(
        "--teacher",
        "teacher_name",
        type=Text("auto", lambda: ["auto", "none", *teacher_names()]),
        default="auto",
        show_default=True,
        help=f"{use}: auto for the one that the field was trained on, none, or a name.",
    )


def picture_options(kind: str) -> Decorator:
    """Add every option of a command that draws islands; ``kind`` names its default folder."""
    names = ("out", "seed", "device", "explained", "resolution", "fine", "yes", "colours", "animation")
    return drawing_options(*names, kind=kind)


def drawing_options(*names: str, kind: str) -> Decorator:
    """Add some options of commands that draw, by name; ``kind`` names the default folder."""
    known = {
        "out": click.option("--out", type=NamedPath(), help=f"Folder to write to.  [default: results/{kind}/TIME]"),
        "seed": click.option("--seed", type=Whole(0, LARGEST, 0), default=0, show_default=True, help="Random seed."),
        "device": click.option(
            "--device", type=Text("cpu"), default="auto", show_default=True, help="cpu, cuda, cuda:N or auto."
        ),
        "explained": click.option(
            "--explained",
            type=Amount(0, 1, 0.5),
            default=0.5,
            show_default=True,
            help="Share of the features' variance that islands explain: more for smaller islands.",
        ),
        "resolution": click.option(
            "--resolution",
            type=Whole(2, 2048, 56),
            help="Locations per side, a multiple of the grid's.  [default: the grid's]",
        ),
        "fine": click.option(
            "--fine",
            type=OneOf(FINE),
            default="bilinear",
            show_default=True,
            help="Way to features between the grid's locations; field: ask the APM there.",
        ),
        "yes": click.option("--yes", is_flag=True, help="Do what is estimated to take more than ten minutes."),
        "colours": click.option(
            "--colours",
            type=OneOf(["auto", "all", "pca"]),
            default="auto",
            show_default=True,
            help="Embeddings that are drawn; auto: t-SNE up to 32 x 32 locations, and PCA.",
        ),
        "animation": click.option(
            "--animation",
            type=OneOf(["gif", "webp", "none"]),
            default="gif",
            show_default=True,
            help="Format of the animation.",
        ),
    }

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for name in reversed(names):
            function = known[name](function)
        return function

    return decorate


def open_picture_folder(kind: str, pictures: Mapping[str, Any]) -> tuple[PictureFolder, Drawing]:
    """Open the folder that the drawing options name; return it with how islands are drawn."""
    from apm_tta.islands.gallery import Drawing
    from apm_tta.islands.picture_folder import PictureFolder

    animation = pictures["animation"]
    drawn = Drawing(
        pictures["explained"],
        pictures["seed"],
        None if animation == "none" else animation,
        pictures["colours"],
        pictures["resolution"],
        pictures["fine"],
        pictures["yes"],
    )
    return PictureFolder(pictures["out"], kind), drawn
