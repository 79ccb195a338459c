"""A method is not trusted: what it changes, sets and returns is noticed, and named with the method."""

from __future__ import annotations

import logging
import os
import random
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import ImageDraw, ImageFile

from apm_tta.data.cards import load_card
from apm_tta.data.task import Task
from apm_tta.errors import UserError
from apm_tta.guard.object_state import state_of
from apm_tta.methods import METHODS, Batch, Method, Predictions, ViewSpec, build_method, register
from apm_tta.methods.answering import answer, refuse_changed_teacher, reset, teacher_logits
from apm_tta.methods.base import Cost
from apm_tta.methods.default_parameters import DefaultParameters
from apm_tta.methods.shared_values import features_key
from apm_tta.methods.stated import stated_cost, stated_parameters
from apm_tta.teachers import LazyTeacher, Teacher, load_teacher

TASK = Task(load_card("fashion-mnist").class_list.names, crop_scale=(0.5, 1.0))
Act = Callable[[Method, Batch], Any]


class Careless(Method):
    """Does something to what is not its own, and answers as zero-shot does."""

    name, protocol = "careless", "episodic"

    def __init__(self, teacher: Teacher, act: Act) -> None:
        super().__init__(teacher, TASK, DefaultParameters(), 0)
        self.act = act

    def predict(self, batch: Batch) -> Predictions:
        answered = self.act(self, batch)
        return answered if isinstance(answered, Predictions) else Predictions(self.logits(self.features(batch)))


@pytest.fixture
def batch(embedded_batch: Batch) -> Batch:
    """Return four images of one's own."""
    return Batch(embedded_batch.ids[:4], tuple(image.copy() for image in embedded_batch.images[:4]))


@pytest.fixture
def teacher() -> LazyTeacher:
    """Load a teacher that may be damaged; its model is not built yet."""
    return load_teacher("embedded")


def nothing(_: Method, batch: Batch) -> Predictions:
    """Answer without the teacher."""
    return Predictions(torch.zeros(len(batch), 10, dtype=torch.float32))


def asked(act: Act, teacher: Teacher, batch: Batch, *, thorough: bool = True) -> Predictions:
    with torch.no_grad():
        return answer(Careless(teacher, act), batch, thorough=thorough).predictions


def through_numpy(tensor: torch.Tensor) -> None:
    tensor.numpy()[0] = 0


def set_storage(tensor: torch.Tensor) -> None:
    tensor.set_(torch.zeros_like(tensor))  # type: ignore[call-overload]


def flip(tensor: torch.Tensor) -> None:
    tensor.data.copy_(tensor.flip(-1))


def test_a_method_cannot_plant_what_others_get(embedded_teacher: Teacher, batch: Batch) -> None:
    """Under a name that this package uses, or another method does: a value goes with the code that computes it."""

    def plant(_: Method, part: Batch) -> None:
        for name in ("loaded pixels", "pixels", "features", "views", "view features"):
            for key in (name, (name, embedded_teacher), (name, (embedded_teacher,))):
                part.shared.get(key, lambda: torch.zeros(4, 64))

    seen = []

    def look(_: Method, part: Batch) -> None:
        seen.append(part.shared.get("features", partial(torch.ones, 4)))

    asked(plant, embedded_teacher, batch)
    asked(look, embedded_teacher, batch)
    planted = asked(lambda *_: None, embedded_teacher, batch).logits
    assert torch.equal(planted, asked(lambda *_: None, embedded_teacher, Batch(batch.ids, batch.images)).logits)
    assert torch.equal(seen[0], torch.ones(4))


def test_one_function_computes_once_for_all_that_use_it(embedded_teacher: Teacher, batch: Batch) -> None:
    calls = []

    def share(_: Method, part: Batch) -> None:
        part.shared.get("mine", lambda: calls.append(1))

    asked(share, embedded_teacher, batch)
    asked(share, embedded_teacher, batch)
    assert len(calls) == 1


SHARED: dict[str, Callable[[Method, Batch], torch.Tensor]] = {
    "the pixels": lambda method, batch: method.pixels(batch),
    "the features": lambda method, batch: method.features(batch),
    "the view features": lambda method, batch: method.view_features(batch, ViewSpec(3, (0.5, 1.0))),
}
CHANGES: dict[str, Callable[[torch.Tensor], Any]] = {
    "in place": lambda tensor: tensor.zero_(),
    "one value": lambda tensor: tensor.flatten()[-1:].add_(1),
    "data": lambda tensor: tensor.data.mul_(1.5),
    "detached": lambda tensor: tensor.detach().add_(1),
    "numpy": through_numpy,
    "dlpack": lambda tensor: torch.from_dlpack(tensor.detach()).zero_(),
    "set": set_storage,
    "resized": lambda tensor: tensor.resize_(1),
    "flipped": flip,
    "gradient": lambda tensor: tensor.requires_grad_(),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("shared", SHARED)
def test_a_changed_shared_tensor_is_named(shared: str, change: str, embedded_teacher: Teacher, batch: Batch) -> None:
    """However it is changed: torch's own counter misses half of these."""
    with pytest.raises(UserError) as refused:
        asked(
            lambda method, part: (CHANGES[change](SHARED[shared](method, part)), nothing(method, part))[1],
            embedded_teacher,
            batch,
            thorough=False,
        )
    assert str(refused.value) == (
        f"method careless changed {shared} that all methods share (in place): let it change a copy"
    )
    assert refused.value.exit_code == 1


def test_a_value_that_a_method_shares_by_itself_is_watched_too(embedded_teacher: Teacher, batch: Batch) -> None:
    """Of whatever kind; and no method puts anything in the place of what others get."""
    found = {"rows": [torch.zeros(3)], "array": np.zeros(3)}

    def compute() -> object:
        return found

    batch.shared.get("mine", compute)
    for change in (lambda: found["rows"].append(torch.ones(1)), lambda: found["array"].fill(1)):  # type: ignore[attr-defined]

        def act(method: Method, part: Batch, change: Any = change) -> None:
            part.shared.get("mine", compute)
            change()

        with pytest.raises(UserError, match="changed the mine that all methods share"):
            asked(act, embedded_teacher, batch)
    features = features_key(embedded_teacher)
    with pytest.raises(RuntimeError, match="cannot put what others share"):
        asked(lambda _, part: part.shared.put(features, torch.zeros(4, 64), 0.0), embedded_teacher, batch)
    with pytest.raises(UserError, match="changed the features"):
        asked(
            lambda method, part: (method.features(part), part.shared._values.update({features: torch.zeros(4, 64)})),
            embedded_teacher,
            batch,
        )


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image.putpixel((0, 0), (1, 2, 3)),
        lambda image: image.paste((0, 0, 0), (0, 0, 9, 9)),
        lambda image: image.thumbnail((5, 5)),
        lambda image: ImageDraw.Draw(image).line((0, 0, 9, 9), fill=0),
        lambda image: image.putalpha(3),
        lambda image: image.frombytes(bytes(28 * 28 * 3)),
        lambda image: image.im.putpixel((3, 3), (1, 2, 3)),
        lambda image: image.close(),
    ],
    ids=["putpixel", "paste", "thumbnail", "draw", "putalpha", "frombytes", "memory", "close"],
)
def test_a_changed_image_is_named(change: Callable[[Any], Any], embedded_teacher: Teacher, batch: Batch) -> None:
    with pytest.raises(UserError, match=f"method careless changed the image {batch.ids[1]} that all methods share"):
        asked(lambda method, part: (change(part.images[1]), nothing(method, part))[1], embedded_teacher, batch)


def test_an_image_cannot_be_written_through_its_pixels(embedded_teacher: Teacher, batch: Batch) -> None:
    def write(_: Method, part: Batch) -> None:
        access = part.images[0].load()
        assert access is not None
        access[0, 0] = (1, 2, 3)

    with pytest.raises(ValueError, match="readonly"):
        asked(write, embedded_teacher, batch)
    with pytest.raises(ValueError, match="read-only"):
        asked(lambda _, part: np.asarray(part.images[0]).fill(0), embedded_teacher, batch)


def add_hook(teacher: Any) -> None:
    teacher.image_encoder.register_forward_hook(lambda *_: None)


def replace_layer(teacher: Any) -> None:
    teacher.image_encoder.visual.ln_post = torch.nn.Identity()


def with_gradients_off(teacher: Any) -> None:
    with torch.no_grad():
        next(teacher.image_encoder.parameters()).add_(1)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (with_gradients_off, r"teacher\.model\.visual\.\w+"),
        (lambda teacher: next(teacher.image_encoder.parameters()).data.add_(1), r"teacher\.model\.visual\.\w+"),
        (lambda teacher: teacher.image_encoder.half(), r"teacher\.model\.visual\.\w+"),
        (lambda teacher: teacher.image_encoder.requires_grad_(), r"teacher\.model\.visual\.\w+"),
        (lambda teacher: teacher.image_encoder.visual.train(), r"teacher\.model\.visual\.training"),
        (add_hook, r"teacher\.image_encoder\.forward_hooks"),
        (replace_layer, r"teacher\.model\.visual\.ln_post"),
        (lambda teacher: setattr(teacher.image_encoder, "forward", lambda pixels: pixels), "image_encoder.forward"),
        (lambda teacher: setattr(teacher.image_encoder.visual.ln_post, "eps", 1.0), "ln_post.eps"),
        (lambda teacher: setattr(teacher, "encode_image", lambda pixels: pixels), "teacher.encode_image"),
        (lambda teacher: setattr(teacher, "logit_scale", 1.0), "teacher.logit_scale"),
        (lambda teacher: teacher.preprocess.transforms.pop(), "teacher.preprocess.transforms"),
        (lambda teacher: teacher.class_weights(TASK.classes, (TASK.template,)).data.neg_(), "teacher.class_weights"),
    ],
)
def test_a_changed_teacher_is_named(change: Callable[[Any], Any], part: str, teacher: Teacher, batch: Batch) -> None:
    """Its weights past torch's counters, its modules, their hooks and settings, and the class weights that it keeps."""
    with pytest.raises(UserError, match=f"method careless changed .*{part}.* that all methods share"):
        asked(lambda method, part: (change(method.teacher), nothing(method, part))[1], teacher, batch)


def test_a_changed_teacher_is_found_at_the_latest_when_a_shard_ends(teacher: Teacher, batch: Batch) -> None:
    """What torch counts is looked at after every prediction; everything, once per cell and at the end."""
    asked(lambda *_: None, teacher, batch)

    def change(method: Method, _: Batch) -> None:
        next(method.teacher.image_encoder.parameters()).data.add_(1)

    asked(change, teacher, batch, thorough=False)
    with pytest.raises(UserError, match=r"^method careless changed teacher\.model"):
        refuse_changed_teacher(teacher, ["careless"])
    with pytest.raises(UserError, match=r"^one of the methods careless, zeroshot changed teacher\.model"):
        refuse_changed_teacher(teacher, ["zeroshot", "careless"])
    with pytest.raises(UserError, match=r"^teacher embedded was changed after it was loaded"):
        refuse_changed_teacher(teacher)
    with pytest.raises(UserError, match="was changed after it was loaded"):
        build_method("zeroshot", teacher, TASK, DefaultParameters(), 0)


def test_a_method_that_puts_the_teacher_back_may_change_it(teacher: Teacher, batch: Batch) -> None:
    def change(method: Method, _: Batch) -> None:
        weight = next(method.teacher.image_encoder.parameters())
        before = weight.detach().clone()
        weight.data.add_(1)
        weight.data.copy_(before)

    asked(change, teacher, batch)


def test_a_method_may_do_what_it_likes_with_copies(teacher: Teacher, batch: Batch) -> None:
    """The teacher's own answers stay its own, whatever a method makes of its attributes."""
    import copy

    def change(method: Method, part: Batch) -> None:
        method.class_weights = -method.class_weights
        method.teacher = copy.deepcopy(method.teacher)
        next(method.teacher.image_encoder.parameters()).data.add_(1)

    method = Careless(teacher, change)
    with torch.no_grad():
        expected = teacher_logits(method, batch).argmax(1)
        assert not torch.equal(answer(method, batch, thorough=True).predictions.logits.argmax(1), expected)
        assert torch.equal(teacher_logits(method, Batch(batch.ids, batch.images)).argmax(1), expected)


@pytest.mark.usefixtures("nothing_stays_registered")
@pytest.mark.parametrize(
    ("setup", "message"),
    [
        (lambda method: method.class_weights.mul_(2), "changed teacher.class_weights that all methods share"),
        (lambda method: next(method.teacher.image_encoder.parameters()).data.zero_(), "changed teacher.model.visual"),
        (lambda _: torch.set_default_dtype(torch.float64), "changed torch's default dtype"),
        (lambda _: sys.exit(0), "failed: it tried to end the process"),
    ],
)
def test_setup_is_watched_too(setup: Callable[[Method], Any], message: str, teacher: Teacher) -> None:
    """The model is built at a method's first request: it is looked at before the method gets it."""

    @register
    class Eager(Method):
        name, protocol = "eager", "episodic"

        def setup(self) -> None:
            setup(self)

        def predict(self, batch: Batch) -> Predictions:
            raise NotImplementedError

    with pytest.raises(UserError, match=f"^method eager {message}"):
        build_method("eager", teacher, TASK, DefaultParameters(), 0)


@pytest.mark.usefixtures("nothing_stays_registered")
@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"protocol": None}, "states no protocol; write"),
        ({"protocol": "batch"}, "states protocol 'batch'; write"),
        ({"protocol": ["online"]}, r"states protocol \['online'\]; write"),
        ({"stream_batch": 0}, "states stream_batch 0; write a whole number from 1, or None"),
        ({"stream_batch": True}, "states stream_batch True; write"),
        ({"stream_batch": 2.0}, r"states stream_batch 2\.0; write"),
        ({"batch_dependent": 1}, "states batch_dependent 1; write True or False"),
    ],
)
def test_what_setup_states_is_checked(stated: dict[str, Any], message: str, teacher: Teacher) -> None:
    @register
    class Misstated(Method):
        name, protocol = "misstated", "episodic"

        def setup(self) -> None:
            vars(self).update(stated)

        def predict(self, batch: Batch) -> Predictions:
            raise NotImplementedError

    with pytest.raises(UserError, match=f"^method misstated {message}"):
        build_method("misstated", teacher, TASK, DefaultParameters(), 0)


RECURSIVE: dict[str, Any] = {}
RECURSIVE["self"] = RECURSIVE


@pytest.mark.parametrize(
    ("ask", "name", "answer", "message"),
    [
        (stated_cost, "cost", lambda: 1 / 0, r"failed on cost\(\): ZeroDivisionError"),
        (stated_cost, "cost", lambda: None, r"returns None from cost\(\); return a Cost"),
        (stated_cost, "cost", lambda: Cost(image_forwards=-1), "whole numbers from 0"),
        (stated_cost, "cost", lambda: Cost(text_forwards=True), "whole numbers from 0"),
        (stated_cost, "cost", lambda: sys.exit(0), "tried to end the process"),
        (stated_cost, "cost", lambda: os.chdir("/"), "changed the current folder"),
        (stated_parameters, "resolved_parameters", lambda: [], "what run.yaml cannot hold"),
        (stated_parameters, "resolved_parameters", lambda: {1: 2}, "what run.yaml cannot hold"),
        (stated_parameters, "resolved_parameters", lambda: {"a": float("nan")}, "what run.yaml cannot hold"),
        (stated_parameters, "resolved_parameters", lambda: {"a": torch.ones(1)}, "what run.yaml cannot hold"),
        (stated_parameters, "resolved_parameters", lambda: RECURSIVE, "what run.yaml cannot hold"),
    ],
)
def test_what_a_method_states_for_the_manifest_is_checked(
    ask: Callable[[Method], Any], name: str, answer: Callable[[], Any], message: str, embedded_teacher: Teacher
) -> None:
    method = Careless(embedded_teacher, lambda *_: None)
    assert ask(method) in (Cost(), {})
    setattr(method, name, answer)
    with pytest.raises(UserError, match=f"^method careless .*{message}"):
        ask(method)


@pytest.mark.parametrize(
    ("change", "setting"),
    [
        (
            lambda: torch.set_default_dtype(torch.float64),
            r"torch's default dtype \(torch.float32 before, torch.float64",
        ),
        (lambda: torch.set_default_device("meta"), "torch's default device"),
        (lambda: torch.set_num_threads(torch.get_num_threads() + 1), "torch's number of threads"),
        (lambda: torch.use_deterministic_algorithms(True), "torch's deterministic algorithms"),
        (lambda: torch.set_autocast_enabled("cpu", True), "autocast on cpu"),
        (lambda: torch.set_float32_matmul_precision("medium"), "torch's precision of matrix products"),
        (lambda: setattr(torch.backends.cudnn, "benchmark", True), "torch.backends.cudnn.benchmark"),
        (lambda: torch.backends.mha.set_fastpath_enabled(False), "torch's fast path of attention"),
        (lambda: torch.set_flush_denormal(True), "flushing of denormal numbers"),
        (lambda: torch.nn.modules.module.register_module_forward_hook(lambda *_: None), "a hook of every torch module"),
        (lambda: np.seterr(all="raise"), "NumPy's handling of floating-point errors"),
        (lambda: cv2.setNumThreads(cv2.getNumThreads() + 1), "OpenCV's number of threads"),
        (lambda: cv2.setUseOptimized(not cv2.useOptimized()), "OpenCV's optimised code"),
        (lambda: setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True), "PIL.ImageFile.LOAD_TRUNCATED_IMAGES"),
        (lambda: setattr(torch.backends.cudnn, "allow_tf32", False), "torch.backends.cudnn.conv.fp32_precision"),
        (lambda: setattr(torch.backends, "fp32_precision", "tf32"), "torch.s precision of matrix products"),
        (lambda: logging.disable(logging.CRITICAL), "the level below which all logs are silent"),
        (lambda: os.chdir("/"), "the current folder"),
    ],
)
def test_a_setting_of_the_process_is_named_and_put_back(
    change: Callable[[], Any], setting: str, embedded_teacher: Teacher, batch: Batch
) -> None:
    with pytest.raises(UserError, match=f"^method careless changed {setting}"):
        asked(lambda method, part: (change(), nothing(method, part))[1], embedded_teacher, batch)
    asked(lambda *_: None, embedded_teacher, batch)


def test_random_generators_and_the_environment_are_put_back_in_silence(
    embedded_teacher: Teacher, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever was drawn before, a method finds the same state: its answers cannot depend on who ran before it."""
    monkeypatch.setenv("OF_THE_TEST", "before")
    drawn = []

    def draw(_: Method, __: Batch) -> None:
        drawn.append((float(torch.rand(1)), float(np.random.rand()), random.random()))
        os.environ["OF_THE_TEST"] = "after"
        torch.set_grad_enabled(True)

    torch.manual_seed(1)
    state = torch.get_rng_state(), np.random.get_state()[1].tobytes(), random.getstate()  # type: ignore[union-attr]
    asked(draw, embedded_teacher, batch)
    after = torch.get_rng_state(), np.random.get_state()[1].tobytes(), random.getstate()  # type: ignore[union-attr]
    assert torch.equal(state[0], after[0])
    assert state[1:] == after[1:]
    assert os.environ["OF_THE_TEST"] == "before"
    torch.manual_seed(2)
    np.random.seed(3)
    random.seed(4)
    asked(draw, embedded_teacher, batch)
    assert drawn[0] == drawn[1]


class OfItsOwn(BaseException):
    """What ``except Exception`` does not catch."""


def throw(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: sys.exit(3), "SystemExit: 3"),
        (lambda: os._exit(0), r"SystemExit: os._exit\(0\)"),
        (lambda: throw(GeneratorExit()), "GeneratorExit"),
        (lambda: throw(OfItsOwn("bye")), "OfItsOwn: bye"),
    ],
)
def test_a_method_does_not_end_the_process(
    act: Callable[[], Any], said: str, embedded_teacher: Teacher, batch: Batch
) -> None:
    with pytest.raises(UserError, match=rf"^method careless failed: it tried to end the process \({said}\)?"):
        asked(lambda *_: act(), embedded_teacher, batch)
    assert os._exit.__module__ == "posix" or sys.platform == "win32"


def test_a_keyboard_interrupt_stays_one(embedded_teacher: Teacher, batch: Batch) -> None:
    with pytest.raises(KeyboardInterrupt):
        asked(lambda *_: throw(KeyboardInterrupt()), embedded_teacher, batch)


@pytest.mark.usefixtures("nothing_stays_registered")
@pytest.mark.parametrize("shared", ["pixels", "features", "view_pixels", "view_features"])
def test_a_method_does_not_replace_what_all_share(shared: str) -> None:
    """Features that one method computes from pixels of its own would be every other method's."""
    body = {"name": "other", "protocol": "episodic", "predict": lambda *_: None, shared: lambda *_: None}
    with pytest.raises(UserError, match=rf"method other replaces {shared}\(\), which returns what all methods share"):
        register(type("Other", (Method,), body))
    assert "other" not in METHODS.names()


def test_answers_have_memory_of_their_own(embedded_teacher: Teacher, batch: Batch) -> None:
    """A method that answers with what it shares, and writes its next answer into its last one, changes neither."""
    buffer = torch.zeros(4, 10)

    def reuse(method: Method, part: Batch) -> Predictions:
        buffer.copy_(method.logits(method.features(part)) if not buffer.any() else torch.zeros(4, 10))
        return Predictions(buffer, losses=buffer[:, :1])

    method = Careless(embedded_teacher, reuse)
    with torch.no_grad():
        first = answer(method, batch).predictions
        kept = first.logits.clone()
        answer(method, batch)
    assert torch.equal(first.logits, kept)
    assert first.losses is not None
    assert torch.equal(first.losses, kept[:, :1])


def test_what_reset_does_is_watched(embedded_teacher: Teacher) -> None:
    method = Careless(embedded_teacher, lambda *_: None)
    method.protocol = "online"
    method.reset = lambda: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    with pytest.raises(UserError, match=r"^method careless failed on reset\(\): ZeroDivisionError"):
        reset(method)
    method.reset = lambda: os.chdir("/")  # type: ignore[method-assign]
    with pytest.raises(UserError, match=r"^method careless changed the current folder"):
        reset(method)


def test_looking_at_a_teacher_that_was_not_built_does_not_build_it(teacher: LazyTeacher) -> None:
    teacher.class_weights(TASK.classes, (TASK.template,))
    fresh = load_teacher("embedded")
    assert state_of("teacher", fresh).difference(contents=True) is None
    assert not fresh.loaded
    fresh.built  # noqa: B018
    assert state_of("teacher", fresh).difference(contents=True) is None
