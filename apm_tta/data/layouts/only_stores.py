"""Sets that were released in the form of a store, such as parquet or shards: there is no tree to read them from."""

from __future__ import annotations

from pathlib import Path

from apm_tta.data.cards import DatasetCard
from apm_tta.data.layouts.base import LAYOUTS, Layout, NoOptions, Survey
from apm_tta.data.layouts.domain_folders import domain_folders
from apm_tta.data.sample import Condition


@LAYOUTS.register("only-stores")
class OnlyStoresLayout(Layout[NoOptions]):
    """Reads nothing itself: where images lie, a store reads them (``apm_tta.data.stores.open_layout``)."""

    def __init__(self, card: DatasetCard, data_root: Path | None) -> None:
        super().__init__(card, data_root)
        self.stores_corruptions = bool(card.stored_corruptions or card.domains)

    def fits(self, folder: Path) -> bool:
        return False

    def walk(self, condition: Condition) -> Survey:
        domain_folders(self.place, self.card.domains)  # which refuses two folders of one domain
        missing = f"{self.place} has nothing of {self.card.title}"
        return Survey(problems=[f"{missing}; expected: {self.card.tree}; to get it: {self.card.get}"])
