"""An image folder and one of CoOp's split files: nine of the ten sets that it gathered."""

from __future__ import annotations

from pathlib import PurePosixPath

from pydantic import TypeAdapter, ValidationError

from apm_tta.configuration import Configuration, one_line
from apm_tta.data.class_lists import ClassList
from apm_tta.data.layouts.base import LAYOUTS, Entry
from apm_tta.data.layouts.listed import ListedLayout
from apm_tta.errors import UserError

# {"train": [[path, label, class name], ...], "val": ..., "test": ...}
_Split = TypeAdapter(dict[str, list[tuple[str, int, str]]])


class CoopSplitOptions(Configuration):
    """Where the split file lies, and what its paths are below.

    Attributes:
        split: the file that says which images are tested, below the place.
        image_folder: the folder that the paths in ``split`` start from, below the place.
    """

    split: str
    image_folder: str = ""


@LAYOUTS.register("coop-split")
class CoopSplitLayout(ListedLayout[CoopSplitOptions]):
    """``split_zhou_NAME.json`` names path, label and class of every image; its ``test`` part is what is tested.

    Class names are those of the file, underscores as spaces, as CoOp's zero-shot prompts have them.
    """

    Options = CoopSplitOptions

    @property
    def list_file(self) -> str:
        return self.options.split

    def parse(self) -> tuple[ClassList, list[Entry]]:
        path = self.place / self.list_file
        try:
            split = _Split.validate_json(self.text(self.list_file))
        except ValidationError as error:
            reason = one_line(error)[:200]
            raise UserError(f"{path} is not a split of [path, label, class name]: {reason}; take it again") from None
        if not split.get("test"):
            raise UserError(f"{path} lists no test images; take it again")
        names: dict[int, str] = {}
        for _, label, name in (item for part in split.values() for item in part):
            if names.setdefault(label, name) != name:
                raise UserError(f"{path} calls class {label} {names[label]!r} and {name!r}; take it again")
        if sorted(names) != list(range(len(names))):
            raise UserError(f"{path} has labels {min(names)} to {max(names)} but {len(names)} classes; take it again")
        written = tuple(names[label] for label in range(len(names)))
        classes = ClassList(tuple(name.replace("_", " ") for name in written), written)
        folder = self.options.image_folder
        test = [
            Entry(PurePosixPath(folder, self.inside(path, self.list_file)).as_posix(), label)
            for path, label, _ in split["test"]
        ]
        if len({entry.id for entry in test}) != len(test):
            raise UserError(f"{path} lists a test image twice; take it again")
        return classes, test
