"""A run from what was asked for to records on disk."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from apm_tta.data.dataset import Dataset, TestedInSupport
from apm_tta.errors import UserError
from apm_tta.harness.compute.engines import ENGINES, Engine
from apm_tta.harness.compute.fingerprint import describe
from apm_tta.harness.compute.job import Job
from apm_tta.harness.compute.prepare import open_data, plan, prepare
from apm_tta.harness.plan import part_of
from apm_tta.harness.progress.events import Emit, Event, Finished, Note, Planned
from apm_tta.harness.progress.json_lines import JsonLines
from apm_tta.harness.progress.logged_notes import LoggedNotes
from apm_tta.harness.progress.progress_bar import Progress
from apm_tta.harness.progress.run_log import LOG_FILE, LogFile
from apm_tta.harness.request.run_request import RunRequest
from apm_tta.harness.storage.manifest import (
    MANIFEST_FILE,
    read_manifest,
    refuse_other_run,
    write_manifest,
)
from apm_tta.harness.storage.records import write_content
from apm_tta.harness.storage.run_folder import (
    make_folder,
    remove_if_empty,
    remove_leftovers,
    set_damaged_aside,
    unfinished,
)
from apm_tta.stop_signals import stop_code, stop_word, terminable
from apm_tta.writer_lock import only_writer


def run(request: RunRequest) -> Path:
    """Compute and record every cell of ``request`` that the run folder lacks.

    Whatever can be wrong with the data is found before the teacher is loaded. This process is the only one that writes
    into the run folder, whatever the engine.

    Returns:
        The run folder.

    Raises:
        UserError: one line for anything that cannot be carried out; what was finished is kept.
    """
    engine = ENGINES.get(request.engine)
    dataset = open_data(request)
    folder = make_folder(request.out, request.suite.name, request.force_new)
    try:
        with terminable(), only_writer(folder):
            log = LogFile(folder)
            try:
                _run(request, dataset, folder, engine, log)
            except KeyboardInterrupt as stop:
                log.failed(stop)
                raise UserError(f"{stop_word(stop)} before anything was computed", stop_code(stop)) from None
            except BaseException as error:
                log.failed(error)
                raise
            finally:
                log.close()
    finally:
        remove_if_empty(folder)
    return folder


def _run(request: RunRequest, dataset: Dataset, folder: Path, engine: Engine, log: LogFile) -> None:
    prepared = prepare(request, request.devices[0], dataset)
    manifest = describe(prepared)
    if (folder / MANIFEST_FILE).exists():
        before = read_manifest(folder)
        refuse_other_run(folder, before.numbers, manifest.numbers)
        if (joined := before.with_environment(manifest.environment)) != before:
            write_manifest(folder, joined)
    else:
        write_manifest(folder, manifest)
    remove_leftovers(folder)
    _, work = plan(prepared)
    if request.part is not None:
        work = part_of(work, *request.part)
    progress = None if request.quiet or request.json else Progress()
    listeners: list[Emit] = [log, *([JsonLines()] if request.json else []), *([progress] if progress else [])]

    def emit(event: Event) -> None:
        if isinstance(event, Finished):
            for path, content in event.files:
                if not (folder / path).exists():  # a stream is answered again as a whole, and kept where it was there
                    write_content(folder / path, content)
        for listener in listeners:
            listener(event)

    try:
        for path in set_damaged_aside(work, folder):
            emit(Note(f"{path} was damaged: it is set aside, and its images are answered again"))
        remaining = unfinished(work, folder)
        emit(Planned(len({cell for unit in work for cell in unit.cells}), tuple(remaining)))
        with _saying_how_to_go_on(folder), _noting(emit):
            if remaining:
                engine(remaining, Job(request, manifest.numbers, prepared), emit)
        log.line("done")
    finally:
        if progress is not None:
            progress.close()


@contextmanager
def _saying_how_to_go_on(folder: Path) -> Iterator[None]:
    """Ends every message of the block with what is kept and how to go on.

    Raises:
        UserError: for whatever goes wrong in the block.
    """
    kept = f"finished shards are kept: the same command with --out {folder} goes on"
    try:
        yield
    except TestedInSupport:  # no other command goes on: without that image the support is another one
        raise
    except UserError as error:
        raise UserError(f"{error}; {kept}", error.exit_code) from error.__cause__ or error
    except KeyboardInterrupt as stop:
        raise UserError(f"{stop_word(stop)}; {kept}", stop_code(stop)) from None
    except Exception as error:
        message = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"stopped by {message} ({folder / LOG_FILE} has the traceback); {kept}") from error


@contextmanager
def _noting(emit: Emit) -> Iterator[None]:
    """Makes notes of what this package's modules log within the block."""
    logger, handler = logging.getLogger("apm_tta"), LoggedNotes(emit)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
