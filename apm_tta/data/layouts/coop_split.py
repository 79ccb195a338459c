"""An image folder with one of CoOp's split files: nine of the ten data sets that it collected."""

from __future__ import annotations

from pathlib import PurePosixPath

from pydantic import ConfigDict, TypeAdapter, ValidationError

from apm_tta.configuration import Configuration, one_line
from apm_tta.data.class_lists import ClassList
from apm_tta.data.layouts.base import LAYOUTS, Entry
from apm_tta.data.layouts.listed import ListedLayout
from apm_tta.errors import UserError

# {"train": [[path, label, class name], ...], "val": ..., "test": ...}
_Split = TypeAdapter(dict[str, list[tuple[str, int, str]]], config=ConfigDict(strict=True))


class CoopSplitOptions(Configuration):
    """Where the split file is, and which folder its paths start from.

    Attributes:
        split: the file that lists the test images, below the folder where the tree starts.
        image_folder: the folder that the paths in ``split`` start from, below the folder where the tree starts.
    """

    split: str
    image_folder: str = ""


@LAYOUTS.register("coop-split")
class CoopSplitLayout(ListedLayout[CoopSplitOptions]):
    """A tree whose ``split_zhou_NAME.json`` names path, label and class of every image; its ``test`` part is tested.

    Class names are those of the file with underscores as spaces, as in CoOp's zero-shot prompts.
    """

    Options = CoopSplitOptions

    @property
    def list_file(self) -> str:
        return self.options.split

    def parse(self) -> tuple[ClassList, list[Entry]]:
        path = self.place / self.list_file
        try:
            split = _Split.validate_json(self.read_text(self.list_file))
        except ValidationError as error:
            reason = one_line(error)[:200]
            raise UserError(
                f"{path} is not a split of [path, label, class name]: {reason}; download it again"
            ) from None
        if not split.get("test"):
            raise UserError(f"{path} lists no test images; download it again")
        names: dict[int, str] = {}
        for _, label, name in (item for part in split.values() for item in part):
            if names.setdefault(label, name) != name:
                raise UserError(f"{path} calls class {label} {names[label]!r} and {name!r}; download it again")
        if sorted(names) != list(range(len(names))):
            found = f"labels {min(names)} to {max(names)} but {len(names)} classes"
            raise UserError(f"{path} has {found}; download it again")
        folders = tuple(names[label] for label in range(len(names)))
        classes = ClassList(tuple(name.replace("_", " ") for name in folders), folders)
        folder = self.options.image_folder
        test = [
            Entry(PurePosixPath(folder, self.check_inside(path, self.list_file)).as_posix(), label)
            for path, label, _ in split["test"]
        ]
        if len({entry.id for entry in test}) != len(test):
            raise UserError(f"{path} lists a test image twice; download it again")
        return classes, test
