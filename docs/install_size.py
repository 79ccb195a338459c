"""Make ``docs/install_size.md``: what a plain install downloads, and what it takes on disk.

``python docs/install_size.py``, in an environment in which the package is installed, asks pip what it would download
(nothing is installed or kept), and an address's server for the size of each file.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from importlib.metadata import distribution, version
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import requests

ROOT = Path(__file__).resolve().parent.parent
PAGE = Path(__file__).parent / "install_size.md"
FOR_GPUS = re.compile(r"nvidia|cuda|triton")
OF_TORCH = re.compile(r"libtorch_cuda|libtorch_nvshmem|libc10_cuda")
NAMED = 30e6
"""Bytes on disk from which a package has a row of its own."""
PAGE_TEXT = """# What a plain install takes

Made by `python docs/install_size.py` on {day}: `pip install .` of {count} packages on Python {python}, {system}, with
torch {torch}.

{table}
With the CPU-only build of torch ([Install](install.md)) the second row is not needed, nor what torch's own files have
for GPUs, {torch_gpu:.2f} GB of {torch_all:.2f} GB: {rest:.1f} GB of {whole:.1f} GB on disk are left. That was computed
from the files here; the build itself was not installed.
"""


def downloads() -> Iterator[tuple[str, int]]:
    """Yield every package that pip would install, with the bytes of its file."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    found = subprocess.run([*command, str(ROOT)], check=True, capture_output=True, text=True).stdout
    for item in json.loads(found[found.index("{") :])["install"]:
        name, address = item["metadata"]["name"], item["download_info"]["url"]
        if urlsplit(address).scheme == "file":
            path = Path(url2pathname(urlsplit(address).path))
            yield name, path.stat().st_size if path.is_file() else 0  # a folder: this package
        else:
            reply = requests.head(address, timeout=60, allow_redirects=True)
            reply.raise_for_status()
            yield name, int(reply.headers["Content-Length"])


def on_disk(name: str, only: re.Pattern[str] | None = None) -> int:
    """Return the bytes of a package's files; of those alone whose names match."""
    paths = [Path(str(file.locate())) for file in distribution(name).files or ()]
    return sum(path.stat().st_size for path in paths if path.is_file() and (only is None or only.search(path.name)))


def page() -> str:
    """Return the page as Markdown."""
    rows = {name: (size, on_disk(name)) for name, size in downloads()}
    parts: dict[str, list[tuple[int, int]]] = {"torch": [rows.pop("torch")]}
    parts["its libraries for GPUs (NVIDIA's, triton)"] = [rows.pop(name) for name in [*rows] if FOR_GPUS.match(name)]
    for name in sorted(rows, key=lambda name: -rows[name][1]):
        parts.setdefault(name if rows[name][1] >= NAMED else "all others", []).append(rows[name])
    sums = {name: [sum(column) / 1e9 for column in zip(*sizes, strict=True)] for name, sizes in parts.items()}
    whole = [sum(column) for column in zip(*sums.values(), strict=True)]
    lines = ["| | downloaded, GB | on disk, GB |", "| --- | --- | --- |"]
    lines += [f"| {name} | {first:.2f} | {second:.2f} |" for name, (first, second) in [*sums.items(), ("all", whole)]]
    torch_gpu = on_disk("torch", OF_TORCH) / 1e9
    return PAGE_TEXT.format(
        day=date.today().isoformat(),
        count=sum(map(len, parts.values())),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        torch=version("torch"),
        table="\n".join(lines) + "\n",
        torch_gpu=torch_gpu,
        torch_all=sums["torch"][1],
        rest=whole[1] - [*sums.values()][1][1] - torch_gpu,
        whole=whole[1],
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
