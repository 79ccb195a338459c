"""What every registered method must keep to, a third-party one included."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
import torch

from apm_tta.data.cards import load_card
from apm_tta.errors import UnknownName, UserError
from apm_tta.methods import METHODS, Batch, Method, Predictions, build_parameters
from apm_tta.methods.base import check_logits
from apm_tta.teachers import TEMPLATES, Teacher

OWN = ["apm", "ensemble", "zeroshot"]
EPISODIC = [name for name in OWN if METHODS.get(name).protocol == "episodic"]
CLASSES = load_card("fashion-mnist").class_list.names


@pytest.fixture(scope="module")
def built(embedded_teacher: Teacher) -> dict[str, Method]:
    return {name: build(name, embedded_teacher) for name in OWN}


def build(name: str, teacher: Teacher, seed: int = 0) -> Method:
    return METHODS.get(name)(teacher, CLASSES, build_parameters(name, {}), seed)


def answer(method: Method, batch: Batch) -> Predictions:
    with torch.no_grad():
        return method.predict(batch)


def part(batch: Batch, order: list[int]) -> Batch:
    return Batch(tuple(batch.ids[i] for i in order), tuple(batch.images[i] for i in order))


def joined(answers: list[Predictions]) -> torch.Tensor:
    return torch.cat([each.logits for each in answers])


def same(ours: torch.Tensor, expected: torch.Tensor) -> None:
    """Same predicted classes, and logits (of scale 100) equal up to the order of float32 sums."""
    assert torch.equal(ours.argmax(1), expected.argmax(1))
    torch.testing.assert_close(ours, expected, rtol=0, atol=2e-3)


def bits(teacher: Teacher) -> str:
    digest = hashlib.sha256()
    for _, value in sorted(teacher.model.state_dict().items()):  # type: ignore[attr-defined]
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def test_every_method_of_the_package_is_tested_here() -> None:
    assert METHODS.names() == OWN


def test_no_label_is_in_a_methods_reach() -> None:
    assert [field.name for field in fields(Batch)] == ["ids", "images"]


@pytest.mark.parametrize("name", OWN)
def test_answers_are_finite_logits_of_every_class(name: str, built: dict[str, Method], embedded_batch: Batch) -> None:
    predictions = answer(built[name], embedded_batch)
    check_logits(name, predictions, embedded_batch, len(CLASSES))
    assert predictions.logits.std() > 0


@pytest.mark.parametrize("name", EPISODIC)
@pytest.mark.parametrize("size", [1, 5])
def test_episodic_answers_do_not_depend_on_batch_size(
    name: str, size: int, built: dict[str, Method], embedded_batch: Batch
) -> None:
    whole = answer(built[name], embedded_batch).logits
    indices = list(range(len(embedded_batch.ids)))
    parts = [part(embedded_batch, indices[start : start + size]) for start in range(0, len(indices), size)]
    same(joined([answer(built[name], each) for each in parts]), whole)


@pytest.mark.parametrize("name", EPISODIC)
def test_episodic_answers_do_not_depend_on_order(name: str, built: dict[str, Method], embedded_batch: Batch) -> None:
    whole = answer(built[name], embedded_batch).logits
    order = [7, 2, 11, 0, 5, 9, 1, 10, 3, 8, 4, 6]
    same(answer(built[name], part(embedded_batch, order)).logits, whole[order])


@pytest.mark.parametrize("name", EPISODIC)
@pytest.mark.usefixtures("one_thread")
def test_episodic_answers_do_not_depend_on_threads(name: str, built: dict[str, Method], embedded_batch: Batch) -> None:
    alone = answer(built[name], embedded_batch).logits
    torch.set_num_threads(2)
    same(answer(built[name], embedded_batch).logits, alone)


@pytest.mark.parametrize("name", OWN)
def test_answers_repeat_for_a_seed_in_a_new_object(
    name: str, built: dict[str, Method], embedded_teacher: Teacher, embedded_batch: Batch
) -> None:
    first = answer(built[name], embedded_batch)
    again = answer(build(name, embedded_teacher), embedded_batch)
    assert torch.equal(first.logits, again.logits)


@pytest.mark.parametrize("name", OWN)
def test_the_teacher_is_the_same_to_the_bit_afterwards(
    name: str, built: dict[str, Method], embedded_teacher: Teacher, embedded_batch: Batch
) -> None:
    before = bits(embedded_teacher)
    answer(built[name], embedded_batch)
    assert bits(embedded_teacher) == before


@pytest.mark.parametrize("name", OWN)
def test_global_seeds_are_neither_read_nor_moved(name: str, built: dict[str, Method], embedded_batch: Batch) -> None:
    torch.manual_seed(1)
    first = answer(built[name], embedded_batch).logits
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(answer(built[name], embedded_batch).logits, first)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", OWN)
def test_parameters_are_frozen_and_each_is_documented_with_its_source(name: str) -> None:
    parameters = METHODS.get(name).Parameters
    assert is_dataclass(parameters)
    assert parameters.__dataclass_params__.frozen  # type: ignore[attr-defined]
    documented = parameters.__doc__ or ""
    assert [f.name for f in fields(parameters) if f"\n        {f.name}: " not in documented] == []
    assert build_parameters(name, {}).templates in TEMPLATES


def test_the_seed_reaches_the_apm(embedded_teacher: Teacher, embedded_batch: Batch) -> None:
    one, two = (answer(build("apm", embedded_teacher, seed), embedded_batch) for seed in (0, 1))
    assert not torch.equal(one.logits, two.logits)


def test_an_image_under_another_id_gets_another_fresh_apm(built: dict[str, Method], embedded_batch: Batch) -> None:
    renamed = Batch(tuple(f"other/{name}" for name in embedded_batch.ids), embedded_batch.images)
    assert not torch.equal(answer(built["apm"], renamed).logits, answer(built["apm"], embedded_batch).logits)


def test_apm_reports_every_iteration(built: dict[str, Method], embedded_batch: Batch) -> None:
    predictions = answer(built["apm"], embedded_batch)
    assert predictions.iteration_classes is not None
    assert predictions.losses is not None
    assert predictions.cosines is not None
    assert predictions.iteration_classes.shape == predictions.losses.shape == predictions.cosines.shape == (12, 21)
    assert torch.equal(predictions.iteration_classes[:, -1], predictions.logits.argmax(1))
    assert (predictions.losses[:, -1] < predictions.losses[:, 0]).all()
    assert (predictions.cosines[:, -1] > predictions.cosines[:, 0]).all()


def test_apm_fitted_long_enough_gives_its_teachers_answer(embedded_teacher: Teacher, embedded_batch: Batch) -> None:
    """What the table says of APM: distilling a token repeats the teacher."""
    parameters = build_parameters("apm", {"iterations": 150})
    apm = METHODS.get("apm")(embedded_teacher, CLASSES, parameters, 0)
    teacher = answer(build("zeroshot", embedded_teacher), embedded_batch).logits.argmax(1)
    assert (answer(apm, embedded_batch).logits.argmax(1) == teacher).float().mean() > 0.9


def test_unknown_keys_and_wrong_values_are_refused_in_one_line() -> None:
    with pytest.raises(UnknownName, match=r"unknown key of method apm 'steps'; there are: .*iterations"):
        build_parameters("apm", {"steps": 3})
    for settings in ({"iterations": -1}, {"iterations": "many"}, {"templates": "nonsense"}, {"preset": "best"}):
        with pytest.raises(UserError) as refused:
            build_parameters("apm", settings)
        assert refused.value.exit_code == 2
        assert "\n" not in str(refused.value)
    with pytest.raises(UnknownName, match="unknown method 'tptt'; there are: apm, ensemble, zeroshot"):
        build_parameters("tptt", {})


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (torch.zeros(2, 9), r"shape \(2, 9\), not \(2, 10\)"),
        (torch.tensor([[0.0] * 10, [float("nan")] * 10]), "image b"),
    ],
)
def test_answers_that_would_become_wrong_numbers_are_refused(
    logits: torch.Tensor, message: str, embedded_batch: Batch
) -> None:
    batch = Batch(("a", "b"), embedded_batch.images[:2])
    with pytest.raises(UserError, match=message):
        check_logits("sample", Predictions(logits), batch, 10)


PLUGIN = '''
from dataclasses import dataclass
from apm_tta.methods import Method, Predictions

@dataclass(frozen=True)
class Parameters:
    """Of ``constant``."""
    templates: str = "simple"
    favourite: int = 3

class Constant(Method):
    name = "constant"
    protocol = "episodic"
    summary = "always the same class"
    Parameters = Parameters

    def predict(self, batch):
        logits = self.class_weights.new_zeros(len(batch.ids), len(self.classes))
        logits[:, self.parameters.favourite] = 1
        return Predictions(logits)
'''


@pytest.fixture
def installed_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package beside this one that offers a method through its entry point, as pip would lay it out."""
    (tmp_path / "constant_tta.py").write_text(PLUGIN)
    information = tmp_path / "constant_tta-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: constant-tta\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[apm_tta.methods]\nconstant = constant_tta:Constant\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "constant"
    METHODS._entries.pop("constant", None)
    sys.modules.pop("constant_tta", None)


def test_a_third_party_method_is_found_through_its_entry_point(
    installed_plugin: str, embedded_teacher: Teacher, embedded_batch: Batch
) -> None:
    assert installed_plugin in METHODS.names()
    parameters = build_parameters(installed_plugin, {"favourite": 5})
    method = METHODS.get(installed_plugin)(embedded_teacher, CLASSES, parameters, 0)
    assert answer(method, embedded_batch).logits.argmax(1).tolist() == [5] * 12
