"""WATT and CLIPArTT, which adapt the encoder to a sentence for each image of a batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from apm_tta.data.cards import load_card
from apm_tta.data.task import Task
from apm_tta.errors import UserError
from apm_tta.methods import METHODS, Batch, build_parameters
from apm_tta.methods.pair_method import pair_loss
from apm_tta.teachers import Teacher

CLASSES = load_card("fashion-mnist").class_list.names
FEW: dict[str, dict[str, Any]] = {"clipartt": {"steps": 2}, "watt": {"repeats": 1}}


def build(name: str, teacher: Any, classes: tuple[str, ...] = CLASSES, **settings: Any) -> Any:
    return METHODS.get(name)(teacher, Task(classes), build_parameters(name, {**FEW[name], **settings}), 0)


def predict(method: Any, batch: Batch, images: int) -> Tensor:
    with torch.no_grad():
        logits: Tensor = method.predict(Batch(batch.ids[:images], batch.images[:images])).logits
    return logits


def unit(seed: int, *shape: int) -> Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_a_pair_alone_has_no_loss_and_no_gradient() -> None:
    images = unit(1, 1, 8).requires_grad_()
    loss = pair_loss(images, unit(2, 1, 8), torch.full((1, 1), 20.0))
    loss.backward()
    assert loss == 0
    assert images.grad is not None
    assert not images.grad.any()


def test_images_whose_sentences_they_are_nearest_to_lose_least() -> None:
    texts = unit(3, 4, 16)
    images = normalize(texts + 0.2 * unit(4, 4, 16), dim=-1)
    scales = torch.full((4, 1), 20.0)
    assert pair_loss(images, texts, scales) < pair_loss(images, texts[[1, 2, 3, 0]], scales)


@pytest.mark.parametrize("name", FEW)
def test_a_single_image_is_answered_as_by_the_teacher(
    name: str, embedded_teacher: Teacher, embedded_batch: Batch
) -> None:
    method = build(name, embedded_teacher)
    teachers = build("watt", embedded_teacher, templates=method.parameters.templates)
    features = embedded_teacher.encode_image(method.pixels(embedded_batch))[:1]
    torch.testing.assert_close(predict(method, embedded_batch, 1), teachers.logits(features))
    assert not torch.equal(predict(method, embedded_batch, 4)[:1], predict(method, embedded_batch, 1))


@pytest.mark.parametrize("name", FEW)
def test_two_classes_suffice(name: str, embedded_teacher: Teacher, embedded_batch: Batch) -> None:
    """CLIPArTT's sentences then name both."""
    answers = predict(build(name, embedded_teacher, CLASSES[:2]), embedded_batch, 3)
    assert answers.shape == (3, 2)
    assert answers.isfinite().all()


@pytest.mark.parametrize("name", FEW)
def test_a_teacher_without_a_text_tower_is_refused(name: str, batch_norm_encoder: nn.Module, stub_teacher: Any) -> None:
    teacher = stub_teacher(batch_norm_encoder)
    teacher.classifier = "head"
    with pytest.raises(UserError, match=f"method {name} needs class weights from a text tower") as refused:
        build(name, teacher)
    assert refused.value.exit_code == 2


def test_parallel_templates_start_from_the_same(embedded_teacher: Teacher, embedded_batch: Batch) -> None:
    """One template twice is then one template; in sequence it makes twice as many steps."""
    orders = {}
    for order in ("parallel", "sequential"):
        method = build("watt", embedded_teacher, order=order, templates="simple")
        once = predict(method, embedded_batch, 6)
        method.by_template *= 2
        orders[order] = torch.equal(predict(method, embedded_batch, 6), once)
    assert orders == {"parallel": True, "sequential": False}


def test_clipartts_sentences_are_embedded_as_class_names_are(embedded_teacher: Teacher) -> None:
    method = build("clipartt", embedded_teacher, templates="simple7")
    torch.testing.assert_close(method.embed(CLASSES), method.class_weights, rtol=0, atol=1e-5)


def test_clipartt_names_the_likeliest_classes_and_embeds_no_sentence_twice(
    embedded_teacher: Teacher, embedded_batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, asked = build("clipartt", embedded_teacher, steps=3), []

    def embed(names: list[str]) -> Tensor:
        asked.extend(names)
        return type(method).embed(method, names)

    monkeypatch.setattr(method, "embed", embed)
    logits = method.logits(method.features(embedded_batch))[:4]
    predict(method, embedded_batch, 4)
    first = [" or ".join(CLASSES[index] for index in row) for row in logits.topk(3).indices.tolist()]
    assert asked[: len({*first})] == list(dict.fromkeys(first))
    assert len(asked) == len({*asked})


def test_names_too_long_for_a_sentence_are_refused_at_once(embedded_teacher: Teacher) -> None:
    """Each fits into a prompt of its own; three of them do not fit into one."""
    length = embedded_teacher.text_tower.tokens(["a"]).shape[1]  # type: ignore[union-attr]
    names = tuple(" ".join([word] * (length // 2 - 6)) for word in ("cat", "dog", "bag"))
    build("clipartt", embedded_teacher, names, named=1)
    with pytest.raises(UserError, match=r"prompt .* or .* has \d+ tokens, but teacher embedded has no room") as refused:
        build("clipartt", embedded_teacher, names)
    assert refused.value.exit_code == 2
