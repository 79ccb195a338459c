"""Dataset cards: what a data set is, where it comes from, and the exact tree that is expected."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from apm_tta.configuration import Configuration, read_configuration
from apm_tta.data.class_lists import CLASS_LISTS, ClassList
from apm_tta.resources import DATASETS, yaml_names, yaml_path


class DatasetCard(Configuration):
    """One ``datasets/NAME.yaml``.

    Attributes:
        name: as on the command line and in the results table.
        title: in words.
        task: what is to be told apart.
        layout: name of the class in ``apm_tta.data.layouts`` that knows the tree.
        classes: the class names in label order, or the name of a list in ``apm_tta.data.class_lists``.
        images: how many there are, under one condition.
        stored_corruptions: those that lie on disk; empty where clean images are corrupted as they are read.
        corruption_parameters: which authors' severities fit the images: ``imagenet`` (224 px) or ``cifar`` (32 px).
        source: address.
        licence: of the images.
        citation: paper.
        get: how to get it, as one would tell a colleague.
        tree: the expected files below the data root.
    """

    name: str
    title: str
    task: str
    layout: str
    classes: tuple[str, ...] | str
    images: int = Field(gt=0)
    stored_corruptions: tuple[str, ...] = ()
    corruption_parameters: Literal["imagenet", "cifar"]
    source: str
    licence: str
    citation: str
    get: str
    tree: str

    @property
    def class_list(self) -> ClassList:
        """Names in label order, with the folder of each."""
        if isinstance(self.classes, str):
            return CLASS_LISTS.get(self.classes)()
        return ClassList(self.classes, self.classes)


def load_card(name: str) -> DatasetCard:
    """The card of that name.

    Raises:
        UnknownName: listing the cards that exist.
        UserError: when the card is damaged.
    """
    return read_configuration(yaml_path(DATASETS, "dataset", name), DatasetCard)


def card_names() -> list[str]:
    """Names of all cards."""
    return yaml_names(DATASETS)
