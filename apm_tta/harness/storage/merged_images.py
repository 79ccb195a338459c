"""The images of the parts of a run: what one of them could not read, another may have answered."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from apm_tta.data.image_digests import UNREADABLE, ImageDigests
from apm_tta.harness.storage.carried_images import answered_contents
from apm_tta.harness.storage.manifest import Numbers
from apm_tta.harness.storage.record_keys import SORTED
from apm_tta.harness.storage.records import Recorded
from apm_tta.harness.storage.unread_rows import SeenRows, see_rows


@dataclass
class MergedImages:
    """What the images of a merged run are, as its first folder states them and its answers show.

    Attributes:
        folder: that comes first.
        numbers: of its run.
        listed: its images; None where their list is lost.
    """

    folder: Path
    numbers: Numbers
    listed: ImageDigests | None
    _contents: dict[str, str] = field(default_factory=dict)

    def taken_over(
        self, part: Path, numbers: Numbers, listed: ImageDigests | None
    ) -> tuple[Numbers, ImageDigests | None]:
        """Return a part's numbers and images, with the first folder's images where the two are reconcilable.

        They are, where one of them could not read an image, or has no answer to it, so that no two answers are to
        different contents.
        """
        if self.listed is None or listed is None or self.listed.by_id.keys() != listed.by_id.keys():
            return numbers, listed
        by_id = dict(listed.by_id)
        if differing := {*self.listed.differing(listed)}:
            own = _contents(see_rows(self.folder, self.numbers, differing), self.listed, differing)
            theirs = _contents(see_rows(part, numbers, differing), listed, differing)
            for sample_id in differing:
                found = {*own[sample_id], *theirs[sample_id], *filter(None, [self._contents.get(sample_id)])}
                if len(found) <= 1:
                    by_id[sample_id] = self.listed.by_id[sample_id]
                    self._contents.update((sample_id, content) for content in found)
        taken = replace(listed, by_id=by_id)
        dataset = numbers.dataset.model_copy(update={"images_sha256": taken.sha256})
        return numbers.model_copy(update={"dataset": dataset}), taken

    def restated(self, recorded: Recorded, listed: ImageDigests | None) -> Recorded:
        """Return a part's records, whose rows state the contents of images where the merged list has another.

        Args:
            recorded: of the part.
            listed: the part's own images.
        """
        if self.listed is None or listed is None:
            return recorded
        table = recorded.table
        unread = pc.is_valid(table["error"]).to_pylist()
        contents = [
            None if lacking else self._stated(sample_id, content or listed.by_id.get(sample_id))
            for sample_id, content, lacking in zip(
                table["id"].to_pylist(), table["image_sha256"].to_pylist(), unread, strict=True
            )
        ]
        place = table.schema.get_field_index("image_sha256")
        return replace(
            recorded, table=table.set_column(place, table.schema.field(place), pa.array(contents, pa.string()))
        )

    def _stated(self, sample_id: str, content: str | None) -> str | None:
        assert self.listed is not None
        return content if content is not None and self.listed.is_other(sample_id, content) else None


def preferred(held: Recorded, new: Recorded) -> Recorded | None:
    """Return that of two files of the same images which has more answers, where all others are the same; else None."""
    states = [each.header.stream_unread for each in (held, new)]
    if states[0] != states[1]:  # every answer of a stream depends on the images before it
        return held if not states[0] else new if not states[1] else None
    tables = [each.table.sort_by(SORTED) for each in (held, new)]
    unread = [pc.is_valid(table["error"]) for table in tables]
    either = pc.invert(pc.or_(*unread))
    keys = [each.select([name for name, _ in SORTED]) for each in tables]
    if keys[0] != keys[1] or tables[0].filter(either) != tables[1].filter(either):
        return None
    more = [pc.sum(pc.and_(each, pc.invert(other))).as_py() or 0 for each, other in (unread, unread[::-1])]
    return new if more[0] and not more[1] else held if not more[0] else None


def _contents(rows: dict[PurePosixPath, SeenRows], listed: ImageDigests, asked: set[str]) -> dict[str, set[str]]:
    """Return which contents a folder holds each image to have; none where it could not read it."""
    answered, unread = answered_contents(rows, listed), {each for seen in rows.values() for each in seen.unread}
    return {
        sample_id: answered.get(sample_id, set())
        or ({listed.by_id[sample_id]} - {UNREADABLE} if sample_id not in unread else set())
        for sample_id in asked
    }
