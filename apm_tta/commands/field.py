"""``run-bench train-field``, ``field`` and ``interpolate``: one APM on many images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from apm_tta.commands.option_types import Amount, Integers, NamedImage, NamedPath, OneOf, Text, Whole
from apm_tta.commands.options import (
    compared_teacher_option,
    drawing_options,
    open_picture_folder,
    picture_options,
    teacher_option,
)
from apm_tta.harness.request.limits import MOST_IMAGES
from apm_tta.plain_data import LARGEST
from apm_tta.wording import visible

_PATH = NamedPath()


@click.command("train-field", short_help="Train one APM on many images: a field that answers for any of them.")
@click.option(
    "--data",
    type=NamedImage(),
    default="fashion-mnist",
    show_default=True,
    help="Folder of images, or a set that the package carries.",
)
@teacher_option()
@click.option(
    "--layer",
    type=Whole(-1000, 1000, -1),
    help="Teacher's layer with the target tokens, from 0 or the end.  [default: -1]",
)
@click.option(
    "--hidden",
    type=Integers("widths", "4096,2048,1024", minimum=1, maximum=65_536),
    help="Widths of the MLP's layers, such as 1024,512.  [default: by the teacher]",
)
@click.option("--epochs", type=Whole(1, 100_000, 64), help="Passes over the images.  [default: 64]")
@click.option("--batch-size", type=Whole(1, 65_536, 128), help="Views per step.  [default: 128]")
@click.option(
    "--learning-rate",
    type=Amount(0, 1000, 1e-4, above=True),
    help="Adam's peak learning rate.  [default: by size]",
)
@click.option("--rgb-weight", type=Amount(0, 1e6, 0.1), help="Weight of the colours' loss; 0 for none.  [default: 0.1]")
@click.option("--locations", type=Whole(0, MOST_IMAGES, 8), help="Locations per step; 0 for all.  [default: an eighth]")
@click.option("--views", type=Whole(1, 4096, 8), help="Views per image: itself, then crops.  [default: 8]")
@click.option("--limit", type=Whole(0, MOST_IMAGES, 100), help="Training images; 0 for all.  [default: 0]")
@click.option(
    "--precision",
    type=OneOf(["auto", "float32", "bfloat16"]),
    help="Data type of products; auto: what is faster here, or the training's that is resumed.  [default: auto]",
)
@click.option(
    "--fine", is_flag=True, default=None, help="Train between locations too, and a token; takes several times as long."
)
@click.option("--seed", type=Whole(0, LARGEST, 0), help="Random seed.  [default: 0]")
@click.option("--out", type=_PATH, help="Folder; the same training in it is resumed.  [default: results/field/TIME]")
@click.option("--device", type=Text("cpu"), default="auto", show_default=True, help="cpu, cuda, cuda:N or auto.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def train_field_command(
    data: str,
    teacher_name: str,
    hidden: list[int] | None,
    out: Path | None,
    device: str,
    quiet: bool,
    **schedule: Any,
) -> None:
    """Train one APM on all images of a folder, against a teacher's patch tokens and the images' colours.

    One image in ten is held out for validation after every epoch. The checkpoint is written after every epoch; killed
    at any moment and started again with the same --out, the training resumes and ends with the same weights.
    """
    from apm_tta.data.unlabelled import all_images, unused_files
    from apm_tta.devices import resolve_device
    from apm_tta.field.train_field import train_field
    from apm_tta.teachers import load_teacher

    images = all_images(data)
    if unused := unused_files(data):
        click.echo(visible(unused), err=True)
    teacher = load_teacher(teacher_name, resolve_device(device))
    chosen = {key: value for key, value in schedule.items() if value is not None}
    widths = tuple(hidden) if hidden else None
    click.echo(train_field(out, images, teacher, chosen, widths, quiet, lambda text: click.echo(text, err=True)))


@click.command("field", short_help="Show a trained field's answers for one image: features, islands, colours.")
@click.argument("image", type=NamedImage())
@click.option("--checkpoint", type=_PATH, required=True, help="Checkpoint of train-field, or a released one (.pth).")
@compared_teacher_option("Compare with this teacher")
@click.option(
    "--layer", type=Whole(-1000, 1000, -1), help="Layer of the teacher.  [default: the one that it was trained on]"
)
@click.option("--chunk", type=Whole(1, MOST_IMAGES, 1024), help="Locations that are queried at once.  [default: all]")
@picture_options("field")
def field_command(
    image: str,
    checkpoint: Path,
    teacher_name: str,
    layer: int | None,
    chunk: int | None,
    **pictures: Any,
) -> None:
    """Query a field at every location of IMAGE, and draw its features and the colours that it decodes."""
    from apm_tta.data.unlabelled import one_image
    from apm_tta.devices import resolve_device
    from apm_tta.field.checkpoint import load_field
    from apm_tta.field.field_answers import teacher_of
    from apm_tta.field.show_field import show_field

    shown, device = one_image(image), resolve_device(pictures["device"])
    field = load_field(checkpoint, device)
    teacher = teacher_of(field, teacher_name, layer, device)
    folder, drawing = open_picture_folder("field", pictures)
    click.echo(f"{show_field(folder, shown, field, teacher, chunk, drawing)}\n\n{folder}")


@click.command("interpolate", short_help="Turn one image into another through the column of a trained field.")
@click.argument("image_a", type=NamedImage())
@click.argument("image_b", type=NamedImage())
@click.option("--checkpoint", type=_PATH, required=True, help="Checkpoint of train-field, or a released one (.pth).")
@click.option("--steps", type=Whole(2, 10_000, 24), default=24, show_default=True, help="Steps, both ends included.")
@drawing_options("out", "device", "animation", kind="interpolate")
def interpolate_command(
    image_a: str, image_b: str, checkpoint: Path, steps: int, out: Path | None, device: str, animation: Any
) -> None:
    """Draw the features and colours of a field along the straight line from IMAGE_A's column to IMAGE_B's."""
    from apm_tta.data.unlabelled import one_image
    from apm_tta.devices import resolve_device
    from apm_tta.field.checkpoint import load_field
    from apm_tta.field.show_interpolation import show_interpolation
    from apm_tta.islands.picture_folder import PictureFolder

    one, other = one_image(image_a), one_image(image_b)
    field = load_field(checkpoint, resolve_device(device))
    folder = PictureFolder(out, "interpolate")
    kind = None if animation == "none" else animation
    click.echo(f"{show_interpolation(folder, one, other, field, steps, kind)}\n\n{folder}")


COMMANDS = [train_field_command, field_command, interpolate_command]
