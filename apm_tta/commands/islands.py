"""``run-bench islands`` and ``run-bench video``: how far the features of an image's locations agree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from apm_tta.commands.option_types import Amount, Integers, NamedImage, OneOf, Text, Whole
from apm_tta.commands.options import open_picture_folder, picture_options, teacher_option
from apm_tta.errors import UserError
from apm_tta.harness.request.limits import MOST_IMAGES
from apm_tta.wording import visible

_COUNT = Whole(1, 100_000, 50)


@click.command(
    "islands", short_help="Draw islands of agreement: of a fresh APM during its fit, or of a teacher's layers."
)
@click.argument("image", type=NamedImage())
@teacher_option()
@click.option(
    "--iterations", type=Whole(0, 100_000, 250), default=250, show_default=True, help="Adam steps of the fit."
)
@click.option("--every", type=_COUNT, default=50, show_default=True, help="Iterations between two pictures.")
@click.option(
    "--target",
    type=OneOf(["token", "grid"]),
    default="token",
    show_default=True,
    help="What the APM is fitted to: the teacher's embedding, or its patch tokens.",
)
@click.option(
    "--layer",
    type=Whole(-1000, 1000, -1),
    default=-1,
    show_default=True,
    help="Layer of the patch tokens, from 0 or the end.",
)
@click.option(
    "--learning-rate",
    type=Amount(0, 1000, 1e-4, above=True),
    default=1e-4,
    show_default=True,
    help="Learning rate of Adam.",
)
@click.option(
    "--levels",
    type=Integers("layers", "2,5,8,11", "all"),
    help="Draw these layers of the teacher instead of a fit; for a folder, test them.",
)
@click.option(
    "--limit",
    type=Whole(0, MOST_IMAGES, 100),
    default=0,
    help="Images of a folder, by SHA-256 of their ids; 0 for all.",
)
@picture_options("islands")
def islands_command(
    image: str,
    teacher_name: str,
    iterations: int,
    every: int,
    target: Any,
    layer: int,
    learning_rate: float,
    levels: list[int] | str | None,
    limit: int,
    **pictures: Any,
) -> None:
    """Draw islands of agreement in IMAGE: a file, or SET:ID of a set that the package carries.

    A fresh APM is fitted to the teacher's embedding of the image, and the features of its locations are drawn during
    the fit. With --levels the teacher's own layers are drawn; if IMAGE is then a folder, or a carried set, the claim
    that agreement grows with the level is tested over its images.
    """
    from apm_tta.apm import PRESETS
    from apm_tta.data.unlabelled import all_images, by_digest, is_collection, one_image, unused_files
    from apm_tta.devices import resolve_device
    from apm_tta.islands.levels import ordered_levels
    from apm_tta.islands.show_formation import show_formation
    from apm_tta.islands.show_levels import show_growth, show_levels
    from apm_tta.teachers import load_teacher

    many = is_collection(image)
    if many and levels is None:
        raise UserError(f"{image} is a folder: name one image, or test its images with --levels all", exit_code=2)
    images = all_images(image) if many else [one_image(image)]
    if many and (unused := unused_files(image)):
        click.echo(visible(unused), err=True)
    if limit:
        images = by_digest(images)[:limit]
    teacher = load_teacher(teacher_name, resolve_device(pictures["device"]))
    folder, drawing = open_picture_folder("islands", pictures)
    if levels is None:
        fit = replace(PRESETS["few"], iterations=iterations, learning_rate=learning_rate)
        text = show_formation(folder, images[0], teacher, fit, every, target, layer, drawing)
    else:
        chosen = ordered_levels(levels, teacher)
        show = show_growth if many else lambda folder, images, *more: show_levels(folder, images[0], *more)
        text = show(folder, images, teacher, chosen, drawing)
    click.echo(f"{text}\n\n{folder}")


@click.command("video", short_help="Draw islands of a video transformer in a video in which nothing happens.")
@click.argument("image", type=NamedImage())
@click.option(
    "--weights",
    type=Text("KINETICS400_V1"),
    default="KINETICS400_V1",
    show_default=True,
    help="Weights of torchvision's mvit_v2_s: a name in torchvision, or a local file.",
)
@click.option("--frames", type=_COUNT, default=16, show_default=True, help="Number of times the image is repeated.")
@click.option(
    "--block",
    "blocks",
    type=Integers("layers", "2,5,8,11", "all"),
    default="-1",
    show_default=True,
    help="Blocks whose tokens are drawn.",
)
@click.option(
    "--frame",
    type=Whole(-1000, 1000, 0),
    default=0,
    show_default=True,
    help="Frame of the tokens, which has two of the video.",
)
@picture_options("video")
def video_command(
    image: str,
    weights: str,
    frames: int,
    blocks: list[int] | str,
    frame: int,
    **pictures: Any,
) -> None:
    """Repeat IMAGE along time, pass it through MViTv2, and draw the tokens of chosen blocks in one frame."""
    from apm_tta.data.unlabelled import one_image
    from apm_tta.devices import resolve_device
    from apm_tta.islands.show_video import show_video
    from apm_tta.teachers.video import load_video_teacher

    still = one_image(image)
    teacher = load_video_teacher(weights, resolve_device(pictures["device"]))
    folder, drawing = open_picture_folder("video", pictures)
    chosen = list(range(teacher.blocks)) if isinstance(blocks, str) else list(dict.fromkeys(blocks))
    click.echo(f"{show_video(folder, still, teacher, frames, chosen, frame, drawing)}\n\n{folder}")


COMMANDS = [islands_command, video_command]
