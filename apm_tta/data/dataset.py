"""A data set that can be read: card, layout, conditions, subset."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from apm_tta.data.cards import DatasetCard, load_card
from apm_tta.data.corruptions import corrupt, corruptions_for, through_jpeg
from apm_tta.data.corruptions.frame import WrongSize, frame_of
from apm_tta.data.fingerprint import add_entries
from apm_tta.data.image_digests import ImageDigests
from apm_tta.data.image_files import UnsupportedImage, failed_step
from apm_tta.data.layouts import Entry, Layout
from apm_tta.data.named_subsets import select_named
from apm_tta.data.sample import CLEAN, FOREIGN, FOREIGN_LABEL, Condition, ReadImage, StoredImage
from apm_tta.data.stores import open_layout
from apm_tta.data.subset import even_subset
from apm_tta.errors import UnknownName, UserError
from apm_tta.randomness import numpy_generator

# A corrupted data set is data, as if it were stored on disk: the run's seed does not change it.
CORRUPTION_SEED = 0


class RefusedImage(UserError):
    """An image that must not be answered, whatever its content: a run ends with it, and cannot go on with it."""


class TestedInSupport(RefusedImage):
    """A test image is among the labelled images of ``--support``; the message names both."""

    __test__ = False  # not a test class, although its name begins with Test


class ChangedImage(RefusedImage):
    """An image is no longer what was hashed when its run began; the message names it."""


class Dataset:
    """The images of one card below one data root.

    Args:
        card: describes the data set.
        data_root: where it lies, or a folder that contains it under its name; None for a data set that the package
            carries.
        limit: images under each condition, evenly over the classes; 0 for all.
        jpeg_quality: 1 .. 100: images that are corrupted as they are read pass through JPEG of that quality
            afterwards, as the released ImageNet-C did (85); None for no JPEG.
        subset: name of a list in ``apm_tta.data.named_subsets``, of whose images the limit takes some; None for none.
        foreign: the data set whose clean images are those of the condition ``FOREIGN``; None for none.

    Raises:
        UserError: when the card and its layout disagree, on options or on whether corrupted images are stored on disk;
            when a JPEG quality is given for stored ones; when a class of ``foreign`` is one of this data set's. Exit
            code 2 for the latter two.
    """

    def __init__(
        self,
        card: DatasetCard,
        data_root: Path | None = None,
        limit: int = 0,
        *,
        jpeg_quality: int | None = None,
        subset: str | None = None,
        foreign: Dataset | None = None,
    ) -> None:
        self.card = card
        self.foreign = foreign
        self.limit = limit
        self.jpeg_quality = jpeg_quality
        self.subset = subset
        self.layout: Layout[Any] = open_layout(card, data_root)
        if self.layout.stores_corruptions != bool(card.stored_corruptions or card.domains):
            needs = "needs stored_corruptions or domains" if self.layout.stores_corruptions else "stores no conditions"
            raise UserError(f"card {card.name}: layout {card.layout} {needs}; correct the card")
        if jpeg_quality is not None and self.layout.stores_corruptions:
            reason = f"the corrupted images of {card.name} are read as stored on disk"
            raise UserError(f"JPEG quality {jpeg_quality} has no effect: {reason}; leave it out", exit_code=2)
        if jpeg_quality is not None and not 1 <= jpeg_quality <= 100:
            raise UserError(f"JPEG quality {jpeg_quality} does not exist; expected 1 to 100", exit_code=2)
        if foreign is not None:
            own = {name.casefold() for name in self.classes}
            if shared := [name for name in foreign.classes if name.casefold() in own]:
                message = f"{foreign.card.name} is not foreign to {card.name}: both have the class {shared[0]}"
                raise UserError(message, exit_code=2)
        self.frame = frame_of(card.corruption_parameters, card.side, self.layout.stores_corruptions)
        self._chosen: dict[Condition, Sequence[Entry]] = {}
        self._available: dict[Condition, int] = {}
        self._expected: ImageDigests | None = None
        self._first_read: dict[str, str] = {}
        self._support_folder = Path()
        self._support_ids: dict[str, str] = {}
        self._support_doubts: list[str] = []
        self._compared_digests: set[str] = set()

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order.

        Raises:
            UserError: when only the tree states them and it does not exist.
        """
        return self.layout.class_list().names

    @property
    def template(self) -> str:
        """The prompt, with ``{}`` for the class."""
        return self.card.template

    @property
    def title(self) -> str:
        """The data set in words; for a tree that may be anyone's, also which tree and how its classes are ordered.

        Once its images were asked for, also from which archives they are read.
        """
        notes = [note for note in (self.layout.note(), self.layout.packed_note()) if note]
        return f"{self.card.title} ({'; '.join(notes)})" if notes else self.card.title

    @property
    def doubts(self) -> list[str]:
        """Return what may not be as meant of the images that were asked for, one line each; see ``Survey.doubts``."""
        labels = {entry.label for chosen in self._chosen.values() for entry in chosen}
        single = [f"every image is of one class, {self.classes[label]}" for label in labels if len(labels) == 1]
        foreign = [] if self.foreign is None else self.foreign.doubts
        return [*self.layout.doubts, *self.layout.left_archives(), *self._support_doubts, *single, *foreign]

    @property
    def corruptions(self) -> list[str]:
        """Names of the corruptions that are available for these images; those of its domains where it has these."""
        card = self.card
        return list(card.domains or card.stored_corruptions) or corruptions_for(card.corruption_parameters)

    def crop_side(self, conditions: Sequence[Condition]) -> int | None:
        """Return the side, pixels, of the crops that ImageNet-C's corruptions are made on; None for no such crops."""
        corrupted = any(condition.corrupted for condition in conditions)
        imagenet = self.card.corruption_parameters == "imagenet"
        return self.frame.side if corrupted and imagenet and self.frame is not None else None

    @property
    def corruption_source(self) -> Literal["stored", "made as read"]:
        """Whether corrupted images are stored on disk."""
        return "stored" if self.layout.stores_corruptions else "made as read"

    def check_conditions(self, conditions: Sequence[Condition]) -> None:
        """Refuse conditions that do not exist for these images, before anything is read.

        Raises:
            UnknownName: for an unknown corruption or domain, listing those that exist.
            UserError: for a domain of a data set without domains; for clean or corrupted images of one with domains;
                for a JPEG quality when nothing is corrupted. Exit code 2.
        """
        name, domains = self.card.name, ",".join(self.card.domains)
        for condition in conditions:
            if domains and (condition.clean or condition.corrupted):
                raise UserError(f"{name} is tested by domain, not {condition}; use --domains {domains}", exit_code=2)
            if condition not in (CLEAN, FOREIGN) and not condition.corrupted and not domains:
                raise UserError(f"{name} has no domains, such as {condition}; leave --domains out", exit_code=2)
            if condition not in (CLEAN, FOREIGN) and condition.corruption not in self.corruptions:
                kind = "domain" if domains else "corruption"
                raise UnknownName(f"{kind} of {name}", condition.corruption, self.corruptions)
        if self.jpeg_quality is not None and not any(condition.corrupted for condition in conditions):
            message = f"JPEG quality {self.jpeg_quality} has no effect: no image is corrupted; leave it out"
            raise UserError(message, exit_code=2)

    def entries(self, condition: Condition) -> Sequence[Entry]:
        """Return the chosen images under ``condition``, checked against the card.

        Raises:
            UserError: when the tree is not what the card describes.
        """
        if condition == FOREIGN and self.foreign is not None:
            return self._foreign_entries
        if condition not in self._chosen:
            if not condition.clean or self.card.domains:
                self.check_conditions([condition])
            found = self.layout.entries(condition)
            found = found if self.subset is None else select_named(self.subset, found, self.card.name)
            self._available[condition] = len(found)
            self._chosen[condition] = even_subset(found, self.limit)
        return self._chosen[condition]

    @cached_property
    def _foreign_entries(self) -> Sequence[Entry]:
        assert self.foreign is not None
        return [Entry(f"{self._foreign_prefix}{entry.id}", FOREIGN_LABEL) for entry in self.foreign.entries(CLEAN)]

    @property
    def _foreign_prefix(self) -> str:
        """Return what ids of foreign images begin with; no other id has two slashes in a row: it is a path."""
        return "" if self.foreign is None else f"foreign://{self.foreign.card.name}/"

    def stored_in(self, sample_id: str) -> tuple[Layout[Any], str]:
        """Return the layout that reads an image, and the image's id there: another one for a foreign image."""
        if self.foreign is not None and sample_id.startswith(self._foreign_prefix):
            return self.foreign.layout, sample_id.removeprefix(self._foreign_prefix)
        return self.layout, sample_id

    def available(self, condition: Condition) -> int:
        """Count the images under ``condition``, or those of the named subset, before the limit."""
        self.entries(condition)
        return self._available[condition]

    def doubt_support(self, doubts: Sequence[str]) -> None:
        """Add lines on the support set to ``doubts``, each once."""
        self._support_doubts = list(dict.fromkeys([*self._support_doubts, *doubts]))

    def exclude_support(self, support_ids: Mapping[str, str], support_folder: Path) -> None:
        """Refuse from now on to read images of the support set; copies in other processes refuse them too.

        Args:
            support_ids: ids of labelled images by their ``pixel_digest``; added to those given before.
            support_folder: the folder given as ``--support``, for the message.
        """
        self._support_folder = support_folder
        self._support_ids.update(support_ids)
        self._compared_digests.clear()

    def expect(self, digests: ImageDigests) -> None:
        """Refuse from now on to read an image that is not what was hashed; copies in other processes refuse it too."""
        self._expected = digests
        for layout, own_id in map(self.stored_in, digests.unreached):
            layout.patience.exhaust([str(layout.file_of(own_id))])

    @property
    def expected(self) -> ImageDigests | None:
        """The digests that images are compared with as they are read; None where there are none yet."""
        return self._expected

    def read(self, entry: Entry, condition: Condition) -> ReadImage:
        """Read one image under ``condition``; the result is the same in every run, order and worker.

        The bytes are read once: those that are hashed and compared are those that are decoded.

        Raises:
            UnreadImage: when it cannot be read, decoded or corrupted.
            OutOfReach: when it is the last of too many that cannot be reached.
            ChangedImage: when it is not what was hashed, see ``expect``.
            TestedInSupport: when the decoded image, before it is corrupted, is in the support set.
        """
        layout, own_id = self.stored_in(entry.id)
        stored = layout.stored(own_id)
        self._compare_with_expected(entry, stored)
        found = layout.decode(own_id, stored)
        if self._support_ids and found.sha256 not in self._compared_digests:
            self._compare_with_support(entry, found)
        try:
            return self._apply_condition(condition, entry, found)
        except WrongSize as error:
            raise UnsupportedImage(f"{entry.id} of {self.card.name} cannot be corrupted: it has {error}") from None
        except Exception as error:
            raise failed_step(entry.id, f"corrupted by {condition}", error) from error

    def fingerprint(self, conditions: Sequence[Condition]) -> str:
        """Compute the SHA-256 over the ids and labels of the chosen images under all ``conditions``."""
        digest = hashlib.sha256()
        for condition in conditions:
            add_entries(digest, condition, self.entries(condition))
        return digest.hexdigest()

    def _compare_with_expected(self, entry: Entry, stored: StoredImage) -> None:
        if self._expected is None:
            return
        expected = self._expected.expected(entry.id)
        if expected is None and entry.id in self._expected.by_id:  # could not be read then: from now on it is this
            expected = self._first_read.setdefault(entry.id, stored.sha256)
        if expected not in (None, stored.sha256):
            layout, own_id = self.stored_in(entry.id)
            raise ChangedImage(
                f"{layout.file_of(own_id) or entry.id} is not what it was when this run began: restore it and "
                "run the same command again, or begin another run with --force-new"
            )

    def _compare_with_support(self, entry: Entry, found: ReadImage) -> None:
        for image in (found.image, found.uncropped):
            if image is not None and (support_id := self._support_ids.get(pixel_digest(image))) is not None:
                raise TestedInSupport(
                    f"--support {self._support_folder} contains a test image: {support_id} is {entry.id}; remove it"
                )
        # The same bytes need no second digest when they are read again under another condition or seed.
        self._compared_digests.add(found.sha256)

    def _apply_condition(self, condition: Condition, entry: Entry, found: ReadImage) -> ReadImage:
        if condition in (CLEAN, FOREIGN) or self.layout.stores_corruptions:
            return replace(found, uncropped=None)
        assert self.frame is not None
        framed, remarks = self.frame.cut(found.image)
        generator = numpy_generator(CORRUPTION_SEED, entry.id, f"corruption {condition}")
        parameters = self.card.corruption_parameters
        corrupted = corrupt(framed, condition.corruption, condition.severity, rng=generator, parameters=parameters)
        seen = corrupted if self.jpeg_quality is None else through_jpeg(corrupted, self.jpeg_quality)
        return ReadImage(seen, found.sha256, remarks=(*found.remarks, *remarks))


def pixel_digest(image: Image.Image) -> str:
    """Compute the SHA-256 of an image's content, whichever file it came from: mode RGB, width, height, bytes."""
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    digest = hashlib.sha256(f"RGB {rgb.width} {rgb.height}\n".encode())
    digest.update(rgb.tobytes())
    return digest.hexdigest()


def open_dataset(
    name: str, data_root: Path | None = None, limit: int = 0, *, jpeg_quality: int | None = None
) -> Dataset:
    """Open the data set of that name.

    Raises:
        UnknownName: for an unknown name, listing those that exist.
        UserError: see ``Dataset``.
    """
    return Dataset(load_card(name), data_root, limit, jpeg_quality=jpeg_quality)
