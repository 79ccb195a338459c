"""The times of a finished run, measured again without answering its images again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from apm_tta.data.image_digests import ImageDigests
from apm_tta.errors import UserError
from apm_tta.harness.compute.fingerprint import numbers
from apm_tta.harness.compute.prepare import Prepared, open_data, prepare
from apm_tta.harness.compute.rounds import measure_in_rounds
from apm_tta.harness.progress.heard_warnings import heard_warnings
from apm_tta.harness.quietness import disturbance
from apm_tta.harness.request.run_request import RunRequest
from apm_tta.harness.storage.image_list import IMAGES_FILE, read_image_list, with_images
from apm_tta.harness.storage.manifest import Manifest, Numbers, differences
from apm_tta.harness.storage.manifest_file import read_manifest
from apm_tta.harness.storage.run_records import read_headers
from apm_tta.harness.storage.site import this_site
from apm_tta.harness.storage.times import Times, write_times
from apm_tta.system.writer_lock import only_writer


def time_again(folder: Path, request: RunRequest, advance: Callable[[], object] = lambda: None) -> dict[str, str]:
    """Measure the times of every method of a run, and write them into its folder once all are known.

    Args:
        folder: of the run, which is complete.
        request: that made it, and on which device it is measured.
        advance: see ``measure_in_rounds``.

    Returns:
        The methods while which something else ran on the machine, with what that is known by.

    Raises:
        UserError: when what would be timed is not what answered; when a method fails. The folder stays as it was.
    """
    manifest = read_manifest(folder)
    with heard_warnings(), only_writer(folder):
        prepared = _prepared_alike(folder, manifest, request)
        site = this_site(prepared.teacher.device)
        measured = measure_in_rounds(prepared, _batch_sizes(folder, manifest.numbers), advance)
        times = Times(fingerprint=manifest.numbers.fingerprint, site=site, methods=measured)
        write_times(folder, times)
    reasons = {name: disturbance(each.clocks, times.fastest_ms) for name, each in measured.items()}
    return {name: reason for name, reason in reasons.items() if reason}


def _prepared_alike(folder: Path, manifest: Manifest, request: RunRequest) -> Prepared:
    """Prepare the run, with the images that it has answered.

    Raises:
        UserError: when its numbers would be others here, naming what differs.
    """
    there = manifest.numbers
    # Of a run from Python, for which the command line has no option.
    suite = request.suite.model_copy(update={"clean": "clean" in there.conditions, "crop_scale": there.crop_scale})
    request = replace(request, suite=suite, conditions=tuple(suite.conditions()), feature_cache=False)
    listed = _image_list(folder, there)
    dataset = open_data(request)
    dataset.expect(listed)
    prepared = prepare(request, request.devices[0], dataset)
    if differing := differences(there, numbers(prepared)):
        told = "; ".join(with_images(differing, listed, listed))
        raise UserError(f"{folder} was not answered by what would be timed here ({told})")
    return prepared


def _image_list(folder: Path, there: Numbers) -> ImageDigests:
    listed = read_image_list(folder, there)
    if listed is None:
        raise UserError(f"{folder / IMAGES_FILE} is missing or damaged: which images were answered is not known")
    return listed


def _batch_sizes(folder: Path, there: Numbers) -> dict[str, int]:
    """Return how many images each method was given at once, the fewest where memory ran out."""
    sizes: dict[str, int] = {}
    for method, header in read_headers(folder, there):
        sizes[method] = min(*header.batch_sizes, sizes.get(method, max(header.batch_sizes)))
    return sizes
