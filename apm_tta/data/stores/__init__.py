"""Stores: labelled images that lie otherwise than a card's tree, one file per form; every file here is imported.

A form states of every image its class and, where it holds it, the name of its file. It knows no card: whichever card's
images a store holds, ``StoreLayout`` gives them that card's classes, ids and checks.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from apm_tta.data.cards import DatasetCard
from apm_tta.data.files import archives_in, is_archive, is_root, looking_into
from apm_tta.data.layouts import LAYOUTS, Layout
from apm_tta.data.layouts.base import DEPTHS
from apm_tta.data.layouts.domain_folders import domain_folders
from apm_tta.data.stores.base import STORES, Contents, Item, Store
from apm_tta.data.stores.by_domain import ByDomain
from apm_tta.data.stores.layout import StoreLayout
from apm_tta.errors import UserError

__all__ = ["STORES", "Contents", "Item", "Store", "StoreLayout", "open_layout"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def open_layout(card: DatasetCard, data_root: Path | None) -> Layout[Any]:
    """Return what reads the images of ``card``: its own layout, or a store where one lies in place of the tree.

    The first of the folders where images may lie decides that has either; where one has both, the store is read. What
    is unpacked comes before what is in archives.
    """
    layout = LAYOUTS.get(card.layout)(card, data_root)
    if layout.carried or data_root is None or not is_root(data_root):
        return layout
    forms = [STORES.get(name) for name in STORES.names()]  # once: entry points are looked for
    for depth in DEPTHS:
        with looking_into(depth):
            places = layout.candidate_places()
            store = _first_store(layout, places, forms)
            if store is not None:
                return StoreLayout(store)
            if not any(map(_has_archives, places)) or any(map(layout.fits_at, places)):
                return layout
    return layout


def _first_store(layout: Layout[Any], places: Sequence[Path], forms: Sequence[type[Store]]) -> Store | None:
    for number, place in enumerate(places):
        for form in forms:
            domains = _domains_at(place, layout, form)
            if domains or form.lies_in(place):
                if any(map(layout.fits_at, places[:number])):
                    return None
                return ByDomain(place, layout, form, domains) if domains else form(place, layout)
    return None


def _domains_at(place: Path, layout: Layout[Any], form: type[Store]) -> dict[str, Path]:
    """Return the folders of the card's domains that hold a store, by domain."""
    try:
        folders = domain_folders(place, layout.card.domains) if layout.card.domains and place.is_dir() else {}
    except UserError:
        return {}
    return {name: folder for name, folder in folders.items() if form.lies_in(folder)}


def _has_archives(place: Path) -> bool:
    try:
        return is_archive(place) or bool(archives_in(str(place)))
    except OSError:
        return False
