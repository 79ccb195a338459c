"""Methods over batches: what their equations say at their edges, and what stands beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from worker_runs import batch_norm_weights, write_images

from apm_tta.data.cards import load_card
from apm_tta.data.task import Task
from apm_tta.errors import UserError
from apm_tta.harness.compute.prepare import prepare
from apm_tta.harness.request.run_request import resolve_request
from apm_tta.methods import METHODS, Batch, build_parameters, t3a
from apm_tta.methods.lame import affinities, from_logits
from apm_tta.methods.t3a import Supports
from apm_tta.teachers import Teacher

CLASSES = load_card("fashion-mnist").class_list.names
CPU = torch.device("cpu")


def unit(seed: int, *shape: int) -> Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def build(name: str, teacher: Any, **settings: Any) -> Any:
    return METHODS.get(name)(teacher, Task(CLASSES), build_parameters(name, settings), 0)


def predict(method: Any, batch: Batch) -> Tensor:
    with torch.no_grad():
        logits: Tensor = method.predict(Batch(batch.ids, batch.images)).logits
    return logits


@pytest.mark.parametrize("affinity", ["rbf", "knn", "linear"])
@pytest.mark.parametrize("images", [1, 2, 3])
def test_lame_answers_few_images(affinity: Any, images: int) -> None:
    """One image has no neighbour but itself: its class stays the teacher's."""
    logits = 5 * torch.randn(images, 6, generator=torch.Generator().manual_seed(1))
    answers = from_logits(logits, unit(2, images, 8), affinity=affinity)
    assert answers.isfinite().all()
    torch.testing.assert_close(answers.exp().sum(1), torch.ones(images))
    if images == 1:
        assert answers.argmax() == logits.argmax()


def test_lames_neighbours_agree_and_strangers_do_not_matter() -> None:
    """Three images are nearly one; the uncertain one follows the other two."""
    near = unit(3, 1, 16).expand(3, 16) + 0.01 * unit(4, 3, 16)
    features = normalize(torch.cat([near, -near[:1]]), dim=-1)
    logits = torch.tensor([[4.0, 0.0], [4.0, 0.0], [0.0, 0.2], [0.0, 4.0]])
    answers = from_logits(logits, features, affinity="rbf", neighbours=3)
    assert answers.argmax(1).tolist() == [0, 0, 0, 1]
    own = affinities(features, "knn", 2)
    assert own[:3].sum(1).tolist() == [2.0, 2.0, 2.0]
    assert not own[:3, 3].any()
    assert not own.diagonal().any()


def test_t3a_begins_as_the_teacher_and_moves_to_what_it_has_seen() -> None:
    weights, scale = unit(5, 4, 8), 20.0
    supports = Supports(weights, scale, most=3)
    features = normalize(weights[[0]] + 0.5 * unit(6, 1, 8), dim=-1)
    torch.testing.assert_close(normalize(supports.sums, dim=-1), weights)
    answers = supports.stream(features, scale * features @ weights.T)
    expected = normalize(weights[0] + features[0], dim=-1)
    torch.testing.assert_close(answers[0, 0], features[0] @ expected)
    torch.testing.assert_close(answers[0, 1:], (features @ weights[1:].T)[0])


def test_norm_needs_batch_normalisation(embedded_teacher: Teacher) -> None:
    with pytest.raises(UserError, match="method norm takes the statistics of Batch normalisation") as refused:
        build("norm", embedded_teacher)
    assert refused.value.exit_code == 2


def test_norm_is_tents_first_answer(batch_norm_teacher: Any, embedded_batch: Batch) -> None:
    """TENT answers with the pass that yields its loss: before its first step only the statistics differ."""
    alone, learned = (build(name, batch_norm_teacher, batch_size=12) for name in ("norm", "tent"))
    first = predict(alone, embedded_batch)
    torch.testing.assert_close(predict(learned, embedded_batch), first)
    assert torch.equal(predict(alone, embedded_batch), first)
    assert not torch.allclose(predict(learned, embedded_batch), first, rtol=0, atol=1e-4)


def test_blended_statistics_are_restored_with_the_encoder(batch_norm_teacher: Any, embedded_batch: Batch) -> None:
    """What a layer keeps of the last batch is gone after a restoration, and the teacher never had it."""
    method = build("norm", batch_norm_teacher, alpha=0.5)
    predict(method, embedded_batch)
    layer, source = method.encoder.network[1], batch_norm_teacher.image_encoder[1]
    assert isinstance(source, nn.BatchNorm2d)
    assert not torch.equal(layer.running_mean, source.running_mean)
    method.encoder.restore()
    assert torch.equal(layer.running_mean, source.running_mean)
    assert torch.equal(layer.running_var, source.running_var)


def test_eta_learns_nothing_from_a_batch_without_a_confident_image(
    batch_norm_teacher: Any, embedded_batch: Batch
) -> None:
    method = build("eta", batch_norm_teacher, margin=1e-9)
    first = predict(method, embedded_batch)
    assert torch.equal(predict(method, embedded_batch), first)
    assert method.average is None, "none passed both filters"


def test_rdumb_starts_again_after_so_many_batches(embedded_teacher: Teacher, embedded_batch: Batch) -> None:
    method = build("rdumb", embedded_teacher, every=2, learning_rate=0.05, margin=1.0, redundancy=1.0)
    answers = [predict(method, embedded_batch) for _ in range(4)]
    assert torch.equal(answers[2], answers[0])
    assert torch.equal(answers[3], answers[1])
    assert not torch.equal(answers[1], answers[0])


@pytest.mark.parametrize("name", ["tent", "sar", "eta", "rdumb"])
def test_statistics_alone_stand_beside_what_normalises_by_the_batch(tmp_path: Path, name: str) -> None:
    """Where the network has BatchNorm; nothing is said of it elsewhere."""
    place = write_images(tmp_path / "images")
    options = {"methods": [name], "classifier": "prototypes", "shots": 2}

    def methods(teacher: str) -> tuple[list[str], dict[str, str]]:
        folders = {"data_root": place / "data", "support": place / "support"}
        request = resolve_request("folder", {**options, "teacher": teacher}, devices=("cpu",), quiet=True, **folders)
        prepared = prepare(request, CPU)
        return list(prepared.methods), prepared.left_out

    assert methods("embedded") == ([name], {})
    assert methods(batch_norm_weights(tmp_path)) == ([name, "norm"], {})


def test_many_classes_enter_as_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their products are computed part by part."""
    weights, features = unit(7, 9, 8), unit(8, 5, 8)
    answers = []
    for together in (1024, 2):
        monkeypatch.setattr(t3a, "_ROWS_TOGETHER", together)
        answers.append(Supports(weights, 20.0, most=2).stream(features, 20 * features @ weights.T))
    torch.testing.assert_close(*answers)
