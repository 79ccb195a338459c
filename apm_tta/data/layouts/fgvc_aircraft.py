"""FGVC-Aircraft as released, by variant."""

from __future__ import annotations

from apm_tta.data.class_lists import ClassList
from apm_tta.data.layouts.base import LAYOUTS, Entry, NoOptions
from apm_tta.data.layouts.listed import ListedLayout
from apm_tta.errors import UserError


@LAYOUTS.register("fgvc-aircraft")
class FgvcAircraftLayout(ListedLayout[NoOptions]):
    """A tree with ``variants.txt``, one class per line in label order, and ``images_variant_test.txt``.

    Each line of the latter is ``image variant``.
    """

    @property
    def list_file(self) -> str:
        return "images_variant_test.txt"

    def parse(self) -> tuple[ClassList, list[Entry]]:
        variants = tuple(line.strip() for line in self.read_text("variants.txt").splitlines() if line.strip())
        labels = {name: label for label, name in enumerate(variants)}
        if len(labels) != len(variants):
            raise UserError(f"{self.place / 'variants.txt'} names a variant twice; unpack it again")
        entries = []
        for number, line in enumerate(self.read_text(self.list_file).splitlines(), 1):
            image, _, variant = line.strip().partition(" ")
            if variant not in labels:
                where = f"{self.place / self.list_file}, line {number}"
                raise UserError(f"{where}: {variant!r} is not a variant of variants.txt; unpack it again")
            entries.append(Entry(f"images/{self.check_inside(image, self.list_file)}.jpg", labels[variant]))
        if len({entry.id for entry in entries}) != len(entries):
            raise UserError(f"{self.place / self.list_file} lists a test image twice; unpack it again")
        return ClassList(variants, variants), entries
