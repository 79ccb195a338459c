"""Measure archives that are read as they lie: ``python benchmarks/archive_index.py SCRATCH PHOTOGRAPHS``.

Two tables are written into docs/as_it_lies.md: the index of 7,500,000 files, made of headers that exist only while they
are read, with what it takes to open it and read one image in a new process; and how long an image's bytes take to read
from each form.

SCRATCH is a folder for a gigabyte of files, which are removed; PHOTOGRAPHS a tree ``class folder/image``.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from unittest import mock

from tabulate import tabulate

from apm_tta.data.archives import archive, archive_at, scan
from apm_tta.data.files import list_folder, read_whole
from apm_tta.system.cache_folder import default_cache

PAGE = Path(__file__).parent.parent / "docs" / "as_it_lies.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
CONDITIONS, CLASSES, IMAGES = 150, 1000, 50
BLOCK = tarfile.BLOCKSIZE
SIZE = 20 * BLOCK
"""Bytes of each image in the tar that is made up, as few as ImageNet-C's smallest."""

STEP = BLOCK + SIZE
PASSES = 5


def name_of(number: int) -> str:
    rest, image = divmod(number, IMAGES)
    condition, label = divmod(rest, CLASSES)
    folder = f"corruption_{condition // 5:02d}/{condition % 5 + 1}/n{label:08d}"
    return f"{folder}/ILSVRC2012_val_{label * IMAGES + image:08d}.JPEG"


class MadeUp(io.RawIOBase):
    """A tar of ``members`` images whose headers are made when they are read."""

    def __init__(self, members: int) -> None:
        self.members = members
        self.place = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self.place = offset
        return offset

    def tell(self) -> int:
        return self.place

    def read(self, size: int = -1) -> bytes:
        number, within = divmod(self.place, STEP)
        content = bytes(size) if within or number >= self.members else header(number)[:size]
        self.place += size
        return content


@cache
def first_header() -> bytes:
    member = tarfile.TarInfo(name_of(0))
    member.size = SIZE
    return member.tobuf(tarfile.USTAR_FORMAT)


def header(number: int) -> bytes:
    """Return the header of a member: the first one's, with another name and the sum over it that belongs to that."""
    block = bytearray(first_header())
    name = name_of(number).encode()
    block[: len(name)] = name
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def resident_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_index(scratch: Path, members: int) -> list[tuple[str, str]]:
    """Build the index of a tar of which only the last image is on disk, and open it in a new process."""
    path, last = scratch / "made_up.tar", members - 1
    with path.open("wb") as file:
        file.truncate(members * STEP + 2 * BLOCK)
        file.seek(last * STEP)
        file.write(header(last) + b"\xff" * SIZE)

    def scan_made_up(_: Path, kind: object, writer: object, points: Path, advance: Callable[[int], object]) -> None:
        made_up = MadeUp(members)
        scan._scan_tar(made_up, writer, advance, made_up.tell)

    with mock.patch.object(archive, "scan", scan_made_up):
        started = time.perf_counter()
        assert archive_at(str(path)).has_folder("")
        built = time.perf_counter() - started
    (index,) = (default_cache() / archive.FOLDER).glob("*.sqlite")
    child = subprocess.run(
        [sys.executable, __file__, "--open", str(scratch / name_of(last))], capture_output=True, text=True, check=True
    )
    seconds, resident = child.stdout.split()
    return [
        ("files", f"{members:,}"),
        ("built in, s", f"{built:.0f}"),
        ("resident while it is built, MB", f"{resident_mb():.0f}"),
        ("size of the index, MB", f"{index.stat().st_size / 1e6:.0f}"),
        ("opened and first image read, s", seconds),
        ("resident then, MB", resident),
    ]


def open_one(path: Path) -> None:
    """Print the seconds until the bytes of an image are there, and the process's peak of memory in MB."""
    started = time.perf_counter()
    assert len(read_whole(path)) == SIZE
    print(f"{time.perf_counter() - started:.2f} {resident_mb():.0f}")


def measure_reading(scratch: Path, photographs: Path) -> list[tuple[str, ...]]:
    """Read the photographs from each form, in the order of their names and in another; in milliseconds per image."""
    classes = list_folder(photographs)[0]
    names = [f"val/{folder}/{name}" for folder in classes for name in list_folder(photographs / folder)[1]]
    shuffled = random.Random(0).sample(names, len(names))
    folders = {form: scratch / form for form in ("tree", "tar", "tar.gz", "zip")}
    for folder in folders.values():
        folder.mkdir()
    shutil.copytree(photographs, folders["tree"] / "val")
    for form, mode in (("tar", "w"), ("tar.gz", "w:gz")):
        with tarfile.open(folders[form] / f"val.{form}", mode) as tar:
            tar.add(photographs, "val")
    with zipfile.ZipFile(folders["zip"] / "val.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in names:
            packed.write(photographs / name.partition("/")[2], name)
    for folder in folders.values():
        list_folder(folder / "val")
    taken: dict[tuple[str, bool], list[float]] = {}
    for _ in range(PASSES):
        for form, folder in folders.items():
            for order in (names, shuffled):
                started = time.process_time()
                for name in order:
                    read_whole(folder / name)
                spent = (time.process_time() - started) / len(order)
                taken.setdefault((form, order is names), []).append(spent * 1e3)
    return [(form, *(f"{statistics.median(taken[form, order]):.3f}" for order in (True, False))) for form in folders]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("scratch", type=Path)
    parser.add_argument("photographs", type=Path, nargs="?")
    parser.add_argument("--members", type=int, default=CONDITIONS * CLASSES * IMAGES)
    parser.add_argument("--open", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.open:
        open_one(arguments.scratch)
        return
    scratch = arguments.scratch / "archive_index"
    scratch.mkdir(parents=True)
    os.environ["APM_TTA_CACHE"] = str(scratch / "cache")
    try:
        index = tabulate(measure_index(scratch, arguments.members), ["index", ""], "github", disable_numparse=True)
        headers = ["form", "in order, ms of CPU per image", "in another order, ms"]
        reading = tabulate(measure_reading(scratch, arguments.photographs), headers, "github", disable_numparse=True)
    finally:
        shutil.rmtree(scratch)
    text = f"{index}\n\n{reading}"
    print(text)
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(f"{page.split(BEGIN)[0]}{BEGIN}\n{text}\n{END}{page.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
