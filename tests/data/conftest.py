"""Miniatures of every layout: real tree shapes and file formats, few images, each showing its label as a colour."""

from __future__ import annotations

import io
import json
import pickle
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from apm_tta.data.cards import DatasetCard, card_names, load_card

STEP = 20  # between the colours of two digits: far more than JPEG changes a plain colour


def colour(label: int) -> tuple[int, int, int]:
    """Return a colour that encodes the label, 0 .. 999, one digit per channel."""
    return STEP * (label // 100 % 10), STEP * (label // 10 % 10), STEP * (label % 10)


def label_of(image: Image.Image) -> int:
    """Decode the label from the colour in the middle of ``image``."""
    digits = [round(value / STEP) for value in image.getpixel((image.width // 2, image.height // 2))]
    return 100 * digits[0] + 10 * digits[1] + digits[2]


def encoded(label: int, kind: str = "JPEG", side: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), colour(label)).save(buffer, kind)
    return buffer.getvalue()


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def pixels(labels: Iterable[int]) -> np.ndarray:
    """Make images ``(N, 32, 32, 3)`` that show ``labels``."""
    return np.array([np.broadcast_to(np.uint8(colour(label)), (32, 32, 3)) for label in labels])


class Python2Pickler(pickle._Pickler):
    """A pickler that writes text as Python 2 did and arrays as its numpy did, as in CIFAR's files."""

    def save_text(self, value: Any) -> None:
        raw = value if isinstance(value, bytes) else value.encode("ascii")
        self.write(pickle.BINSTRING + struct.pack("<i", len(raw)) + raw)
        self.memoize(value)

    dispatch: ClassVar = {**pickle._Pickler.dispatch, bytes: save_text, str: save_text}


def python2_pickle(content: Any) -> bytes:
    buffer = io.BytesIO()
    Python2Pickler(buffer, protocol=2).dump(content)
    return buffer.getvalue().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


@dataclass(frozen=True)
class Miniature:
    """A tree, its card with equally small numbers, and the labels of all images by id, under one condition."""

    card: DatasetCard
    root: Path
    labels: dict[str, int]


def class_folders(root: Path, name: str, folders: dict[str, int], suffix: str = ".jpg", **changes: Any) -> Miniature:
    """Write one image per class, along with files that file managers leave behind."""
    labels = {f"{folder}/image_{label}{suffix}": label for folder, label in folders.items()}
    for path, label in labels.items():
        put(root / path, encoded(label, "PNG" if suffix.lower() == ".png" else "JPEG"))
    put(root / next(iter(folders)) / "._image.jpg", b"resource fork")
    put(root / ".DS_Store", b"\0")
    card = load_card(name)
    if card.images is not None:
        changes = {"images": len(labels), "images_per_class": card.images_per_class and 1, **changes}
    return Miniature(card.model_copy(update=changes), root, labels)


def by_synset(root: Path, name: str, suffix: str = ".JPEG") -> Miniature:
    folders = load_card(name).class_list.folders
    return class_folders(root, name, {folder: label for label, folder in enumerate(folders)}, suffix)


def by_integer(root: Path, name: str = "imagenet-v2-matched-frequency", width: int = 1) -> Miniature:
    return class_folders(root, name, {f"{label:0{width}d}": label for label in range(1000)}, ".jpeg")


def coop(root: Path, name: str, classes: tuple[str, ...] = ("abyssinian", "great_pyrenees", "beagle")) -> Miniature:
    """Write the images of all classes into one folder, as in OxfordPets; training images are only in the split."""
    card = load_card(name)
    split_file, folder = str(card.layout_options["split"]), str(card.layout_options.get("image_folder", ""))
    test = [[f"all/{word}_{number}.jpg", label, word] for number in (1, 2) for label, word in enumerate(classes)]
    train = [[f"all/{word}_9.jpg", label, word] for label, word in enumerate(classes)]
    for path, label, _ in test:
        put(root / folder / str(path), encoded(int(label)))
    split = {"train": train, "val": [], "test": test}
    put(root / split_file, json.dumps(split).encode())
    start = f"{folder}/" if folder else ""
    labels = {f"{start}{path}": int(label) for path, label, _ in test}
    return Miniature(card.model_copy(update={"class_count": len(classes), "images": len(test)}), root, labels)


def aircraft(root: Path) -> Miniature:
    put(root / "variants.txt", b"A300B4\nF/A-18\nDC-9-30\n")
    put(root / "images_variant_test.txt", b"1514522 DC-9-30\n0747566 F/A-18\n0034309 A300B4\n0034310 A300B4\n")
    labels = {"1514522": 2, "0747566": 1, "0034309": 0, "0034310": 0}
    for image, label in labels.items():
        put(root / f"images/{image}.jpg", encoded(label))
    card = load_card("fgvc_aircraft").model_copy(update={"class_count": 3, "images": 4})
    return Miniature(card, root, {f"images/{image}.jpg": label for image, label in labels.items()})


def objectnet(root: Path) -> Miniature:
    """Write four folders, three of them ImageNet classes; with a red border of one pixel around every image."""
    names = {"air_freshener": "Air freshener", "tv": "TV", "alarm_clock": "Alarm clock", "banana": "Banana"}
    overlap = {"TV": "television", "Banana": "banana", "Alarm clock": "analog clock; digital clock"}
    put(root / "mappings/folder_to_objectnet_label.json", json.dumps(names).encode())
    put(root / "mappings/objectnet_to_imagenet_1k.json", json.dumps(overlap).encode())
    labels = {"images/alarm_clock/a.png": 0, "images/banana/b.png": 1, "images/tv/c.png": 2, "images/tv/d.png": 2}
    for path, label in {**labels, "images/air_freshener/e.png": 7}.items():
        image = Image.new("RGB", (12, 10), (255, 0, 0))
        image.paste(colour(label), (2, 2, 10, 8))
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        put(root / path, buffer.getvalue())
    card = load_card("objectnet").model_copy(update={"class_count": 3, "images": 4})
    return Miniature(card, root, labels)


def cifar(root: Path, name: str, binary: bool = False) -> Miniature:
    """Write two images per class, in a mixed order of classes."""
    card = load_card(name)
    names, total = card.class_list.names, len(card.class_list)
    labels = [label * 7 % total for label in range(total)] * 2
    rows = pixels(labels).transpose(0, 3, 1, 2).reshape(len(labels), 3072)
    coarse = [label % 20 for label in labels]
    written = [word.replace(" ", "_") for word in names]
    if binary:
        columns = [labels] if total == 10 else [coarse, labels]
        put(root / f"{card.layout_options['split']}.bin", np.column_stack([*columns, rows]).astype(np.uint8).tobytes())
        names_file = "batches.meta.txt" if total == 10 else "fine_label_names.txt"
        put(root / names_file, ("\n".join(written) + "\n\n").encode())
    else:
        keys = {"labels": labels} if total == 10 else {"fine_labels": labels, "coarse_labels": coarse}
        batch = {"batch_label": "testing batch 1 of 1", "data": rows, "filenames": ["a_s_000.png"], **keys}
        put(root / str(card.layout_options["split"]), python2_pickle(batch))
        meta = {"label_names" if total == 10 else "fine_label_names": written, "num_vis": 3072}
        put(root / ("batches.meta" if total == 10 else "meta"), python2_pickle(meta))
    card = card.model_copy(update={"images": len(labels), "images_per_class": 2})
    return Miniature(card, root, {f"test/{row:05d}": label for row, label in enumerate(labels)})


def cifar_corrupted(root: Path, name: str = "cifar10-c", corruptions: tuple[str, ...] = ("fog", "snow")) -> Miniature:
    """Write two images per class and severity s, showing label + 100 s to expose wrong rows; ids are of ``fog 3``."""
    card = load_card(name)
    labels = np.tile(np.arange(card.class_count), 2)
    root.mkdir(parents=True, exist_ok=True)
    np.save(root / "labels.npy", np.tile(labels, 5))
    for corruption in corruptions:
        shown = [label % 100 + 100 * severity for severity in range(1, 6) for label in labels]
        np.save(root / f"{corruption}.npy", pixels(shown))
    changes = {"images": len(labels), "images_per_class": 2, "stored_corruptions": corruptions}
    ids = {f"fog/3/{row:05d}": int(label) for row, label in enumerate(labels)}
    return Miniature(card.model_copy(update=changes), root, ids)


def cifar101(root: Path) -> Miniature:
    card = load_card("cifar10.1")
    labels = np.tile(np.arange(10, dtype=np.int32), 3)
    root.mkdir(parents=True, exist_ok=True)
    np.save(root / str(card.layout_options["data"]), pixels(labels))
    np.save(root / str(card.layout_options["labels"]), labels)
    card = card.model_copy(update={"images": 30, "images_per_class": 3})
    return Miniature(card, root, {f"test/{row:05d}": int(label) for row, label in enumerate(labels)})


def corruption_tree(root: Path, conditions: Iterable[str] = ("fog/3",), side: int = 8) -> Miniature:
    """Write three of ImageNet's classes, two images each, of ``side`` pixels; ids are of ``fog 3``."""
    synsets = ("n01440764", "n01443537", "n02123045")
    names = {f"{synset}/{image}.JPEG": label for label, synset in enumerate(synsets) for image in ("b", "a")}
    for condition in conditions:
        for name, label in names.items():
            put(root / condition / name, encoded(label, side=side))
    few = {"classes": synsets, "class_count": 3, "images": 6, "images_per_class": 2}
    corruptions = {"stored_corruptions": ("fog", "snow", "saturate"), "extra_corruptions": ("saturate",)}
    card = load_card("imagenet-c").model_copy(update={**few, **corruptions})
    return Miniature(card, root, {f"fog/3/{name}": label for name, label in names.items()})


def whole_corruption_tree(root: Path, name: str, conditions: Iterable[str]) -> Miniature:
    """Write one image of every class of a card under each condition, of the card's own size; ids are of the first."""
    card, conditions = load_card(name), list(conditions)
    labels = {f"{folder}/val_{label}.JPEG": label for label, folder in enumerate(card.class_list.folders)}
    content = {label: encoded(label, side=card.side or 8) for label in labels.values()}
    for condition in conditions:
        for path, label in labels.items():
            put(root / condition / path, content[label])
    card = card.model_copy(update={"images": len(labels), "images_per_class": 1})
    return Miniature(card, root, {f"{conditions[0]}/{path}": label for path, label in labels.items()})


DOMAIN_FOLDERS = {
    "real_world": "Real World",
    "labelme": "LabelMe",
    **{name: name.capitalize() for name in ("art", "product")},
}
DOMAIN_FOLDERS |= {"caltech101": "Caltech101", "sun09": "SUN09", "voc2007": "VOC2007"}


def domain_folders(root: Path, name: str) -> Miniature:
    """Write one image of every class folder in each domain of a card, as the release names both; ids are of the first.

    Where a card uses some of another tree's folders, others are there too; where a domain may lack a class, it does.
    """
    card = load_card(name)
    options = card.layout_options
    folders = card.class_list.folders
    label_of = {folder: label for label, folder in enumerate(folders)}
    merged = options.get("merged", {})
    assert isinstance(merged, dict)
    label_of |= {folder: label_of[other] for folder, other in merged.items()}
    labels: dict[str, int] = {}
    for number, domain in enumerate(card.domains):
        folder = DOMAIN_FOLDERS.get(domain, domain)
        for place, (class_folder, label) in enumerate(label_of.items()):
            if options.get("gaps") and place >= 2:
                continue
            suffix, kind = (".png", "PNG") if domain in ("sketch", "quickdraw") else (".jpg", "JPEG")
            put(root / folder / class_folder / f"image_{label}{suffix}", encoded(label, kind))
            if not number:
                labels[f"{folder}/{class_folder}/image_{label}{suffix}"] = label
        if options.get("others"):
            put(root / folder / "zigzag" / "a.jpg", encoded(999))
            put(root / "another_domain" / folders[0] / "a.jpg", encoded(999))
    counts = dict.fromkeys(card.domains, len(labels))
    return Miniature(card.model_copy(update={"domains": counts}), root, labels)


def tiny_imagenet(root: Path) -> Miniature:
    """Write one validation image of each class; ``wnids.txt`` has an order of its own, as the release has."""
    card = load_card("tiny-imagenet")
    folders = card.class_list.folders
    put(root / "wnids.txt", "\n".join(folders[::-1]).encode())
    lines = [f"val_{number}.JPEG\t{folder}\t0\t32\t44\t62" for number, folder in enumerate(folders[::-1])]
    put(root / "val/val_annotations.txt", ("\n".join(lines) + "\n").encode())
    labels = {f"val/images/val_{number}.JPEG": 199 - number for number in range(200)}
    for path, label in labels.items():
        put(root / path, encoded(label))
    return Miniature(card.model_copy(update={"images": 200, "images_per_class": 1}), root, labels)


def folder(root: Path, classes: str | None = "zebra\nant_hill\tant hill\n") -> Miniature:
    order = {"zebra": 0, "ant_hill": 1} if classes else {"ant_hill": 0, "zebra": 1}
    found = class_folders(root, "folder", order, ".PNG")
    if classes:
        put(root / "classes.txt", classes.encode())
    return found


MAKERS: dict[str, Callable[[Path], Miniature]] = {
    "imagenet by synset": lambda root: by_synset(root, "imagenet"),
    "imagenet-a": lambda root: by_synset(root, "imagenet-a", ".jpg"),
    "imagenet-r": lambda root: by_synset(root, "imagenet-r", ".jpg"),
    "imagenet-sketch": lambda root: by_synset(root, "imagenet-sketch"),
    "imagenet-part": lambda root: class_folders(root, "imagenet-part", {"n02123045": 281, "n01440764": 0}),
    "imagenet-v2 by integer": by_integer,
    "imagenet-v2 padded": lambda root: by_integer(root, width=4),
    "imagenet-c": corruption_tree,
    "tiny-imagenet": tiny_imagenet,
    **{
        name: lambda root, name=name: domain_folders(root, name)
        for name in ("office-home", "imagenet-d", "imagenet-d109")
    },
    "objectnet": objectnet,
    "fgvc_aircraft": aircraft,
    "cifar10 pickled": lambda root: cifar(root, "cifar10"),
    "cifar10 binary": lambda root: cifar(root, "cifar10", binary=True),
    "cifar100 pickled": lambda root: cifar(root, "cifar100"),
    "cifar100 binary": lambda root: cifar(root, "cifar100", binary=True),
    "cifar10-c": cifar_corrupted,
    "cifar100-c": lambda root: cifar_corrupted(root, "cifar100-c"),
    "cifar10.1": cifar101,
    "folder with classes.txt": folder,
    "folder without": lambda root: folder(root, None),
}
for _name in [name for name in card_names() if load_card(name).layout == "coop-split"]:
    MAKERS[_name] = lambda root, name=_name: coop(root, name)


class Trees:
    """The functions above for tests, which cannot import them."""

    by_synset, by_integer, coop, aircraft, objectnet = map(
        staticmethod, (by_synset, by_integer, coop, aircraft, objectnet)
    )
    cifar, cifar_corrupted, cifar101 = staticmethod(cifar), staticmethod(cifar_corrupted), staticmethod(cifar101)
    corruption_tree, folder, class_folders = map(staticmethod, (corruption_tree, folder, class_folders))
    domain_folders = staticmethod(domain_folders)
    whole_corruption_tree, tiny_imagenet = staticmethod(whole_corruption_tree), staticmethod(tiny_imagenet)
    encoded, label_of, put, python2_pickle = map(staticmethod, (encoded, label_of, put, python2_pickle))


@pytest.fixture(scope="session")
def trees() -> type[Trees]:
    return Trees


@pytest.fixture(params=sorted(MAKERS))
def miniature(request: pytest.FixtureRequest, tmp_path: Path) -> Miniature:
    """Make a miniature of every layout in turn."""
    return MAKERS[request.param](tmp_path / "tree")


@pytest.fixture
def adversarial(tmp_path: Path) -> Miniature:
    """Make ImageNet-A's 200 classes, with one image each."""
    return by_synset(tmp_path / "imagenet-a", "imagenet-a", ".jpg")
