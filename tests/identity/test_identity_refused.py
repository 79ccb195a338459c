"""Each thing that a number depends on, changed alone: the run does not go on, does not merge, and is told apart."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from identity import Before, check_refused
from PIL import Image
from safetensors.torch import load_file, save_file

Change = Callable[[Path], None]


@dataclass(frozen=True)
class Mutation:
    """One thing that is changed.

    Attributes:
        of: what it is.
        named: pattern by which every command names it.
        words: of the run before.
        change: changes a file; nothing where an option changes.
        options: words that are typed in addition, which override earlier ones.
    """

    of: str
    named: str
    words: Sequence[str]
    change: Change = lambda _place: None
    options: Sequence[str] = field(default=())


PLAIN = ("folder", "--data-root", "{place}/data", "--teacher", "embedded", "--device", "cpu", "--shard-size", "2")
ZEROSHOT = (*PLAIN, "--methods", "zeroshot")
SUPPORTED = (*PLAIN, "--methods", "zeroshot,knn", "--support", "{place}/support", "--shots", "2")
PROMPTED = (*ZEROSHOT, "--set", "zeroshot.templates={place}/prompts.txt")
NETWORK = (
    *(*PLAIN, "--teacher", "timm:test_resnet:network/weights.safetensors", "--methods", "zeroshot"),
    *("--classifier", "prototypes", "--support", "{place}/support", "--shots", "2"),
)
CORRUPTED = (*ZEROSHOT, "--corruptions", "contrast", "--severities", "3", "--jpeg-quality", "85", "--limit", "4")
ONLINE = (*PLAIN, "--methods", "zeroshot,tda", "--corruptions", "contrast", "--severities", "3")
TENT = (*PLAIN, "--methods", "zeroshot,tent", "--set", "tent.batch_size=4")
VIEWS = (*PLAIN, "--methods", "zeroshot,vte", "--set", "vte.views=4")


def change_a_pixel(path: str) -> Change:
    def change(place: Path) -> None:
        with Image.open(place / path) as opened:
            image = opened.copy()
        image.putpixel((3, 4), (int(image.convert("L").getpixel((3, 4))) + 1) % 256)  # type: ignore[arg-type, operator]
        image.save(place / path)

    return change


def edit(path: str, old: str, new: str) -> Change:
    def change(place: Path) -> None:
        text = (place / path).read_text()
        assert text.count(old) == 1
        (place / path).write_text(text.replace(old, new))

    return change


def state_of_network(key: str, value: object) -> Change:
    """Change what the file beside a network's weights says of its input."""

    def change(place: Path) -> None:
        path = place / "network" / "config.json"
        stated = json.loads(path.read_text())
        assert stated["pretrained_cfg"][key] != value
        stated["pretrained_cfg"][key] = value
        path.write_text(json.dumps(stated))

    return change


def change_a_weight(place: Path) -> None:
    path = place / "network" / "weights.safetensors"
    state = load_file(path)
    state["layer1.0.conv1.weight"][0, 0, 0, 0] += 0.01
    save_file(state, path)


def swap_two_classes(place: Path) -> None:
    path = place / "data" / "classes.txt"
    first, second, *others = path.read_text().splitlines(keepends=True)
    path.write_text("".join([second, first, *others]))


def relabel(place: Path) -> None:
    """Give an image the name of one of another class, and that one its name: the same names, other labels."""
    one, other = place / "data" / "bag" / "1.png", place / "data" / "coat" / "1.png"
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)


def move(place: Path) -> None:
    (place / "data" / "coat" / "1.png").rename(place / "data" / "bag" / "moved.png")


def add_an_image(place: Path) -> None:
    shutil.copy(place / "support" / "bag" / "3.png", place / "data" / "bag" / "3.png")


MUTATIONS = [
    Mutation("a pixel", r"bag/1\.png", ZEROSHOT, change_a_pixel("data/bag/1.png")),
    Mutation("an image under another's name", r"bag/1\.png", ZEROSHOT, relabel),
    Mutation("a label", r"moved\.png|coat/1\.png", ZEROSHOT, move),
    Mutation("one image more", r"bag/3\.png|all 8 images and all 9", ZEROSHOT, add_an_image),
    Mutation("a class name", "overcoat", ZEROSHOT, edit("data/classes.txt", "\tcoat\n", "\tovercoat\n")),
    Mutation("the order of two classes", "class_names.*bag.*coat|other labels", ZEROSHOT, swap_two_classes),
    Mutation("a sentence", "piece of art", PROMPTED, edit("prompts.txt", "piece of clothing", "piece of art")),
    Mutation("the list of sentences", "sentences", ZEROSHOT, options=("--set", "zeroshot.templates=simple7")),
    Mutation("a support image", "support", SUPPORTED, change_a_pixel("support/bag/2.png")),
    Mutation("the number of support images", "shots", SUPPORTED, options=("--shots", "1")),
    Mutation("a weight", r"weights_sha256", NETWORK, change_a_weight),
    Mutation("the size of the input", "preprocessing.*128", NETWORK, state_of_network("input_size", [3, 128, 128])),
    Mutation("the interpolation", "preprocessing.*bilinear", NETWORK, state_of_network("interpolation", "bilinear")),
    Mutation("the crop", r"preprocessing.*0\.8", NETWORK, state_of_network("crop_pct", 0.8)),
    Mutation("the normalisation", r"preprocessing.*0\.4", NETWORK, state_of_network("mean", [0.4, 0.5, 0.5])),
    Mutation("the JPEG quality", "jpeg_quality: 85.*80", CORRUPTED, options=("--jpeg-quality", "80")),
    Mutation("the subset", "images_per_condition|subset", ZEROSHOT, options=("--limit", "4")),
    Mutation("the seed of views", "seed", VIEWS, options=("--seeds", "1")),
    Mutation("the precision", "precision: float32.*bfloat16", ZEROSHOT, options=("--precision", "bfloat16")),
    Mutation("a method's parameter", r"vte\.views: 4.*5", VIEWS, options=("--set", "vte.views=5")),
    Mutation("the batch of a method", r"tent\.batch_size: 4.*8", TENT, options=("--set", "tent.batch_size=8")),
    Mutation("the order of a stream", r"streams\.setting: iid.*mixed", ONLINE, options=("--setting", "mixed")),
    Mutation("where a method is reset", r"streams\.reset: corruption.*never", ONLINE, options=("--reset", "never")),
    Mutation("the source of class weights", "classifier", SUPPORTED, options=("--classifier", "prototypes")),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.of)
def test_another_run_is_refused_and_named(
    mutation: Mutation, before: Callable[[Sequence[str]], Before], tmp_path: Path
) -> None:
    begun = before(mutation.words)
    place = shutil.copytree(begun.place, tmp_path / "place")
    mutation.change(place)
    check_refused(begun, place, (*mutation.words, *mutation.options), mutation.named, tmp_path)
