"""A layout of the sample package: all images in one folder, each file named by its class."""

from pathlib import Path

from apm_tta.data.layouts import Entry, Layout, Survey
from apm_tta.data.layouts.base import NoOptions
from apm_tta.data.sample import Condition


class NamedFiles(Layout[NoOptions]):
    """``CLASS-NUMBER.png``."""

    def fits(self, folder: Path) -> bool:
        return any(folder.glob("*-*.png"))

    def walk(self, condition: Condition) -> Survey:
        names = self.class_list().names
        files = sorted(path.name for path in self.place.glob("*-*.png"))
        return Survey([Entry(file, names.index(file.partition("-")[0])) for file in files])
