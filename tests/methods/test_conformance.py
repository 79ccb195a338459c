"""What every registered method must fulfil, including a third-party one."""

from __future__ import annotations

import copy
import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cache

import pytest
import torch
from small_settings import NEED_BATCH_NORM, NEED_SUPPORT, small_settings

from apm_tta.data.cards import load_card
from apm_tta.data.task import Task
from apm_tta.errors import UnknownName, UserError
from apm_tta.harness.compute.measure import measure_alone
from apm_tta.methods import METHODS, Batch, Method, Predictions, build_parameters
from apm_tta.methods.valid_predictions import validated
from apm_tta.teachers import Teacher

PLUGIN = '''
from dataclasses import dataclass
from apm_tta.methods import Method, Predictions

@dataclass(frozen=True)
class Parameters:
    """Parameters of ``constant``.

    Attributes:
        templates: prompt templates.
        favourite: the class whose logit is raised.
    """
    templates: str = "simple"
    favourite: int = 3

class Constant(Method):
    name = "constant"
    protocol = "episodic"
    summary = "always nearly the same class"
    paper = "none"
    adapts = "nothing"
    Parameters = Parameters

    def predict(self, batch):
        logits = self.logits(self.features(batch)).clone()
        logits[:, self.parameters.favourite] += 1
        return Predictions(logits)
'''
OWN = METHODS.names()
WITHOUT_STATE = {"clipartt", "lame", "norm", "stata", "watt"}
"""Online because the order of the stream decides which images are together; no batch leaves anything behind."""
ALL = [*OWN, "constant"]
Answers = Callable[[str], Predictions]


@dataclass(frozen=True)
class FirstAnswer:
    """Logits ``(B, C)`` of the few images, and whether two things were the same afterwards as before."""

    logits: torch.Tensor
    random_state_is_the_same: bool
    weights_are_the_same: bool


CLASSES = load_card("fashion-mnist").class_list.names
TASK = Task(CLASSES, crop_scale=(0.5, 1.0))
# A few views and rounds suffice: what is tested here does not depend on their number.
SETTINGS = small_settings(views=8, batch_size=64) | {"apm": {}}


@pytest.fixture(scope="module", autouse=True)
def installed_plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Lay out a package that provides a method through its entry point, as pip would install it."""
    folder = tmp_path_factory.mktemp("site-packages")
    (folder / "constant_tta.py").write_text(PLUGIN)
    information = folder / "constant_tta-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: constant-tta\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[apm_tta.methods]\nconstant = constant_tta:Constant\n")
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))
    METHODS._entries.pop("constant", None)
    sys.modules.pop("constant_tta", None)


@pytest.fixture(scope="module")
def clean_batch(clean_images: Callable[[int], Batch]) -> Batch:
    return clean_images(8)


@pytest.fixture(scope="module")
def built(embedded_teacher: Teacher, supported_teacher: Teacher, batch_norm_teacher: Teacher) -> dict[str, Method]:
    """Build every method on a teacher that has what it needs."""
    special = dict.fromkeys(NEED_SUPPORT, supported_teacher) | dict.fromkeys(NEED_BATCH_NORM, batch_norm_teacher)
    return {name: build(name, special.get(name, embedded_teacher)) for name in ALL}


@pytest.fixture(scope="module")
def answers(built: dict[str, Method], embedded_batch: Batch) -> Callable[[str], Predictions]:
    """Return a function that predicts for the corrupted images from a fresh state, once per method for all tests."""
    return cache(lambda name: predict_afresh(built[name], embedded_batch))


@pytest.fixture(scope="module")
def few(embedded_batch: Batch) -> Batch:
    """Return three of the corrupted images: enough for what does not depend on their number."""
    return select(embedded_batch, [0, 1, 2])


@pytest.fixture(scope="module")
def first_answers(built: dict[str, Method], few: Batch) -> Callable[[str], FirstAnswer]:
    """Return a function that answers the few images on one thread, once per method for all tests.

    What it leaves of the process's random numbers and of the teacher's weights is looked at there and then.
    """

    def answer(name: str) -> FirstAnswer:
        teacher, threads = built[name].teacher, torch.get_num_threads()
        torch.set_num_threads(1)
        torch.manual_seed(1)
        before = torch.get_rng_state(), weights_digest(teacher)
        logits = predict_afresh(built[name], few).logits
        after = torch.get_rng_state(), weights_digest(teacher)
        torch.set_num_threads(threads)
        return FirstAnswer(logits, torch.equal(before[0], after[0]), before[1] == after[1])

    return cache(answer)


def build(name: str, teacher: Teacher, seed: int = 0) -> Method:
    return METHODS.get(name)(teacher, TASK, build_parameters(name, SETTINGS.get(name, {})), seed)


def predict_afresh(method: Method, batch: Batch) -> Predictions:
    """Predict from a fresh state, sharing nothing with earlier predictions."""
    method.reset()
    return predict_next(method, batch)


def predict_next(method: Method, batch: Batch) -> Predictions:
    """Predict from the state that earlier images have left."""
    with torch.no_grad():
        return method.predict(Batch(batch.ids, batch.images))


def select(batch: Batch, indices: list[int]) -> Batch:
    return Batch(tuple(batch.ids[i] for i in indices), tuple(batch.images[i] for i in indices))


def concatenate_logits(predictions: list[Predictions]) -> torch.Tensor:
    return torch.cat([each.logits for each in predictions])


def assert_same(ours: torch.Tensor, expected: torch.Tensor) -> None:
    """Assert the same predicted classes, and logits equal up to the order of float32 sums.

    Most have a scale of 100; some have one of thousands, and as many more units in the last place of a float32.
    """
    assert torch.equal(ours.argmax(1), expected.argmax(1))
    largest = float(expected.abs().max())
    torch.testing.assert_close(ours, expected, rtol=0, atol=2e-3 * max(1.0, largest / 100))


def weights_digest(teacher: Teacher) -> str:
    digest = hashlib.sha256()
    for _, value in sorted(teacher.image_encoder.state_dict().items()):
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def is_online(method: Method) -> bool:
    return method.protocol == "online"


def test_no_method_has_access_to_labels() -> None:
    assert [field.name for field in fields(Batch)] == ["ids", "images", "shared"]
    assert [field.name for field in fields(Task)] == ["classes", "template", "family", "crop_scale", "dataset"]


@pytest.mark.parametrize("name", ALL)
def test_answers_are_finite_logits_of_every_class(name: str, answers: Answers, embedded_batch: Batch) -> None:
    predictions = answers(name)
    validated(predictions, name, embedded_batch.ids, len(CLASSES))
    assert predictions.logits.std() > 0


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("size", [1, 5])
def test_answers_do_not_depend_on_how_a_stream_is_split(
    name: str, size: int, built: dict[str, Method], answers: Answers, embedded_batch: Batch
) -> None:
    """This holds for episodic methods, and for online ones that do not require batches of a certain size."""
    method = built[name]
    if method.protocol == "transductive" or (is_online(method) and method.stream_batch is not None):
        pytest.skip("adapts to a whole batch: the harness passes it batches of the published size, or all images")
    whole = answers(name).logits
    indices = list(range(len(embedded_batch.ids)))
    parts = [select(embedded_batch, indices[start : start + size]) for start in range(0, len(indices), size)]
    method.reset()
    assert_same(concatenate_logits([predict_next(method, each) for each in parts]), whole)


@pytest.mark.parametrize("name", ALL)
def test_episodic_answers_do_not_depend_on_order(
    name: str, built: dict[str, Method], answers: Answers, embedded_batch: Batch
) -> None:
    method = built[name]
    if is_online(method):
        pytest.skip("online: earlier images matter")
    order = [7, 2, 11, 0, 5, 9, 1, 10, 3, 8, 4, 6]
    whole = answers(name).logits
    assert_same(predict_afresh(method, select(embedded_batch, order)).logits, whole[order])


@pytest.mark.parametrize("name", ALL)
def test_a_method_keeps_state_exactly_if_it_is_online(name: str, built: dict[str, Method], clean_batch: Batch) -> None:
    """Use clean images: the teacher is sure of them, so that no filter removes all of them."""
    method = built[name]
    first = predict_afresh(method, clean_batch).logits
    second = predict_next(method, clean_batch).logits
    assert torch.equal(first, second) != (is_online(method) and name not in WITHOUT_STATE)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.usefixtures("one_thread")
def test_answers_do_not_depend_on_threads(
    name: str, built: dict[str, Method], first_answers: Callable[[str], FirstAnswer], few: Batch
) -> None:
    on_one_thread = first_answers(name).logits
    torch.set_num_threads(2)
    assert_same(predict_afresh(built[name], few).logits, on_one_thread)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.usefixtures("one_thread")
def test_answers_repeat_for_a_seed_in_a_new_object_and_after_a_reset(
    name: str, built: dict[str, Method], first_answers: Callable[[str], FirstAnswer], few: Batch
) -> None:
    """In another state of the process's random numbers, too, which no method reads or changes."""
    method, first = built[name], first_answers(name)  # of this object, which has a state since then
    torch.manual_seed(2)
    assert torch.equal(predict_afresh(method, few).logits, first.logits)
    assert torch.equal(predict_afresh(build(name, method.teacher), few).logits, first.logits)
    assert first.random_state_is_the_same


@pytest.mark.parametrize("name", ALL)
def test_the_teacher_stays_the_same_to_the_bit(
    name: str, built: dict[str, Method], first_answers: Callable[[str], FirstAnswer]
) -> None:
    assert first_answers(name).weights_are_the_same
    assert not any(parameter.requires_grad for parameter in built[name].teacher.image_encoder.parameters())


@pytest.mark.parametrize("name", ALL)
def test_parameters_are_frozen_and_each_is_documented_with_its_source(name: str) -> None:
    parameters = METHODS.get(name).Parameters
    assert is_dataclass(parameters)
    assert parameters.__dataclass_params__.frozen  # type: ignore[attr-defined]
    documented = inspect.cleandoc(parameters.__doc__ or "")  # Python 3.13 has removed the indentation
    assert [f.name for f in fields(parameters) if f"\n    {f.name}: " not in documented] == []


@pytest.mark.parametrize("name", ALL)
def test_a_method_states_its_paper_and_its_cost(name: str, built: dict[str, Method]) -> None:
    method = built[name]
    assert method.protocol in ("episodic", "online", "transductive")
    assert all((method.summary, method.paper, method.adapts))
    assert method.cost().image_forwards >= 1


@pytest.mark.parametrize("name", OWN)
def test_a_method_of_the_package_names_its_paper(name: str) -> None:
    assert METHODS.get(name).paper.startswith(("arXiv ", "OpenReview "))


def test_random_draws_depend_on_the_seed(embedded_teacher: Teacher, answers: Answers, embedded_batch: Batch) -> None:
    for name in ("apm", "vte", "mta", "memo"):
        one, two = answers(name), predict_afresh(build(name, embedded_teacher, 1), embedded_batch)
        assert not torch.equal(one.logits, two.logits), name


def test_random_draws_depend_on_the_id_of_the_image(
    built: dict[str, Method], answers: Answers, embedded_batch: Batch
) -> None:
    renamed = Batch(tuple(f"other/{name}" for name in embedded_batch.ids), embedded_batch.images)
    for name in ("apm", "vte"):
        assert not torch.equal(predict_afresh(built[name], renamed).logits, answers(name).logits), name


def test_apm_reports_every_iteration(answers: Answers) -> None:
    predictions = answers("apm")
    assert predictions.iteration_classes is not None
    assert predictions.losses is not None
    assert predictions.cosines is not None
    assert predictions.iteration_classes.shape == predictions.losses.shape == predictions.cosines.shape == (12, 21)
    assert torch.equal(predictions.iteration_classes[:, -1], predictions.logits.argmax(1))
    assert (predictions.losses[:, -1] < predictions.losses[:, 0]).all()
    assert (predictions.cosines[:, -1] > predictions.cosines[:, 0]).all()


def build_long_fit(teacher: Teacher, target: str) -> Method:
    parameters = build_parameters("apm", {"iterations": 150, "target": target, "views": 8})
    return METHODS.get("apm")(teacher, TASK, parameters, 0)


@pytest.mark.parametrize(("target", "method"), [("view0", "zeroshot"), ("vte", "vte"), ("mta", "mta")])
def test_apm_fitted_long_enough_predicts_as_its_target_does(
    target: str, method: str, embedded_teacher: Teacher, answers: Answers, embedded_batch: Batch
) -> None:
    """Distilling a feature repeats the predictions of the feature, as the table shows for APM."""
    predictions = predict_afresh(build_long_fit(embedded_teacher, target), embedded_batch)
    expected = answers(method).logits.argmax(1)
    assert predictions.target_classes is not None
    assert torch.equal(predictions.target_classes, expected), "the target's own predictions are its method's"
    assert (predictions.logits.argmax(1) == expected).float().mean() > 0.9


def test_unknown_keys_and_wrong_values_are_refused_in_one_line() -> None:
    with pytest.raises(UnknownName, match=r"unknown key of method apm 'steps'; there are: .*iterations"):
        build_parameters("apm", {"steps": 3})
    for settings in ({"iterations": -1}, {"iterations": "many"}, {"templates": "nonsense"}, {"preset": "best"}):
        with pytest.raises(UserError) as refused:
            build_parameters("apm", settings)
        assert refused.value.exit_code == 2
        assert "\n" not in str(refused.value)
    with pytest.raises(UnknownName, match=r"unknown method 'tptt'; there are: .*\btpt\b"):
        build_parameters("tptt", {})


@pytest.mark.parametrize("name", OWN)
def test_a_number_of_views_below_one_is_refused(name: str) -> None:
    if "views" in {field.name for field in fields(METHODS.get(name).Parameters)}:
        with pytest.raises(UserError, match="views"):
            build_parameters(name, {"views": 0})


def test_nearest_neighbours_need_labelled_images(embedded_teacher: Teacher) -> None:
    with pytest.raises(UserError, match="--support") as refused:
        build("knn", embedded_teacher)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (torch.zeros(2, 9), r"shape \(2, 9\), not \(2, 10\)"),
        (torch.tensor([[0.0] * 10, [float("nan")] * 10]), "image b"),
    ],
)
def test_predictions_that_would_become_wrong_numbers_are_refused(logits: torch.Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        validated(Predictions(logits), "sample", ("a", "b"), 10)


def test_a_third_party_method_is_found_through_its_entry_point(
    built: dict[str, Method], answers: Answers, embedded_batch: Batch
) -> None:
    teacher = built["constant"].teacher
    favoured = METHODS.get("constant")(teacher, TASK, build_parameters("constant", {"favourite": 5}), 0)
    difference = predict_afresh(favoured, embedded_batch).logits - answers("zeroshot").logits
    assert difference.argmax(1).tolist() == [5] * 12


@pytest.mark.parametrize("name", OWN)
@pytest.mark.usefixtures("one_thread")
def test_measuring_a_method_leaves_no_trace_in_its_stream(
    name: str, built: dict[str, Method], first_answers: Callable[[str], FirstAnswer], few: Batch
) -> None:
    method = built[name]
    if not is_online(method):
        pytest.skip("episodic: nothing that it answers leaves a trace")
    method.reset()
    measure_alone(method, Batch(few.ids, few.images))
    assert torch.equal(predict_next(method, few).logits, first_answers(name).logits)


@pytest.mark.parametrize("name", OWN)
def test_a_stream_that_is_cut_goes_on_in_a_copy_as_it_does_uncut(
    name: str, built: dict[str, Method], embedded_batch: Batch
) -> None:
    """All that a stream leaves behind is in the object: nothing in the module, the process or a shared tensor."""
    method = built[name]
    if not is_online(method):
        pytest.skip("episodic: there is no stream")
    first, second = select(embedded_batch, list(range(4))), select(embedded_batch, list(range(4, 8)))
    predict_afresh(method, first)
    shared = (method.teacher, method.given)
    copied = copy.deepcopy(method, {id(each): each for each in shared})
    uncut = predict_next(method, second).logits
    predict_afresh(method, second)
    assert torch.equal(predict_next(copied, second).logits, uncut)


WITH_BATCH_NORM = ["cmf", "cotta", "deyo", "eta", "memo", "norm", "rdumb", "roid", "rotta", "sar", "tent"]
"""Methods whose copy of the encoder has its own ways with BatchNorm; on the embedded teacher there is none."""


@pytest.mark.parametrize("name", WITH_BATCH_NORM)
def test_with_batch_norm_a_stream_repeats_untraced_and_in_a_copy(
    name: str, batch_norm_teacher: Teacher, clean_batch: Batch
) -> None:
    """Restoring puts back averages as well as parameters: RoTTA's move with the stream."""
    method = build(name, batch_norm_teacher)
    first, second = select(clean_batch, list(range(4))), select(clean_batch, list(range(4, 8)))
    answers = [predict_afresh(method, first).logits, predict_next(method, second).logits]
    method.reset()
    measure_alone(method, Batch(first.ids, first.images))
    assert torch.equal(predict_next(method, first).logits, answers[0])
    copied = copy.deepcopy(method, {id(each): each for each in (method.teacher, method.given)})
    for each in (method, copied):
        assert torch.equal(predict_next(each, second).logits, answers[1])
