"""The images of a run that is gone on with: what they were, but for those without an answer, which may be repaired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from apm_tta.data.image_digests import UNREADABLE, ImageDigests
from apm_tta.errors import UserError
from apm_tta.harness.storage.manifest import Numbers
from apm_tta.harness.storage.unread_rows import SeenRows, see_rows
from apm_tta.wording import first_few


def carry_on(run: Path, numbers: Numbers, listed: ImageDigests | None, now: ImageDigests) -> ImageDigests:
    """Return the run's images, with what those without an answer are now.

    What an image was when the run began is no matter as long as no row is an answer to it: it could not be read then,
    or every row of it is without an answer. An image that was answered after a repair must be what was answered.

    Args:
        run: the run folder.
        numbers: of the run.
        listed: the images that it began with; None where the list is lost.
        now: what is there now.

    Returns:
        ``listed`` with ``since``; where other images differ, ``now`` in their place, which are those of another run.

    Raises:
        UserError: when an image is not what was answered after it had been repaired, naming it.
    """
    if listed is None or listed.by_id.keys() != now.by_id.keys():
        return now
    differing = {*listed.differing(now)}
    rows = see_rows(run, numbers, differing)
    contents, unread = answered_contents(rows, listed), {each for seen in rows.values() for each in seen.unread}
    by_id, since, changed = dict(listed.by_id), {}, []
    for sample_id in {*differing, *contents}:
        before, found, answered = listed.by_id[sample_id], now.by_id[sample_id], contents.get(sample_id, set())
        if found == UNREADABLE:
            since[sample_id] = next(iter(answered), UNREADABLE if sample_id in unread else before)
        elif answered == {found} or (not answered and (before == UNREADABLE or sample_id in unread)):
            since[sample_id] = found
        elif answered <= {before}:
            by_id[sample_id] = found  # another run's, whose images are named with everything else that differs
        else:
            changed.append(sample_id)
    if changed:
        raise UserError(
            f"{run} has answers to other contents of images that were repaired: {first_few(sorted(changed))}",
            advice="restore them and run the same command again, or begin another run with --force-new",
        )
    return replace(listed, by_id=by_id, since={each: digest for each, digest in since.items() if by_id[each] != digest})


def as_answered(run: Path, numbers: Numbers, listed: ImageDigests | None) -> tuple[Numbers, ImageDigests | None]:
    """Return a run's numbers and images with the contents that its rows are answers to; without one, of no content.

    Args:
        run: the run folder.
        numbers: of the run.
        listed: the images that it began with; None where the list is lost.
    """
    if listed is None:
        return numbers, None
    rows = see_rows(run, numbers)
    unread = {each: UNREADABLE for seen in rows.values() for each in seen.unread if each in listed.by_id}
    answered = {each: min(contents) for each, contents in answered_contents(rows, listed).items()}
    images = replace(listed, by_id={**listed.by_id, **unread, **answered})
    dataset = numbers.dataset.model_copy(update={"images_sha256": images.sha256})
    return numbers.model_copy(update={"dataset": dataset}), images


def answered_contents(rows: Mapping[PurePosixPath, SeenRows], listed: ImageDigests) -> dict[str, set[str]]:
    """Return the contents of images that the rows of ``see_rows`` are answers to, by id."""
    contents: dict[str, set[str]] = {}
    for seen in rows.values():
        for sample_id, content in seen.answered.items():
            contents.setdefault(sample_id, set()).add(content or listed.by_id.get(sample_id, UNREADABLE))
    return {sample_id: each for sample_id, each in contents.items() if sample_id in listed.by_id}
