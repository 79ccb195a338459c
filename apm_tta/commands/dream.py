"""``run-bench remember`` and ``dream``: a field at night."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from apm_tta.commands.option_types import NamedImage, NamedPath, Names, OneOf, Text, Whole
from apm_tta.commands.options import compared_teacher_option, drawing_options
from apm_tta.errors import UserError
from apm_tta.plain_data import LARGEST

_MEMORIES = ["density", "network"]
_CHECKPOINT = click.option("--checkpoint", type=NamedPath(), required=True, help="Checkpoint of train-field.")


@click.command("remember", short_help="Make the memories that a trained field dreams from.")
@_CHECKPOINT
@click.option(
    "--data",
    type=NamedImage(),
    default="fashion-mnist",
    show_default=True,
    help="The images that the field was trained on: a folder, or a set that the package carries.",
)
@click.option(
    "--memory",
    type=OneOf([*_MEMORIES, "both"]),
    default="both",
    show_default=True,
    help="Make a density of columns, which takes seconds; a network that undoes noise, which takes minutes; or both.",
)
@click.option("--seed", type=Whole(0, LARGEST, 0), default=0, show_default=True, help="Random seed.")
@click.option("--device", type=Text("cpu"), default="auto", show_default=True, help="cpu, cuda, cuda:N or auto.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def remember_command(checkpoint: Path, data: str, memory: Any, seed: int, device: str, quiet: bool) -> None:
    """Make memories of the columns of a field's training images, and write them beside its checkpoint.

    FIELD.density.safetensors is a mixture of Gaussians, FIELD.network.safetensors a network that undoes noise.
    """
    from apm_tta.data.unlabelled import all_images
    from apm_tta.devices import resolve_device
    from apm_tta.dream.remember import remember
    from apm_tta.field.checkpoint import load_field

    images = all_images(data)
    field = load_field(checkpoint, resolve_device(device))
    kinds: Any = _MEMORIES if memory == "both" else [memory]
    click.echo(remember(checkpoint, field, images, data, kinds, seed, quiet))


@click.command("dream", short_help="Let a trained field dream: walk through its memory and draw every state.")
@_CHECKPOINT
@click.option(
    "--memory",
    type=OneOf(_MEMORIES),
    default="density",
    show_default=True,
    help="Memory to walk through; run-bench remember makes both.",
)
@click.option(
    "--walk",
    type=OneOf(["langevin", "path"]),
    default="langevin",
    show_default=True,
    help="Walk by random steps that sample the memory, or on the shortest curve between two states.",
)
@click.option("--towards", type=Text("'a photo of a boot'"), help="Draw the dreams towards a text; langevin only.")
@click.option("--dreams", type=Whole(1, 4096, 64), default=64, show_default=True, help="Number of dreams.")
@click.option("--steps", type=Whole(1, 100_000, 100), default=100, show_default=True, help="Steps of each.")
@click.option("--every", type=Whole(1, 100_000, 10), default=10, show_default=True, help="Steps between two pictures.")
@click.option(
    "--classes",
    type=Names("boot,coat"),
    help="Classes that pictures are named by, or a data set with them.  [default: those of the memory's images]",
)
@compared_teacher_option("Name classes by this teacher")
@click.option(
    "--resolution",
    type=Whole(2, 2048, 32),
    help="Locations per side, a multiple of the grid's.  [default: what the field was trained for]",
)
@click.option(
    "--animation",
    type=OneOf(["gif", "webp", "none"]),
    default="none",
    show_default=True,
    help="Format of an animation of all dreams.",
)
@drawing_options("seed", "out", "device", kind="dream")
def dream_command(
    checkpoint: Path,
    memory: Any,
    walk: str,
    towards: str | None,
    dreams: int,
    steps: int,
    every: int,
    classes: list[str] | None,
    teacher_name: str,
    resolution: int | None,
    animation: Any,
    seed: int,
    out: Path | None,
    device: str,
) -> None:
    """Sample states from the memory of a field, walk on from each, and draw every state as the field decodes it.

    The memory is made by run-bench remember. Each picture is encoded anew by the field's teacher, and named by the
    nearest class. The same seed gives the same dreams.
    """
    from apm_tta.data.cards import card_names
    from apm_tta.devices import resolve_device
    from apm_tta.dream.judge import judge_of
    from apm_tta.dream.memory_file import load_memory
    from apm_tta.dream.show_dream import Night, show_dream
    from apm_tta.dream.towards import towards_text
    from apm_tta.field.checkpoint import load_field
    from apm_tta.field.field_answers import teacher_of
    from apm_tta.islands.fine import multiple_of
    from apm_tta.islands.picture_folder import PictureFolder

    if towards and walk == "path":
        raise UserError("a path ends where it ends: --towards needs --walk langevin", exit_code=2)
    place = resolve_device(device)
    field = load_field(checkpoint, place)
    remembered, data = load_memory(checkpoint, memory, field)
    found = teacher_of(field, teacher_name, None, place)
    teacher = found[0] if found else None
    text = towards_text(towards, field, teacher) if towards else None
    named = classes or ([data] if data in card_names() else [])
    judge = judge_of(teacher, named) if teacher is not None and named else None
    fine = field.settings.schedule.fine if field.settings else 1
    factor = multiple_of(field.apm.config.grid, resolution) if resolution else fine
    night = Night(remembered, memory, walk, dreams, steps, every, seed, text)
    folder = PictureFolder(out, "dream")
    kind = None if animation == "none" else animation
    click.echo(f"{show_dream(folder, night, field, factor, judge, kind)}\n\n{folder}")


COMMANDS = [remember_command, dream_command]
