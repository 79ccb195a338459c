"""``run-bench pack``: write a data set into shards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from apm_tta.commands.option_types import NamedPath, Text
from apm_tta.commands.options import data_root_option

if TYPE_CHECKING:
    from apm_tta.data.layouts import Entry


@click.command("pack", params=[data_root_option()], short_help="Write a data set into webdataset shards.")
@click.argument("name", type=Text("imagenet"))
@click.option("--out", type=NamedPath(), required=True, help="Folder of the shards: an empty one, or a new one.")
def pack_command(name: str, data_root: Path | None, out: Path) -> None:
    """Write the images of the data set NAME, with their labels, into shards that webdataset reads.

    With --data-root FOLDER, runs read the shards as they read the tree: their records are the same.
    """
    from apm_tta.api.pack import pack_dataset
    from apm_tta.system.bars import bar
    from apm_tta.wording import for_shell, pluralise

    def show_progress(entries: Iterator[Entry], total: int) -> Iterable[Entry]:
        return bar(entries, total=total)

    packed = pack_dataset(name, out, data_root, show_progress)
    images, shards = pluralise(packed.images, "image"), pluralise(len(packed.shards), "shard")
    click.echo(f"packed {images} into {shards} of {packed.size / 1e6:,.1f} MB in {out}")
    click.echo(f"check them with: {for_shell(['run-bench', 'check', name, '--data-root', out, '--deep'])}")


COMMANDS = [pack_command]
