"""ImageNet's validation images as released: a flat folder and the devkit of the challenge of 2012."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from apm_tta.data.image_files import MissingImage
from apm_tta.data.layouts.images import read_stored
from apm_tta.data.stores.base import STORES
from apm_tta.data.stores.flat import FlatStore
from apm_tta.errors import UserError

GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
META = "meta.mat"
_INTEGER = re.compile(r"\d{1,9}")


@STORES.register("imagenet-devkit")
class DevkitStore(FlatStore):
    """Line n of the ground truth is the class of ``ILSVRC2012_val_n`` as an ILSVRC ID, 1 .. 1000.

    These are not in the order of the labels: ``meta.mat`` beside it states the synset of each.
    """

    form = "images beside ImageNet's devkit"
    list_files = tuple(f"{folder}{GROUND_TRUTH}" for folder in ("ILSVRC2012_devkit_t12/data/", "data/", ""))

    def parse(self) -> Mapping[str, str]:
        path, synsets = self.place / self.list_file, self._synsets()
        folders = {}
        for number, line in enumerate(self.read_text(self.list_file).split(), 1):
            synset = synsets.get(int(line)) if _INTEGER.fullmatch(line) else None
            if synset is None:
                raise UserError(
                    f"{path}, line {number}: {line!r} is not an ILSVRC ID, {min(synsets)} to {max(synsets)}; "
                    "unpack the devkit again"
                )
            folders[f"ILSVRC2012_val_{number:08d}"] = synset
        return folders

    def _synsets(self) -> dict[int, str]:
        """Return the synset of each ILSVRC ID that is a class: the others are above them in WordNet.

        Raises:
            UserError: when ``meta.mat`` is missing or not the devkit's.
        """
        from scipy.io import loadmat

        path = self.place / PurePosixPath(self.list_file).with_name(META)
        try:
            rows = loadmat(io.BytesIO(read_stored(path, self.tree.patience).content), squeeze_me=True)["synsets"]
            leaves = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in rows if int(row["num_children"]) == 0}
        except MissingImage:
            raise UserError(
                f"{path} is missing: the integers of {GROUND_TRUTH} are ILSVRC IDs, not labels, and only {META} of the "
                "same devkit states their synsets; put it back"
            ) from None
        except Exception as error:  # a damaged file can make its reader raise anything
            raise UserError(f"{path} is not the devkit's ({type(error).__name__}); unpack it again") from None
        if not leaves:
            raise UserError(f"{path} names no class; unpack the devkit again")
        return leaves
