"""A run, from its request to records on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from apm_tta.data.dataset import Dataset
from apm_tta.data.image_files import OutOfReach
from apm_tta.errors import UserError, describe_error
from apm_tta.harness.compute.content import content_notes, hash_content, images_to_hash
from apm_tta.harness.compute.engines import ENGINES, Engine
from apm_tta.harness.compute.fingerprint import describe
from apm_tta.harness.compute.job import Job
from apm_tta.harness.compute.prepare import open_data, plan, prepare
from apm_tta.harness.plan import Cell, Shard, Stream, Work, select_part
from apm_tta.harness.progress.events import Emit, Event, Finished, Kept, Note, Planned
from apm_tta.harness.progress.hashing_bar import hashing_bar
from apm_tta.harness.progress.heard_warnings import counted, heard_warnings
from apm_tta.harness.progress.json_lines import JsonLines
from apm_tta.harness.progress.logged_notes import gathered_warnings, warnings_as_notes
from apm_tta.harness.progress.progress_bar import Progress
from apm_tta.harness.progress.run_log import LOG_FILE, LogFile
from apm_tta.harness.request.run_request import RunRequest
from apm_tta.harness.retry import select_remaining
from apm_tta.harness.storage.carried_images import carry_on
from apm_tta.harness.storage.checkpoints import Checkpoints
from apm_tta.harness.storage.compaction import compact
from apm_tta.harness.storage.division import divide, part_of_files, refuse_other_plan
from apm_tta.harness.storage.image_list import keep_read_images, read_image_list, with_images, write_image_list
from apm_tta.harness.storage.manifest import MANIFEST_FILE, refuse_other_run
from apm_tta.harness.storage.manifest_file import read_manifest, write_manifest
from apm_tta.harness.storage.run_folder import (
    holds_no_answer,
    make_folder,
    refuse_orphans,
    remove_if_empty,
    remove_leftovers,
    set_damaged_aside,
)
from apm_tta.harness.storage.run_records import Image, present_files
from apm_tta.harness.storage.unread_rows import see_rows
from apm_tta.system.cache_folder import cache_doubts
from apm_tta.system.stop_signals import stop_says, stoppable
from apm_tta.system.writer_lock import only_writer
from apm_tta.wording import pluralise, resume

_KEPT = "finished shards and checkpoints are kept"


def run(request: RunRequest) -> Path:
    """Compute and record every cell of ``request`` that the run folder lacks.

    The data is checked before the teacher is loaded. This process is the only one that writes into the run folder,
    whatever the engine.

    Returns:
        The run folder.

    Raises:
        UserError: one line for anything that cannot be carried out; finished shards and checkpoints are kept.
    """
    with heard_warnings() as heard:
        return _recorded(request, ENGINES.get(request.engine), heard)


def _recorded(request: RunRequest, engine: Engine, heard: Counter[str]) -> Path:
    dataset = open_data(request)
    folder = make_folder(request.out, request.suite.name, request.force_new)
    try:
        with stoppable(), stop_says(f"{_KEPT}; {resume(folder)}"), only_writer(folder) as doubts:
            log = LogFile(folder)
            try:
                _run(request, dataset, folder, engine, log, heard, [*doubts, *cache_doubts()])
            except BaseException as error:
                log.failed(error)
                raise
            finally:
                log.close()
    finally:
        remove_if_empty(folder)
    return folder


def _run(
    request: RunRequest,
    dataset: Dataset,
    folder: Path,
    engine: Engine,
    log: LogFile,
    heard: Counter[str],
    doubts: Sequence[str],
) -> None:
    ids, images = images_to_hash(dataset, request.every_condition)
    with hashing_bar(len(ids), hidden=request.quiet or request.json) as advance:
        try:
            digests = hash_content(dataset, ids, images, advance)
        except OutOfReach as error:
            error.advise("see that they can be read, then run the same command again")
            raise
    before = read_manifest(folder) if (folder / MANIFEST_FILE).exists() else None
    if before is not None and holds_no_answer(folder):
        before = None  # whatever was to be run here, such as a method that has been mended since
    listed = None if before is None else read_image_list(folder, before.numbers)
    if before is not None:
        request = _in_shards_of(request, before.numbers.shard_size)
        digests = carry_on(folder, before.numbers, listed, digests)
        dataset.expect(digests)
    with gathered_warnings() as notes:
        prepared = prepare(request, request.devices[0], dataset)
    setup_warnings = dict(heard)
    notes += dataset.doubts
    notes += content_notes(dataset, request.conditions, digests)
    manifest = divide(describe(prepared, notes), request.part, request.plan)
    division = manifest.division
    if before is not None:
        refuse_other_run(folder, before.numbers, manifest.numbers, lambda lines: with_images(lines, listed, digests))
        refuse_other_plan(folder, before.division, division)
        manifest = before
        present_files(folder, manifest.numbers)
    else:
        refuse_orphans(folder, manifest.numbers.fingerprint)
        present_files(folder, manifest.numbers)
        write_manifest(folder, manifest)
    write_image_list(folder, digests)
    remove_leftovers(folder)
    _, work = plan(prepared)
    if request.part is not None and division is not None:
        work = select_part(work, part_of_files(manifest.numbers, division), request.part[0])
    progress = None if request.quiet or request.json else Progress()
    listeners: list[Emit] = [log, *([JsonLines()] if request.json else []), *([progress] if progress else [])]

    said: set[Event] = set()

    def emit(event: Event) -> None:
        if isinstance(event, Note):  # every process of a run warns of the same
            if event in said:
                return
            said.add(event)
        if isinstance(event, Finished | Kept) and not (folder / MANIFEST_FILE).exists():
            raise UserError(
                f"{folder} is gone: it was renamed or removed while the run wrote into it",
                advice="put it back",
                passing=True,
            )
        if isinstance(event, Finished):
            heard.update(event.warnings)
            for path, content in event.images:
                keep_read_images(folder / path, content)
            remaining.record(folder, event.work, event.files)
            checkpoints.remove(event.work)
        elif isinstance(event, Kept):
            checkpoints.write(event)
        for listener in listeners:
            listener(event)

    try:
        checkpoints = Checkpoints(folder, manifest.numbers.fingerprint, emit)
        for reason in set_damaged_aside(work, folder, manifest.numbers, lambda *unit: _images_of(dataset, *unit)):
            emit(Note(f"{reason}: it is set aside, and its images are answered again"))
        for note in (*notes, *doubts):  # doubts are about this place, and no reader of the table needs them
            emit(Note(note))
        with _errors_with_advice(folder):
            remaining = select_remaining(work, folder, see_rows(folder, manifest.numbers), prepared)
        left = checkpoints.along(remaining.work)
        emit(Planned(len({cell for unit in work for cell in unit.cells}), left))
        with _errors_with_advice(folder), warnings_as_notes(emit):
            if left:
                engine(left, Job(request, manifest.numbers, digests, setup_warnings, prepared, checkpoints), emit)
        try:
            if written := compact(folder, manifest.numbers):
                log.line(f"shards of {pluralise(written, 'cell')} were made one file each")
        except UserError as error:  # the records are complete without
            emit(Note(f"shards stay as they are: {error}"))
        log.line("done")
    finally:
        for text in counted(heard):
            emit(Note(text))
        if progress is not None:
            progress.close()


def _in_shards_of(request: RunRequest, shard_size: int) -> RunRequest:
    """Return the request with the shard size that its run began with: no number depends on it, and files lie by it."""
    return replace(request, suite=request.suite.model_copy(update={"shard_size": shard_size}))


def _images_of(dataset: Dataset, unit: Work, cell: Cell) -> list[Image]:
    """Return the images that a unit of work answers for a cell."""
    entries = dataset.entries(cell.condition)
    if isinstance(unit, Shard):
        entries = entries[unit.start : unit.stop]
    passes = unit.count_answers(cell) // len(entries) if isinstance(unit, Stream) else 1
    return [(entry.id, entry.label) for entry in entries] * passes


@contextmanager
def _errors_with_advice(folder: Path) -> Iterator[None]:
    """Turn every error in the block into a message that ends with what is kept and, where that helps, how to resume.

    The same command is advised only after what may have passed: a system's error, a ``passing`` error.

    Raises:
        UserError: for anything that goes wrong in the block.
    """
    try:
        yield
    except UserError as error:
        error.advise(f"{_KEPT}; {resume(folder)}" if error.passing else f"{_KEPT} in {folder}")
        raise
    except Exception as error:
        passing = isinstance(error, OSError)
        raise UserError(
            f"stopped by {describe_error(error)} (traceback in {folder / LOG_FILE})",
            advice=f"{_KEPT}; {resume(folder)}" if passing else _KEPT,
            passing=passing,
        ) from error
