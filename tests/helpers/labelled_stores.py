"""The same few images as a tree and in every form of a store, as releases and libraries lay them out."""

from __future__ import annotations

import gc
import io
import json
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from apm_tta.data.cards import DatasetCard, load_card
from apm_tta.data.check import check
from apm_tta.data.dataset import Dataset
from apm_tta.data.sample import CLEAN

SYNSETS = ("n01440764", "n01443537", "n02123045")
PER_CLASS = 3


@dataclass(frozen=True)
class Photo:
    """One image: class folder, name of its file, and bytes."""

    folder: str
    name: str
    content: bytes

    @property
    def label(self) -> int:
        """Number of the class."""
        return SYNSETS.index(self.folder)


def photos() -> list[Photo]:
    """Make three images of each class, numbered as ImageNet's are: in no order of the classes."""
    generator = np.random.default_rng(24)
    made = []
    for number in range(1, len(SYNSETS) * PER_CLASS + 1):
        buffer = io.BytesIO()
        Image.fromarray(generator.integers(0, 256, (40, 48, 3), np.uint8)).save(buffer, "JPEG")
        made.append(Photo(SYNSETS[number * 2 % 3], f"ILSVRC2012_val_{number:08d}.JPEG", buffer.getvalue()))
    return made


PHOTOS = photos()


def card(name: str = "imagenet", **changes: Any) -> DatasetCard:
    """Return a card of these images: ImageNet's, of three classes."""
    few = {"classes": SYNSETS, "class_count": 3, "images": len(PHOTOS), "images_per_class": PER_CLASS}
    return load_card(name).model_copy(update={**few, **changes})


def tree(root: Path, images: Iterable[Photo] = PHOTOS) -> Path:
    """Write the images as the sorted tree."""
    for each in images:
        (root / each.folder).mkdir(parents=True, exist_ok=True)
        (root / each.folder / each.name).write_bytes(each.content)
    return root


def flat(root: Path, below: str = "val") -> Path:
    """Write the images into one folder."""
    (root / below).mkdir(parents=True, exist_ok=True)
    for each in PHOTOS:
        (root / below / each.name).write_bytes(each.content)
    return root


def kaggle(root: Path, below: str = "ILSVRC/Data/CLS-LOC/val") -> Path:
    """Write them as Kaggle does: lines in another order than the names, some with two boxes."""
    lines = []
    for position, each in enumerate(reversed(PHOTOS)):
        boxes = " ".join([f"{each.folder} 1 2 30 40"] * (1 + position % 2))
        lines.append(f"{Path(each.name).stem},{boxes} ")
    (flat(root, below) / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "\n".join(lines) + "\n")
    return root


DEVKIT = "ILSVRC2012_devkit_t12/data"
ILSVRC_IDS = {"n01440764": 2, "n01443537": 3, "n02123045": 1}
"""As in the release, they are in another order than the labels."""


def devkit(root: Path, ids: dict[str, int] = ILSVRC_IDS) -> Path:
    """Write them with the devkit, whose ``meta.mat`` has the classes and, with higher IDs, what is above them."""
    from scipy.io import savemat

    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
    kinds += [("children", "O"), ("wordnet_height", "O"), ("num_train_images", "O")]
    rows = [(number, synset, "words, more", "gloss", 0, [], 0, 1300) for synset, number in ids.items()]
    rows.append((len(rows) + 1, "n00001740", "entity", "all", 2, [1.0, 2.0], 19, 0))
    synsets = np.array([[row] for row in rows], dtype=kinds)
    (flat(root) / DEVKIT).mkdir(parents=True)
    savemat(root / DEVKIT / "meta.mat", {"synsets": synsets})
    numbers = [str(ids[each.folder]) for each in PHOTOS]
    (root / DEVKIT / "ILSVRC2012_validation_ground_truth.txt").write_text("\n".join(numbers) + "\n")
    return root


def shards(
    folder: Path,
    samples: Iterable[dict[str, Any]],
    pattern: str = "%d.tar",
    per_shard: int = 4,
) -> Path:
    """Write shards by the ``webdataset`` package itself."""
    import webdataset

    folder.mkdir(parents=True, exist_ok=True)
    with webdataset.ShardWriter(str(folder / pattern), maxcount=per_shard, verbose=0) as writer:
        for sample in samples:
            writer.write(sample)
    return folder


def read_by_webdataset(paths: Iterable[Path], decoder: str | None = None) -> list[dict[str, Any]]:
    """Read shards by the ``webdataset`` package itself, which leaves its files to the garbage collector."""
    import webdataset

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        pipeline = webdataset.WebDataset([str(path) for path in paths], shardshuffle=False)
        samples = list(pipeline if decoder is None else pipeline.decode(decoder))
        del pipeline
        gc.collect()
    return samples


def numbered() -> Iterator[dict[str, Any]]:
    """Return the images as CLIP_benchmark's ``wds_*`` sets have them: keys are numbers."""
    for index, each in enumerate(PHOTOS):
        yield {"__key__": f"s{index:07d}", "jpg": each.content, "cls": each.label}


def named() -> Iterator[dict[str, Any]]:
    """Return the images with keys that hold folder and name."""
    for each in PHOTOS:
        yield {"__key__": f"{each.folder}/{Path(each.name).stem}", "JPEG": each.content, "cls": each.label}


def clip_benchmark(root: Path, split: str = "test", **changes: Any) -> Path:
    """Write a set as CLIP_benchmark's builder does."""
    shards(root / split, numbered(), **changes)
    number = len(list((root / split).glob("*.tar")))
    (root / split / "nshards.txt").write_text(f"{number}\n")
    (root / "classnames.txt").write_text("".join(f"{name}\n" for name in SYNSETS))
    (root / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\n")
    return root


def rows(with_names: bool = True) -> list[dict[str, Any]]:
    """Return the images as rows of Hugging Face's."""
    return [
        {"image": {"bytes": each.content, "path": each.name if with_names else None}, "label": each.label}
        for each in PHOTOS
    ]


def parquet(
    folder: Path,
    made: list[dict[str, Any]] | None = None,
    *,
    split: str = "validation",
    files: int = 2,
    names: Iterable[str] = SYNSETS,
    group: int = 2,
) -> Path:
    """Write parquet files by the ``datasets`` package itself, two rows to a row group."""
    from datasets import ClassLabel, Dataset, Features
    from datasets import Image as ImageFeature

    made = rows() if made is None else made
    columns = {key: [row[key] for row in made] for key in made[0]}
    features = Features(
        {key: ClassLabel(names=list(names)) if isinstance(made[0][key], int) else ImageFeature() for key in made[0]}
    )
    whole = Dataset.from_dict(columns, features=features)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for number in range(files):
        path = folder / "data" / f"{split}-{number:05d}-of-{files:05d}.parquet"
        whole.shard(files, number, contiguous=True).to_parquet(path, batch_size=group)
    return folder


def content(root: Path, of: DatasetCard | None = None) -> list[tuple[str, int, str]]:
    """Read everything below ``root``: id, label and digest of each image, in order."""
    dataset = Dataset(of or card(), root)
    return [(entry.id, entry.label, dataset.read(entry, CLEAN).sha256) for entry in dataset.entries(CLEAN)]


def problems(root: Path, of: DatasetCard | None = None) -> str:
    """Return what ``check`` says is wrong, one line each; empty where a run can use it."""
    found = check(of or card(), root).problems
    assert all("\n" not in line for line in found)
    return "\n".join(found)


def packed(folder: Path) -> dict[str, Any]:
    """Read what ``run-bench pack`` states."""
    stated: dict[str, Any] = json.loads((folder / "packed.json").read_text())
    return stated
