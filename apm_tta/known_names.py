"""Names that can be asked for, known without importing what they name: for completion, and for the nearest of them.

Methods are read from this package's source, released weights from those of open_clip, timm and torchvision, since
importing any of them takes seconds. What cannot be read there is left out: a run asks the registries, not these lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from apm_tta.resources import DATASETS, SUITES, yaml_names

_PACKAGE = Path(__file__).parent
_METHOD = re.compile(r'^@register\n.*?^    name = "([^"]+)"', re.MULTILINE | re.DOTALL)
_TIMM = re.compile(r"""^    ['"]([\w.]+\.\w+)['"]: _\w*cfg""", re.MULTILINE)

_TORCHVISION_WEIGHTS = re.compile(r"^class (\w+)\(WeightsEnum\):\n((?:    .*\n|\n)+)", re.MULTILINE)
_TORCHVISION_TAG = re.compile(r"^    (IMAGENET1K_(?!FEATURES)\w+) = Weights\(", re.MULTILINE)
_TORCHVISION_NETWORK = re.compile(r"^def (\w+)\(\s*\*,\s*weights: Optional\[(\w+)\]", re.MULTILINE)


def suite_names() -> list[str]:
    """Return the names of all suites, sorted."""
    return yaml_names(SUITES)


def dataset_names() -> list[str]:
    """Return the names of all data sets, those of installed packages included, sorted."""
    return sorted({*yaml_names(DATASETS), *_of_others("datasets")})


def method_names() -> list[str]:
    """Return the names of all methods, those of installed packages included, sorted."""
    sources = (path.read_text(encoding="utf-8") for path in (_PACKAGE / "methods").glob("*.py"))
    return sorted({*_of_others("methods"), *(name for source in sources for name in _METHOD.findall(source))})


def teacher_names() -> list[str]:
    """Return the names of teachers with weights that the package carries or that are released."""
    carried = sorted({"embedded", *_of_others("teachers"), *_embedded()})
    return [*carried, *_of_open_clip(), *(f"timm:{name}" for name in sorted(set(_of_timm()))), *_of_torchvision()]


def _of_others(group: str) -> list[str]:
    from importlib.metadata import entry_points

    return [point.name for point in entry_points(group=f"apm_tta.{group}")]


def _embedded() -> list[str]:
    folder = _PACKAGE / "teachers" / "embedded"
    return [f"embedded-{path.name}" for path in folder.iterdir() if (path / "open_clip_config.json").is_file()]


def _of_open_clip() -> list[str]:
    """Return ``ARCHITECTURE:TAG`` of released weights: of ``_PRETRAINED``, whose values are dictionaries by tag."""
    import ast

    tags: dict[str, list[str]] = {}
    names: list[str] = []
    with suppress(OSError, SyntaxError):
        for node in ast.parse(_folder("open_clip").joinpath("pretrained.py").read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
                continue
            if isinstance(node.value, ast.Call):
                tags[node.targets[0].id] = _keywords(node.value)
            elif node.targets[0].id == "_PRETRAINED" and isinstance(node.value, ast.Dict):
                for key, held in zip(node.value.keys, node.value.values, strict=True):
                    own = tags.get(held.id, []) if isinstance(held, ast.Name) else _keywords(held)
                    names += [f"{ast.literal_eval(key)}:{tag}" for tag in own if key is not None]
    return names


def _keywords(node: object) -> list[str]:
    return [keyword.arg for keyword in getattr(node, "keywords", []) if keyword.arg]


def _of_timm() -> Iterator[str]:
    with suppress(OSError):
        for path in _folder("timm").joinpath("models").glob("*.py"):
            found = _TIMM.findall(path.read_text(encoding="utf-8"))
            yield from (name for name in found if not name.endswith(".untrained"))


def _of_torchvision() -> Iterator[str]:
    with suppress(OSError):
        for path in sorted(_folder("torchvision").joinpath("models").glob("*.py")):
            source = path.read_text(encoding="utf-8")
            tags = {kind: _TORCHVISION_TAG.findall(body) for kind, body in _TORCHVISION_WEIGHTS.findall(source)}
            for name, kind in _TORCHVISION_NETWORK.findall(source):
                yield from (f"torchvision:{name}.{tag}" for tag in tags.get(kind, []))


def _folder(package: str) -> Path:
    """Return the folder of an installed package; one that does not exist where there is none."""
    spec = find_spec(package)
    return Path((spec.submodule_search_locations or ["/nowhere"])[0] if spec else "/nowhere")
