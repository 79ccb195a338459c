"""What a test-time adaptation method receives, predicts, and declares about itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any, ClassVar, Generic, Literal, Protocol, cast, get_args, get_origin

import torch
from torch import Tensor
from torch.nn.functional import normalize
from typing_extensions import TypeVar

from apm_tta.data.task import Task
from apm_tta.errors import UserError
from apm_tta.methods.batch import Batch
from apm_tta.methods.default_parameters import DefaultParameters
from apm_tta.methods.family_defaults import resolve_family
from apm_tta.methods.method_check import check_method, check_name, require_parameters  # noqa: F401
from apm_tta.methods.views import Views, ViewSpec, normalized, stack_pixels
from apm_tta.registry import Registry
from apm_tta.sources.installed_files import note_installed
from apm_tta.teachers import Teacher, read_templates

# Keys of what every method may share; each goes with the teacher, so that no two teachers mistake theirs.
PIXELS, PIXELS_ON_DEVICE, FEATURES = "pixels", "pixels on the device", "features"
# More gain nothing on a CPU: what is computed together then no longer fits its caches.
_ENCODED_AT_ONCE = {"cpu": 16, "cuda": 256}


class MethodParameters(Protocol):
    """What the parameters of every method have: a frozen dataclass with this field among its own.

    Attributes:
        templates: name or file of the prompt templates of the class weights; ``dataset`` is the data set's own.
    """

    @property
    def templates(self) -> str: ...


# A class that names no parameters, as ``class Mine(Method)``, has some of any type.
P = TypeVar("P", bound=MethodParameters, default=Any)


@dataclass(frozen=True)
class Predictions:
    """What a method predicts for B images of C classes.

    Attributes:
        logits: ``(B, C)``, finite.
        iteration_classes: predicted class after 0 .. T iterations, ``(B, T + 1)``.
        losses: of the method's own objective after 0 .. T iterations, ``(B, T + 1)``.
        cosines: of the adapted feature to the teacher's target after 0 .. T iterations, ``(B, T + 1)``.
        target_classes: the class of the feature that the method was fitted to, ``(B,)``.
    """

    logits: Tensor
    iteration_classes: Tensor | None = None
    losses: Tensor | None = None
    cosines: Tensor | None = None
    target_classes: Tensor | None = None


@dataclass(frozen=True)
class Cost:
    """Passes through the teacher per image, by the method's formula; class weights, computed once, are not counted.

    Attributes:
        image_forwards: through the image encoder, the evaluation crop's included.
        image_backwards: through the image encoder.
        text_forwards: of all class prompts through the text tower.
        text_backwards: likewise.
        other: what else it runs, in words.
    """

    image_forwards: int = 1
    image_backwards: int = 0
    text_forwards: int = 0
    text_backwards: int = 0
    other: str = ""


class _FirstDocstringLine:
    """An attribute that is the first line of the class's own docstring, where the class does not state it."""

    def __get__(self, _method: object, kind: type) -> str:
        lines = (vars(kind).get("__doc__") or "").strip().splitlines()
        return lines[0].rstrip(".") if lines else "nothing stated"


class Method(ABC, Generic[P]):
    """One test-time adaptation method over one teacher and one class list.

    A subclass ``class Tent(Method[TentParameters])`` states ``name`` and ``protocol``, better ``summary``, ``paper``
    and ``adapts`` too, is registered by ``@register``, and implements ``predict``. Its parameters are a frozen
    dataclass, every field with its default, range and source, one of them ``templates``; a default that a paper chooses
    by the data set's family is declared by ``by_family``. ``class Mine(Method)`` has ``templates`` alone. What it
    prepares once, it prepares in ``setup``.

    Attributes:
        name: as on the command line and in the results table.
        protocol: ``episodic``: the answer for an image is a function of that image, its id, the seed and nothing else.
            ``online``: it keeps state between images, and the harness calls ``reset`` where the protocol says. A method
            that has both sets it on the object.
        stream_batch: images that an online method takes at once, as published: the harness gives it exactly that many
            (fewer at the end of its stream); None where its answers do not depend on it.
        summary: what it does, for ``run-bench list methods``; the first line of the docstring unless stated.
        paper: where it comes from, ``arXiv NUMBER``.
        adapts: what it changes for an image.
        needs_text: whether it needs class weights from a text tower.
        votes: whether its logits are counts of votes, so that their softmax is not a probability.
        revision: raise it in the commit that changes this method's numbers: run folders of another revision are other
            runs. Of a method outside this package the code itself is compared.
        Parameters: type of ``parameters``; taken from the brackets behind ``Method`` where the class states none.
        parameters: those of this run, with a plain value for every default by family.
        class_weights: ``(C, F)`` unit rows under the parameters' templates.
    """

    name: ClassVar[str]
    protocol: Literal["episodic", "online"]
    stream_batch: int | None = None
    summary: ClassVar[str] = cast(str, _FirstDocstringLine())
    paper: ClassVar[str] = "none"
    adapts: ClassVar[str] = "nothing stated"
    needs_text: ClassVar[bool] = False
    votes: ClassVar[bool] = False
    revision: ClassVar[int] = 1
    Parameters: ClassVar[type[Any]] = DefaultParameters

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "Parameters" in vars(cls):
            return
        for base in vars(cls).get("__orig_bases__", ()):
            origin, arguments = get_origin(base), get_args(base)
            stated = isinstance(origin, type) and issubclass(origin, Method) and arguments[0] is not Any
            # Whatever else it is: a name in quotes is refused with the class, and does not become the default.
            if stated and not isinstance(arguments[0], TypeVar):
                cls.Parameters = arguments[0]

    def __init__(self, teacher: Teacher, task: Task, parameters: P, seed: int, memory: int | None = None) -> None:
        """
        Args:
            teacher: the frozen encoder.
            task: classes in label order, and what else a method may know of the data set.
            parameters: a ``Parameters``.
            seed: the run's; random draws take it together with the image's id and a purpose.
            memory: bytes that a method which can choose may hold; None is a share of what is free. No prediction
                depends on it.

        Raises:
            UserError: when the method cannot work with ``teacher``, saying what it needs.
        """
        self.teacher = teacher
        self.task = task
        self.classes = task.classes
        self.parameters: P = resolve_family(parameters, task.family)
        self.seed = seed
        self.memory = memory
        self.check_teacher()
        self.templates = read_templates(parameters.templates, task.template)
        self.class_weights = teacher.class_weights(task.classes, self.templates)
        self.setup()

    def check_teacher(self) -> None:
        """Refuse a teacher that lacks what the method needs.

        Raises:
            UserError: saying what it needs. Exit code 2.
        """
        if self.needs_text and self.teacher.classifier != "text":
            raise UserError(
                f"method {self.name} needs class weights from a text tower; those of teacher {self.teacher.name} come "
                f"from its {self.teacher.classifier}: leave the method out of --methods",
                exit_code=2,
            )

    def setup(self) -> None:
        """Prepare what all images need, once, at the end of the constructor.

        Teacher, task, classes, parameters, seed, memory, templates and class weights are set by then.

        Raises:
            UserError: when the method cannot work with them, saying what it needs.
        """

    @abstractmethod
    def predict(self, batch: Batch) -> Predictions:
        """Predict the classes of the images of ``batch``, in its order."""

    def reset(self) -> None:
        """Forget whatever earlier images left behind."""

    def resolved_parameters(self) -> dict[str, Any]:
        """Return what the manifest states beyond ``parameters``: what came from a preset or from the teacher."""
        return {}

    @classmethod
    def companions(cls, parameters: Any) -> tuple[str, ...]:  # noqa: ARG003  overridden where there are some
        """Return names of methods that a table must have beside this one, so that its numbers can be read."""
        return ()

    def cost(self) -> Cost:
        """Count the teacher's passes per image."""
        return Cost()

    def pixels(self, batch: Batch) -> Tensor:
        """Return the teacher's input: evaluation crops, normalised, on its device, ``(B, 3, S, S)``. Shared."""
        key, device = (PIXELS_ON_DEVICE, self.teacher), self.teacher.device
        return batch.shared.get(key, lambda: self._pixels(batch).to(device, non_blocking=True))

    def features(self, batch: Batch) -> Tensor:
        """Return the teacher's embeddings of the evaluation crops, ``(B, F)``, not normalised. Shared."""
        return batch.shared.get((FEATURES, self.teacher), lambda: self._encode(self.pixels(batch)))

    def logits(self, features: Tensor) -> Tensor:
        """Compute logits ``(..., C)`` of features ``(..., F)``, not normalised, against ``class_weights``.

        In float32 under autocast too: bfloat16 would round a logit of 25 to the next eighth, and make ties.
        """
        with torch.autocast(self.teacher.device.type, enabled=False):
            precise = features.float()
            return self.teacher.scales(precise) * normalize(precise, dim=-1) @ self.class_weights.T

    def view_pixels(self, batch: Batch, index: int, spec: ViewSpec) -> Tensor:
        """Return the teacher's input for the views of one image, the evaluation crop first, ``(N, 3, S, S)``."""
        views = self._views(batch, spec)
        return stack_pixels(self.pixels(batch)[index], views[index], self.teacher.preprocessing)

    def view_features(self, batch: Batch, spec: ViewSpec) -> Tensor:
        """Return the teacher's embeddings of the views ``(B, N, F)``, not normalised; index 0 is ``features``."""
        key = ("view features", spec, self.seed, self.teacher)
        return batch.shared.get(key, lambda: self._encode_views(batch, spec))

    @property
    def _encoded_at_once(self) -> int:
        return _ENCODED_AT_ONCE.get(self.teacher.device.type, _ENCODED_AT_ONCE["cpu"])

    def _pixels(self, batch: Batch) -> Tensor:
        key = (PIXELS, self.teacher)
        return batch.shared.get(key, lambda: torch.stack([self.teacher.preprocess(image) for image in batch.images]))

    def _encode(self, pixels: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat([self.teacher.encode_image(part) for part in pixels.split(self._encoded_at_once)])

    def _views(self, batch: Batch, spec: ViewSpec) -> list[Tensor]:
        key = ("views", spec, self.seed, self.teacher)
        return batch.shared.get(key, lambda: self._make_views(batch, spec))

    def _make_views(self, batch: Batch, spec: ViewSpec) -> list[Tensor]:
        views = Views(spec, self.teacher.preprocessing, self.seed)
        return [views.of(sample_id, image) for sample_id, image in zip(batch.ids, batch.images, strict=True)]

    def _encode_views(self, batch: Batch, spec: ViewSpec) -> Tensor:
        first = self.features(batch)[:, None]
        if spec.count == 1:
            return first
        views = self._views(batch, spec)
        device, preprocessing = self.teacher.device, self.teacher.preprocessing
        encoded = [
            self._encode(normalized(part, preprocessing, device))
            for part in torch.cat(views).split(self._encoded_at_once)
        ]
        return torch.cat([first, torch.cat(encoded).unflatten(0, (len(batch), spec.count - 1))], dim=1)


def _admit(name: str, method: type[Method], point: EntryPoint | None) -> None:
    """Check a class, and keep which files an installed one was imported from.

    Raises:
        UserError: when the class lacks what a method has, or an entry point gives it another name than its own.
    """
    if not (isinstance(method, type) and issubclass(method, Method)):
        raise UserError(f"{method!r} is not a method: register a class Mine(Method)")
    check_method(method)
    if method.name != name:
        where = f" of {point.value}" if point is not None else ""
        raise UserError(f"method {name!r}{where} calls itself {method.name!r}; give it one name")
    note_installed(method, point)


METHODS: Registry[type[Method]] = Registry("method", _admit)
M = TypeVar("M", bound=type[Method])


def register(method: M) -> M:
    """Register a class: ``run-bench --methods NAME`` finds it by its ``name`` from here on.

    A class of the same module that has the name already is replaced, as when a notebook cell is run again.

    Raises:
        UserError: when the class lacks what a method has, or a method of another module has its name; in one line.

    Example::

        @register
        class Sharper(Method):
            name, protocol = "sharper", "episodic"

            def predict(self, batch):
                return Predictions(2 * self.logits(self.features(batch)))
    """
    if not isinstance(method, type):
        raise UserError(f"{method!r} is not a method: register a class Mine(Method)")
    check_name(method)
    METHODS.register(method.name)(method)
    return method


def check_logits(method: str, predictions: Predictions, batch: Batch, classes: int) -> None:
    """Refuse predictions that would become a wrong number.

    Raises:
        UserError: when logits have another shape than ``(B, C)`` or are not finite.
    """
    expected = (len(batch.ids), classes)
    if tuple(predictions.logits.shape) != expected:
        raise UserError(f"method {method} answered logits of shape {tuple(predictions.logits.shape)}, not {expected}")
    finite = predictions.logits.isfinite().all(1)
    if not bool(finite.all()):
        first = batch.ids[int((~finite).nonzero()[0])]
        raise UserError(f"method {method} answered logits that are not finite, first for image {first}")
