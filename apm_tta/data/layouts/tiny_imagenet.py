"""Tiny-ImageNet's validation images as released: one flat folder, and a file that states the class of each."""

from __future__ import annotations

from apm_tta.data.class_lists import ClassList
from apm_tta.data.layouts.base import LAYOUTS, Entry, NoOptions
from apm_tta.data.layouts.listed import ListedLayout
from apm_tta.errors import UserError
from apm_tta.wording import first_few

CLASSES_FILE, ANNOTATIONS = "wnids.txt", "val/val_annotations.txt"


@LAYOUTS.register("tiny-imagenet")
class TinyImageNetLayout(ListedLayout[NoOptions]):
    """A tree with ``wnids.txt``, one class per line, ``val/val_annotations.txt`` and ``val/images/*.JPEG``.

    A line of the annotations is the image, its class, and the corners of a box, separated by tabs. Label order is the
    card's, that of the numbers of the synsets: it is also that of folders sorted by name, as most code reads them.
    """

    @property
    def list_file(self) -> str:
        return ANNOTATIONS

    def parse(self) -> tuple[ClassList, list[Entry]]:
        classes = self.card.class_list
        stated = set(self.read_text(CLASSES_FILE).split())
        if differing := sorted(stated ^ set(classes.folders)):
            raise UserError(
                f"{self.place / CLASSES_FILE} has {len(stated)} classes that are not the release's {len(classes)}: "
                f"missing or surplus are {first_few(differing)}; unpack it again"
            )
        label_of = {folder: label for label, folder in enumerate(classes.folders)}
        entries: dict[str, Entry] = {}
        for number, line in enumerate(self.read_text(ANNOTATIONS).splitlines(), 1):
            image, _, rest = line.partition("\t")
            folder = rest.partition("\t")[0]
            where = f"{self.place / ANNOTATIONS}, line {number}"
            if folder not in label_of:
                raise UserError(f"{where}: {folder!r} is not a class of {CLASSES_FILE}; unpack it again")
            path = f"val/images/{self.check_inside(image, ANNOTATIONS)}"
            if path in entries:
                raise UserError(f"{where}: {image} is listed twice; unpack it again")
            entries[path] = Entry(path, label_of[folder])
        return classes, list(entries.values())
