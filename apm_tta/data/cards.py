"""Dataset cards: what a data set is, where it comes from, and exactly which tree is expected."""

from __future__ import annotations

from contextlib import nullcontext, suppress
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictStr, StringConstraints, model_validator

from apm_tta.configuration import Configuration, read_configuration
from apm_tta.data.class_lists import CLASS_LISTS, ClassList, listed_classes
from apm_tta.data.downloads import Download
from apm_tta.data.sample import Condition
from apm_tta.data.task import Family
from apm_tta.errors import UnknownName, UserError
from apm_tta.registry import Registry
from apm_tta.resources import DATASETS, yaml_names, yaml_path

Domain = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")]
Prompt = Annotated[str, StringConstraints(pattern=r"^[^{}]*\{\}[^{}]*$")]


class DatasetCard(Configuration):
    """The content of one ``datasets/NAME.yaml``, or of a card that an installed package adds.

    Attributes:
        name: as on the command line and in the results table.
        title: the name in words.
        task: what is to be classified.
        family: the literature that it belongs to, by which papers choose views and augmentation.
        template: its prompt, with ``{}`` for the class.
        layout: name of the class in ``apm_tta.data.layouts`` that knows the tree.
        layout_options: what that class has to know about this tree; it checks them itself (``Layout.Options``).
        classes: the class folders in label order, or each with its name (see ``listed_classes``); the name of a list in
            ``apm_tta.data.class_lists``; the name of a card that writes them out; null where the tree states them.
        class_count: number of classes; null where any number is allowed.
        images: number of images under one condition; null where any number is allowed, or domains state their own.
        images_per_class: number of images of every class; null where the classes differ in it.
        splits: what a store calls the split that is tested, ``train``, ``validation`` or ``test``; the preferred first.
        places: folders below the data root in which the tree may start; the first one of its shape is taken.
        stored_corruptions: corruptions stored on disk; empty where clean images are corrupted as they are read.
        domains: the domains, each tested by itself, with the number of images of each; null where that is not known.
        extra_corruptions: those of ``stored_corruptions`` that a complete tree may lack.
        side: of every image, pixels, where all are squares of one size; null where they differ.
        corruption_parameters: which authors' severities fit the images: ``imagenet`` (224 px) or ``cifar`` (32 px).
        downloads: the files that it is downloaded as, which ``run-bench get`` brings, with the digests that
            ``check --deep`` compares; empty where there is nothing to download.
        fingerprint: of all its images, as ``Dataset.fingerprint`` computes it, where known.
        source: address.
        licence: of the images.
        citation: paper.
        get: how to get it, as one would tell a colleague.
        tree: the expected files below the data root.
    """

    name: str
    title: str
    task: str
    family: Family
    template: Prompt = "a photo of a {}."
    layout: str
    layout_options: dict[str, StrictStr | StrictBool | dict[str, StrictStr]] = Field(default_factory=dict)
    classes: tuple[str, ...] | dict[str, str] | str | None
    class_count: int | None = Field(gt=0)
    images: int | None = Field(gt=0)
    images_per_class: int | None = Field(default=None, gt=0)
    splits: tuple[Literal["train", "validation", "test"], ...] = ("test",)
    places: tuple[str, ...] = ("",)
    stored_corruptions: tuple[str, ...] = ()
    domains: dict[Domain, int | None] = Field(default_factory=dict)
    extra_corruptions: tuple[str, ...] = ()
    side: int | None = Field(default=None, gt=0)
    corruption_parameters: Literal["imagenet", "cifar"]
    downloads: tuple[Download, ...] = ()
    fingerprint: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    source: str
    licence: str
    citation: str
    get: str
    tree: str

    @model_validator(mode="after")
    def _check_consistency(self) -> DatasetCard:
        if isinstance(self.classes, (tuple, dict)) and len(self.classes) != self.class_count:
            raise ValueError(f"classes: {len(self.classes)} are listed, but class_count is {self.class_count}")
        if self.images_per_class and self.class_count and self.images != self.images_per_class * self.class_count:
            raise ValueError("images: must be class_count times images_per_class")
        if self.domains and (self.stored_corruptions or self.images):
            raise ValueError(
                "domains: leave no room for stored_corruptions and images, which are of all conditions alike"
            )
        if self.corruption_parameters == "cifar" and self.side is None:
            raise ValueError("side: must be stated, since CIFAR's severities are for one size")
        if set(self.extra_corruptions) - set(self.stored_corruptions):
            raise ValueError("extra_corruptions: must be among stored_corruptions")
        return self

    def images_under(self, condition: Condition) -> int | None:
        """Return the number of images under one condition; None where any number is allowed."""
        return self.domains.get(condition.corruption, self.images)

    @property
    def class_list(self) -> ClassList:
        """Class names in label order, with the folder of each.

        Raises:
            UnknownName: when ``classes`` names a list that does not exist.
            UserError: when only the tree states the classes.
        """
        if self.classes is None:
            raise UserError(f"the classes of {self.name} are read from its tree; give --data-root")
        if not isinstance(self.classes, str):
            return listed_classes(self.classes)
        if self.classes not in CLASS_LISTS.names() and self.classes in card_names():
            return load_card(self.classes).class_list
        return CLASS_LISTS.get(self.classes)()


def _admit(name: str, card: Path, point: EntryPoint | None) -> None:
    if not isinstance(card, Path):
        where = f" of {point.value}" if point is not None else ""
        raise UserError(
            f"dataset {name!r}{where} is a {type(card).__name__}; give the path of its card, such as "
            f'Path(__file__).with_name("{name}.yaml")'
        )


CARD_FILES: Registry[Path] = Registry("dataset", _admit)
"""Paths of cards that installed packages add by entry points in the group ``apm_tta.datasets``."""


def load_card(name: str) -> DatasetCard:
    """Return the card of that name; this package's own comes first, whatever is installed.

    Raises:
        UnknownName: for an unknown name, listing the cards that exist.
        UserError: when the card is damaged, or one of an installed package has another name inside.
    """
    # A set is compared with every card: entry points are looked for where the package has no such card itself.
    if name in yaml_names(DATASETS):
        path = yaml_path(DATASETS, "dataset", name)
    elif name in CARD_FILES.names():
        path = CARD_FILES.get(name)
    else:
        raise UnknownName("dataset", name, card_names())
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"card {path} of dataset {name!r} cannot be read: {error.strerror}") from None
    card = _read(path, status.st_mtime_ns, status.st_size)
    if name in CARD_FILES.registered() and card.name != name:
        raise UserError(f"card {path} calls itself {card.name!r}, but its entry point says {name!r}; give it one name")
    return card


@cache
def _read(path: Path, changed: int, size: int) -> DatasetCard:
    """Parse a card once, and again when its file has changed: a check compares a tree with every card."""
    return read_configuration(path, DatasetCard)


def card_names() -> list[str]:
    """Return the names of all cards, sorted."""
    return sorted({*yaml_names(DATASETS), *CARD_FILES.names()})


def every_card() -> list[DatasetCard]:
    """Return all cards, for comparisons; one of an installed package that cannot be read is left out.

    Raises:
        UserError: when one of this package's own is damaged.
    """
    cards, own = [], {*yaml_names(DATASETS)}
    for name in card_names():
        with nullcontext() if name in own else suppress(UserError):
            cards.append(load_card(name))
    return cards
