"""No test image is ever read while it is in the support set, whatever its file format there."""

from __future__ import annotations

import io
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apm_tta.data import dataset as data
from apm_tta.data.dataset import Dataset, open_dataset, pixel_digest
from apm_tta.data.decoding import PUBLISHED
from apm_tta.data.layouts import Entry
from apm_tta.data.layouts.images import read_image
from apm_tta.data.sample import CLEAN, Condition
from apm_tta.data.support_images import SupportImages
from apm_tta.errors import UserError

FOG = Condition("fog", 3)
MADE = (CLEAN, Condition("gaussian_noise", 3), Condition("contrast", 5))
CONTAINERS: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG"},
    "bmp": {"format": "BMP"},
    "webp": {"format": "WEBP", "lossless": True},
    "tiff": {"format": "TIFF"},
}


def conditions_of(dataset: Dataset) -> tuple[Condition, ...]:
    if dataset.card.domains:
        return tuple(dataset.layout.conditions()[:1])
    return (FOG,) if dataset.layout.stores_corruptions else MADE


def refusal(dataset: Dataset, entry: Entry, condition: Condition) -> str:
    with pytest.raises(data.TestedInSupport) as caught:
        dataset.read(entry, condition)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def is_refused(dataset: Dataset, entry: Entry, condition: Condition) -> bool:
    try:
        dataset.read(entry, condition)
    except data.TestedInSupport:
        return True
    return False


def contained(image: Image.Image, suffix: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **CONTAINERS[suffix])
    return buffer.getvalue()


def other_images(folder: Path, classes: tuple[str, ...], images_per_class: int) -> None:
    """Fill one folder per class with an image that belongs to no data set."""
    folder.mkdir()
    picture = folder.with_name("other.png")
    values = np.random.default_rng(5).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(values).save(picture)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(images_per_class):
            (folder / name / f"{number}.png").hardlink_to(picture)


def plant(folder: Path, classes: tuple[str, ...], files: list[tuple[bytes, str]]) -> tuple[list[str], int]:
    """Put files among other images, one class after another; return their ids and the number of images per class."""
    images_per_class = -(-len(files) // len(classes))
    other_images(folder, classes, images_per_class)
    ids = []
    for position, (content, suffix) in enumerate(files):
        name, number = classes[position % len(classes)], position // len(classes)
        (folder / name / f"{number}.png").unlink()
        # Not the same file, which would be found at once; only the same picture.
        (folder / name / f"planted_{number}.{suffix}").write_bytes(content + b"\0")
        ids.append(f"{name}/planted_{number}.{suffix}")
    return ids, images_per_class


def check_that_planted_images_are_refused(make: Callable[[], Dataset], support_folder: Path) -> None:
    """Plant test images in every container, and read all under every condition: exactly they are refused."""
    dataset, unarmed = make(), make()
    conditions = conditions_of(dataset)
    entries = dataset.entries(conditions[0])
    chosen = [entries[position * len(entries) // 5] for position in range(5)]
    shown = [unarmed.read(entry, conditions[0]).image for entry in chosen]
    files = [(contained(image, suffix), suffix) for image, suffix in zip(shown, CONTAINERS, strict=False)]
    whole = dataset.layout.place / chosen[4].id
    files.append((whole.read_bytes(), whole.suffix[1:]) if whole.is_file() else (contained(shown[4], "png"), "png"))

    classes = dataset.layout.class_list().folders
    can_be_folders = not any("/" in name for name in classes)
    ids, images_per_class = plant(support_folder, classes if can_be_folders else ("a", "b"), files)
    if can_be_folders:
        support = SupportImages(support_folder, dataset, images_per_class)
        assert len(list(support)) == images_per_class * len(classes)
    else:
        digests = {
            pixel_digest(read_image(support_folder / support_id, PUBLISHED).image): support_id for support_id in ids
        }
        dataset.exclude_support(digests, support_folder)

    for condition in conditions:
        for entry in chosen:
            message = refusal(dataset, entry, condition)
            assert message.startswith(f"--support {support_folder} contains a test image: ")
            assert message.endswith(f" is {entry.id}; remove it")
            assert any(support_id in message for support_id in ids)
    planted = {image.tobytes() for image in shown}
    for entry in entries[:: max(1, len(entries) // 60)]:
        same = unarmed.read(entry, conditions[0]).image.tobytes() in planted
        assert is_refused(dataset, entry, conditions[0]) == same
        assert is_refused(pickle.loads(pickle.dumps(dataset)), entry, conditions[-1]) == same


def test_every_layout_refuses_planted_images_under_every_condition(miniature: Any, tmp_path: Path) -> None:
    """Four lossless containers under other names, and a copy of the file with a byte appended."""
    check_that_planted_images_are_refused(lambda: Dataset(miniature.card, miniature.root), tmp_path / "support")


def test_the_carried_set_refuses_planted_images_under_every_condition(tmp_path: Path) -> None:
    check_that_planted_images_are_refused(lambda: open_dataset("fashion-mnist", limit=200), tmp_path / "support")


def test_stored_corruptions_of_every_severity_are_compared(tmp_path: Path, trees: Any) -> None:
    made = trees.cifar_corrupted(tmp_path / "tested")
    dataset = Dataset(made.card, made.root)
    for severity in range(1, 6):
        condition = Condition("snow", severity)
        entry = dataset.entries(condition)[3]
        image = dataset.read(entry, condition).image
        fresh = Dataset(made.card, made.root)
        fresh.exclude_support({pixel_digest(image): "a/0.png"}, tmp_path)
        assert "a/0.png is snow/" in refusal(fresh, entry, condition)
        other = Condition("snow", severity % 5 + 1)
        assert not is_refused(fresh, fresh.entries(other)[3], other)


@pytest.mark.parametrize("suffix", [None, *CONTAINERS])
def test_objectnets_images_are_recognised_with_their_border_too(suffix: str | None, tmp_path: Path, trees: Any) -> None:
    """A test image has no border; a copied or converted file has one."""
    made = trees.objectnet(tmp_path / "tested")
    dataset = Dataset(made.card, made.root)
    entry = dataset.entries(CLEAN)[1]
    whole = made.root / entry.id
    with Image.open(whole) as image:
        content = whole.read_bytes() if suffix is None else contained(image, suffix)
    folders = dataset.layout.class_list().folders
    ids, _ = plant(tmp_path / "support", folders, [(content, suffix or "png")])
    assert len(list(SupportImages(tmp_path / "support", dataset, 1))) == 3
    for condition in MADE:
        assert f"{ids[0]} is {entry.id}" in refusal(dataset, entry, condition)
        assert not is_refused(dataset, dataset.entries(CLEAN)[0], condition)


def test_grey_images_are_compared_by_content(tmp_path: Path) -> None:
    """The carried images are grey: a grey PNG of one shows the same as an RGB one."""
    dataset = open_dataset("fashion-mnist", limit=20)
    entry = dataset.entries(CLEAN)[0]
    grey = dataset.read(entry, CLEAN).image.convert("L")
    dataset.exclude_support({pixel_digest(grey): "a/grey.png"}, tmp_path)
    assert "a/grey.png is" in refusal(dataset, entry, CLEAN)


def test_an_image_is_registered_before_it_is_handed_out(tmp_path: Path, trees: Any) -> None:
    """Once a caller has the support's first image, it can no longer be tested."""
    made = trees.folder(tmp_path / "tested")
    dataset = Dataset(made.card, made.root)
    entry = dataset.entries(CLEAN)[0]
    image = dataset.read(entry, CLEAN).image
    plant(tmp_path / "support", ("zebra", "ant_hill"), [(contained(image, "bmp"), "bmp")])
    support = SupportImages(tmp_path / "support", dataset, 1)
    assert not is_refused(dataset, entry, CLEAN)
    next(iter(support))
    assert is_refused(dataset, entry, CLEAN)


def test_size_and_order_of_channels_count() -> None:
    """Equal bytes in another shape or channel order are a different image."""
    values = np.random.default_rng(1).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    images = [values, values.reshape(6, 4, 3), values.reshape(2, 12, 3), values[..., ::-1], values + np.uint8(1)]
    assert len({pixel_digest(Image.fromarray(np.ascontiguousarray(image))) for image in images}) == len(images)


def test_every_file_of_the_support_is_read_once(tmp_path: Path, trees: Any) -> None:
    """The fingerprint is the same before and after, and needs no file that was already decoded."""
    made = trees.folder(tmp_path / "tested")
    dataset = Dataset(made.card, made.root)
    other_images(tmp_path / "support", ("zebra", "ant_hill"), 2)
    expected = SupportImages(tmp_path / "support", dataset, 2).fingerprint
    support = SupportImages(tmp_path / "support", dataset, 2)
    assert len(list(support)) == 4
    shutil.rmtree(tmp_path / "support")
    assert support.fingerprint == expected


def test_a_support_image_that_changes_while_it_is_used_is_refused(tmp_path: Path, trees: Any) -> None:
    """Otherwise fingerprint and features would come from different contents."""
    made = trees.folder(tmp_path / "tested")
    other_images(tmp_path / "support", ("zebra", "ant_hill"), 1)
    support = SupportImages(tmp_path / "support", Dataset(made.card, made.root), 1)
    assert support.fingerprint
    path = tmp_path / "support" / "zebra" / "0.png"
    path.unlink()
    Image.new("RGB", (3, 3)).save(path)
    with pytest.raises(UserError, match=r"zebra/0\.png has changed since it was read; start again"):
        list(support)
