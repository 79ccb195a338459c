"""What a test-time adaptation method receives, predicts, and declares about itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any, ClassVar, Generic, Literal, Protocol, cast, get_args, get_origin

from torch import Tensor
from typing_extensions import TypeVar

from apm_tta.data.task import Task
from apm_tta.errors import UserError
from apm_tta.method_rows import method_of
from apm_tta.methods.batch import Batch
from apm_tta.methods.data_defaults import resolve_defaults
from apm_tta.methods.default_parameters import DefaultParameters
from apm_tta.methods.method_check import check_method, check_name, require_parameters  # noqa: F401
from apm_tta.methods.preparation import Preparation
from apm_tta.methods.presets import Published
from apm_tta.methods.shared_values import cosine_logits, features_of, pixels_of, view_features_of, view_pixels_of
from apm_tta.methods.views import ViewSpec
from apm_tta.registry import Registry
from apm_tta.sources.installed_files import note_installed
from apm_tta.teachers import Teacher, read_templates

Protocols = Literal["episodic", "online", "transductive"]


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


@dataclass(frozen=True)
class Given:
    """What a method was built from, whatever it has made of its own attributes since.

    Attributes:
        teacher: the frozen encoder.
        task: the classes, and what else a method may know of the data set.
        seed: the run's.
        class_weights: a copy of the teacher's, ``(C, F)``, by which the teacher's own answers are computed.
        row: of the table that it answers: its name, with settings in brackets where it is a variant.
    """

    teacher: Teacher
    task: Task
    seed: int
    class_weights: Tensor
    row: str


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
            ``online``: it keeps state between images, and the harness calls ``reset`` where the protocol says.
            ``transductive``: it answers all images of a condition together, in one batch that has their features and
            no pixels; nothing may depend on their order. A method that has several sets it on the object.
        stream_batch: images that an online method takes at once, as published: the harness gives it exactly that many
            (fewer at the end of its stream); None where its answers do not depend on it.
        least_batch: fewest images that it can answer together; a run whose streams end in fewer is refused beforehand.
        batch_dependent: whether the answer for an image depends on the others in its batch. The run's batch size is
            then among what the method's numbers depend on; without it, such answers are refused.
        summary: what it does, for ``run-bench list methods``; the first line of the docstring unless stated.
        paper: where it comes from, ``arXiv NUMBER``.
        adapts: what it changes for an image.
        keeps: what it keeps from image to image, with how it grows.
        remembers: whether later answers of an online method depend on what it keeps; False where the order of the
            stream only decides which images are together.
        reloaded: attributes that hold images of the stream: no part of the state, since they are shown again where that
            is put back.
        knows: what it is told of the data beside class names and the images so far; empty where nothing.
        needs_text: whether it needs class weights from a text tower.
        starts_from_prompts: whether one that needs text can start from learned prompts instead; see
            ``Teacher.learned_context``.
        fast: whether it answers more than 50 images per second over the embedded teacher on two cores; the methods of
            ``--methods fast``.
        votes: whether its logits are counts of votes, so that their softmax is not a probability.
        revision: raise it in the commit that changes this method's numbers: run folders of another revision are other
            runs. Of a method outside this package the code itself is compared.
        published: what the parameter ``preset`` sets where it is ``published``; None where there is no such parameter.
        Parameters: type of ``parameters``; taken from the brackets behind ``Method`` where the class states none.
        parameters: those of this run, with a plain value for every default by family.
        class_weights: ``(C, F)`` unit rows under the parameters' templates.
        given: what it was built from, for the harness.
    """

    name: ClassVar[str]
    protocol: Protocols
    stream_batch: int | None = None
    least_batch: int = 1
    batch_dependent: bool = False
    summary: ClassVar[str] = cast(str, _FirstDocstringLine())
    paper: ClassVar[str] = "none"
    adapts: ClassVar[str] = "nothing stated"
    keeps: ClassVar[str] = "nothing"
    remembers: ClassVar[bool] = True
    reloaded: ClassVar[frozenset[str]] = frozenset()
    knows: ClassVar[str] = ""
    needs_text: ClassVar[bool] = False
    starts_from_prompts: ClassVar[bool] = False
    fast: ClassVar[bool] = False
    votes: ClassVar[bool] = False
    revision: ClassVar[int] = 1
    published: ClassVar[Published | None] = None
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
        try:
            self.parameters: P = resolve_defaults(parameters, task)
        except UserError as error:
            raise UserError(f"method {self.name}, {error}", exit_code=2) from None
        self.seed = seed
        self.memory = memory
        self.check_teacher()
        self.templates = read_templates(parameters.templates, task.template, task.classes)
        self.class_weights = teacher.class_weights(task.classes, self.templates)
        self.given = Given(teacher, task, seed, self.class_weights.clone(), self.name)
        self.setup()

    def check_teacher(self) -> None:
        """Refuse a teacher that lacks what the method needs.

        Raises:
            UserError: saying what it needs. Exit code 2.
        """
        possible = ("text", "prompts") if self.starts_from_prompts else ("text",)
        if self.needs_text and self.teacher.classifier not in possible:
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

    def initial_prompts(self) -> tuple[str, ...]:
        """Return the sentences of the class weights that the method begins with; ``templates`` unless it has others."""
        return self.templates

    def preparations(self) -> tuple[Preparation, ...]:
        """Return what loading processes should make of every image for this method, beside the evaluation crop."""
        return ()

    @classmethod
    def companions(cls, parameters: Any) -> tuple[str, ...]:  # noqa: ARG003  overridden where there are some
        """Return names of methods that a table must have beside this one, so that its numbers can be read.

        One that cannot work with the teacher has nothing to say of it, and is left out.
        """
        return ()

    def cost(self) -> Cost:
        """Count the teacher's passes per image."""
        return Cost()

    def pixels(self, batch: Batch) -> Tensor:
        """Return the teacher's input: evaluation crops, normalised, on its device, ``(B, 3, S, S)``. Shared."""
        return pixels_of(batch, self.teacher)

    def features(self, batch: Batch) -> Tensor:
        """Return the teacher's embeddings of the evaluation crops, ``(B, F)``, not normalised. Shared."""
        return features_of(batch, self.teacher)

    def logits(self, features: Tensor) -> Tensor:
        """Compute logits ``(..., C)`` of features ``(..., F)``, not normalised, against ``class_weights``.

        In float32 under autocast too: bfloat16 would round a logit of 25 to the next eighth, and make ties.
        """
        return cosine_logits(self.teacher, self.class_weights, features)

    def view_pixels(self, batch: Batch, index: int, spec: ViewSpec) -> Tensor:
        """Return the teacher's input for the views of one image, the evaluation crop first, ``(N, 3, S, S)``."""
        return view_pixels_of(batch, self.teacher, index, spec, self.seed)

    def view_features(self, batch: Batch, spec: ViewSpec) -> Tensor:
        """Return the teacher's embeddings of the views ``(B, N, F)``, not normalised; index 0 is ``features``."""
        return view_features_of(batch, self.teacher, spec, self.seed)


_SHARED = ("pixels", "features", "view_pixels", "view_features")


def _admit(name: str, method: type[Method], point: EntryPoint | None) -> None:
    """Check a class, and keep which files an installed one was imported from.

    Raises:
        UserError: when the class lacks what a method has, replaces what all methods share, or is given another name
            than its own by an entry point.
    """
    if not (isinstance(method, type) and issubclass(method, Method)):
        raise UserError(f"{method!r} is not a method: register a class Mine(Method)")
    check_method(method)
    for shared in _SHARED:
        if getattr(method, shared) is not getattr(Method, shared):
            raise UserError(
                f"method {method.name} replaces {shared}(), which returns what all methods share; give its own another "
                "name"
            )
    if method.name != name:
        where = f" of {point.value}" if point is not None else ""
        raise UserError(f"method {name!r}{where} calls itself {method.name!r}; give it one name")
    note_installed(method, point)


METHODS: Registry[type[Method]] = Registry("method", _admit)
M = TypeVar("M", bound=type[Method])


def find_method(row: str) -> type[Method]:
    """Return the class that answers a row of the table: of the method of that name, or of which it is a variant.

    Raises:
        UnknownName: listing the methods that exist.
    """
    return METHODS.get(method_of(row))


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
