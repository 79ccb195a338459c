"""Ask a method for its answer, trusting nothing that it does: what it shares, what it sets, what it returns."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor

from apm_tta.device_copies import host_copies
from apm_tta.errors import UserError, describe_error
from apm_tta.guard.object_state import state_of
from apm_tta.guard.process_state import StateChanged, isolated
from apm_tta.guard.seals import ImageSeals
from apm_tta.methods.base import Method, Predictions
from apm_tta.methods.batch import Batch, Meter
from apm_tta.methods.images import Images
from apm_tta.methods.shared_values import cosine_logits, features_of
from apm_tta.methods.valid_predictions import validated
from apm_tta.randomness import seed_for
from apm_tta.teachers import Teacher


@dataclass(frozen=True)
class Answers:
    """Answers for n images that were given together.

    Attributes:
        predictions: the method's, on the CPU.
        teacher: the teacher's own logits, ``(n, C)``, on the CPU.
        meter: what the answers cost.
    """

    predictions: Predictions
    teacher: Tensor
    meter: Meter

    def part(self, rows: slice) -> Answers:
        """Return the logits of some of the images, and the teacher's."""
        return Answers(Predictions(self.predictions.logits[rows]), self.teacher[rows], self.meter)


def answer(method: Method[Any], batch: Batch, purpose: str = "answer", *, thorough: bool = False) -> Answers:
    """Return a method's predictions for ``batch``, the teacher's own, and what the former cost.

    The method finds the process in a state that depends on the run's seed, the batch and ``purpose`` alone. A GPU is
    waited for once, when all that is to be looked at is copied to the CPU.

    Args:
        method: the method.
        batch: the images.
        purpose: of the question; it decides what the global random generators draw, which no answer may depend on.
        thorough: whether all of the teacher and of the images is looked at afterwards, and not only what the method was
            given and what torch counts; done once per cell.

    Raises:
        UserError: in one line with the method's name: when it changed what all methods share, or a setting of the
            process; when it tried to end the process; when its answer is not valid.
    """
    predictions, meter, changes = _asked(method, batch, purpose, thorough)
    changed = [flag for _, flag in changes]
    try:
        own = teacher_logits(method, batch)
    except Exception:  # as of features that are no longer any
        _refuse_changes(method, changes, host_copies(changed))
        raise
    classes = len(method.given.task.classes)
    answered, (*changed, teacher) = validated(predictions, method.given.row, batch.ids, classes, [*changed, own])
    _refuse_changes(method, changes, changed)
    return Answers(answered, teacher, meter)


def run_once(method: Method[Any], batch: Batch, purpose: str) -> None:
    """Let a method predict, and look at nothing but what it may have changed: for measurements."""
    _, _, changes = _asked(method, batch, purpose, thorough=False)
    _refuse_changes(method, changes, host_copies([flag for _, flag in changes]))


def _refuse_changes(method: Method[Any], changes: Sequence[tuple[str, Tensor]], flags: Sequence[Tensor]) -> None:
    """Refuse a method that changed something; ``flags`` are those of ``changes``, on the CPU."""
    for (name, _), flag in zip(changes, flags, strict=True):
        if bool(flag):
            raise _changed(method.given.row, f"the {name}")


def _asked(
    method: Method[Any], batch: Batch, purpose: str, thorough: bool
) -> tuple[Any, Meter, list[tuple[str, Tensor]]]:
    """Return whatever a method predicts, what it cost, and of each value that it was lent whether that has changed."""
    if len(batch) < method.least_batch:
        raise UserError(
            f"method {method.given.row} needs {method.least_batch} images at once over teacher "
            f"{method.given.teacher.name}, and got {len(batch)}"
        )
    given, images = method.given, ImageSeals(cast(Images, batch.images), contents=thorough)
    with watched(method.given.row, given.teacher, seed_for(given.seed, batch.ids[0], purpose), contents=thorough):
        with batch.shared.metered() as meter:
            predictions = method.predict(batch)
        changes = batch.shared.changes(meter)
        if (index := images.first_broken()) is not None:
            raise _changed(method.given.row, f"the image {batch.ids[index]}")
    return predictions, meter, changes


def teacher_logits(method: Method[Any], batch: Batch) -> Tensor:
    """Compute the teacher's own logits under the method's templates, ``(B, C)``, whatever the method makes of them."""
    given = method.given
    return cosine_logits(given.teacher, given.class_weights, features_of(batch, given.teacher))


def reset(method: Method[Any]) -> None:
    """Let a method forget; an episodic one has nothing to forget.

    Raises:
        UserError: when that fails, or changes what all methods share, in one line with the method's name.
    """
    if method.protocol == "episodic":
        return
    seed = seed_for(method.given.seed, method.name, "reset")
    with (
        failures_named(method.given.row, "reset()"),
        watched(method.given.row, method.given.teacher, seed, contents=False),
    ):
        method.reset()


@contextmanager
def watched(name: str, teacher: Teacher, seed: int, *, contents: bool) -> Iterator[None]:
    """Run a method's own code in the block, isolated from the process, and look at the teacher afterwards.

    Args:
        name: of the method.
        teacher: which all methods share.
        seed: of the global random generators within the block.
        contents: whether all of the teacher is compared; else only what torch has counted as changed.

    Raises:
        UserError: in one line with the method's name.
    """
    teacher_state = state_of("teacher", teacher)
    try:
        with isolated(seed, teacher.device):
            yield
    except StateChanged as error:
        raise UserError(f"method {name} changed {error}, a setting of the whole process: it must not") from None
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit, GeneratorExit, or one of somebody's own
        raise UserError(f"method {name} failed: it tried to end the process ({describe_error(error)})") from error
    if (changed := teacher_state.difference(contents)) is not None:
        raise _changed(name, changed)


@contextmanager
def failures_named(method: str, where: str) -> Iterator[None]:
    """Turn every error in the block into one that names the method and the images.

    Args:
        method: its name.
        where: the images, in words.

    Raises:
        UserError: for anything that goes wrong in the block.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"method {method} failed on {where}: {describe_error(error)}",
            advice="mend it, or leave it out of --methods",
            passing=isinstance(error, OSError),
        ) from error


def refuse_changed_teacher(teacher: Teacher, methods: Collection[str] = ()) -> None:
    """Refuse a teacher that is not what it was when it was first used.

    Args:
        teacher: which all methods share.
        methods: names of those that have used it since it was last looked at.

    Raises:
        UserError: naming the part that differs, and the methods.
    """
    if (changed := state_of("teacher", teacher).difference(contents=True)) is None:
        return
    if len(methods) == 1:
        raise _changed(next(iter(methods)), changed)
    if methods:
        raise UserError(f"one of the methods {', '.join(sorted(methods))} changed {changed} that all methods share")
    raise UserError(f"teacher {teacher.name} was changed after it was loaded ({changed}): load it again")


def _changed(method: str, what: str) -> UserError:
    return UserError(f"method {method} changed {what} that all methods share (in place): let it change a copy")
