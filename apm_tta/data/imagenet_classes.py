"""Which of ImageNet's classes the classes of a data set are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from apm_tta.data.cards import every_card
from apm_tta.data.class_lists import CLASS_LISTS, ClassList


def imagenet_rows(names: Sequence[str]) -> tuple[int, ...] | None:
    """Return the ImageNet-1k rows of these class names; None when no registered list and no card has exactly them.

    Whole lists are compared, not names: ImageNet has two classes named missile and two named sunglasses.
    """
    for known in _known_lists():
        if known.imagenet_rows is not None and known.names == tuple(names):
            return known.imagenet_rows
    return None


def imagenet_terms(names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return what else ImageNet's classes are called: their synsets, and WordNet's words for these.

    Args:
        names: of a whole list; see ``imagenet_rows``.

    Returns:
        Lists in the order of ``names``; none where ``imagenet_rows`` has none.
    """
    from timm.data import ImageNetInfo

    rows, information = imagenet_rows(names), ImageNetInfo()
    if rows is None:
        return ()
    synsets = tuple(information.label_names()[row] for row in rows)
    return synsets, tuple(information.label_name_to_description(synset) for synset in synsets)


def _known_lists() -> Iterator[ClassList]:
    for name in CLASS_LISTS.names():
        yield CLASS_LISTS.get(name)()
    for card in every_card():
        if isinstance(card.classes, (tuple, dict)):
            yield card.class_list
