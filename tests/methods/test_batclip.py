"""BATCLIP beside a plain form of its algorithm, since its authors' own answers are not at hand."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from apm_tta.data.cards import load_card
from apm_tta.data.task import Task
from apm_tta.errors import UserError
from apm_tta.methods import METHODS, Batch, batclip, build_parameters
from apm_tta.methods.batclip import bimodal_loss
from apm_tta.teachers import Teacher

CLASSES = load_card("fashion-mnist").class_list.names
pytestmark = pytest.mark.usefixtures("one_thread")


def build(teacher: Any, dataset: str = "", family: Any = "other", **settings: Any) -> Any:
    task = Task(CLASSES, family=family, dataset=dataset)
    return METHODS.get("batclip")(teacher, task, build_parameters("batclip", settings), 0)


def predict(method: Any, pixels: Tensor, monkeypatch: pytest.MonkeyPatch) -> Tensor:
    monkeypatch.setattr(method, "pixels", lambda _batch: pixels)
    with torch.no_grad():
        logits: Tensor = method.predict(Batch((), ())).logits
    return logits


def plain_loss(features: Tensor, texts: Tensor, logits: Tensor) -> Tensor:
    """Compute the loss class by class and pair by pair."""
    loss = -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()
    labels = logits.argmax(1)
    found = sorted({*labels.tolist()})
    means = {label: features[labels == label].mean(0) for label in found}
    near = [means[label] @ texts[label] for label in found]
    apart = [
        1 - means[one] @ means[other] / (means[one].norm() * means[other].norm())
        for one in found
        for other in found
        if one != other
    ]
    return loss - sum(near) / len(near) - sum(apart)


def plain_answers(model: Any, tokens: Tensor, batches: list[Tensor], optimizer: Any) -> list[Tensor]:
    """Adapt an open_clip model of one's own to batches of pixels; return the logits of each."""
    model.requires_grad_(False)
    layers = [layer for layer in model.modules() if isinstance(layer, nn.LayerNorm)]
    parameters = [parameter.requires_grad_() for layer in layers for parameter in layer.parameters()]
    steps, answers = optimizer(parameters), []
    for pixels in batches:
        features, texts = model.encode_image(pixels), normalize(model.encode_text(tokens), dim=-1)
        logits = model.logit_scale.exp() * normalize(features, dim=-1) @ texts.T
        answers.append(logits.detach())
        steps.zero_grad()
        plain_loss(features, texts, logits).backward()
        steps.step()
    return answers


@pytest.mark.parametrize(("optimizer", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam)])
def test_answers_are_those_of_the_plain_form(
    optimizer: str, kind: Any, embedded_teacher: Teacher, embedded_batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    method: Any = build(embedded_teacher, optimizer=optimizer)
    whole = method.pixels(embedded_batch)
    batches = [whole[:6], whole[6:11], whole[11:]]
    teacher: Any = embedded_teacher
    tokens = teacher.text_tower.tokens([f"a photo of a {name}." for name in CLASSES])
    expected = plain_answers(
        copy.deepcopy(teacher.built.model), tokens, batches, lambda own: kind(own, lr=5e-4, weight_decay=0.01)
    )
    answers = [predict(method, pixels, monkeypatch) for pixels in batches]
    for ours, plain in zip(answers, expected, strict=True):
        torch.testing.assert_close(ours, plain, rtol=0, atol=2e-3)
    unadapted = method.logits(teacher.encode_image(batches[1]))
    assert (answers[1] - unadapted).abs().max() > 10 * 2e-3, "nothing was adapted"


def test_the_loss_is_that_of_the_plain_form_and_so_are_its_gradients() -> None:
    generator = torch.Generator().manual_seed(1)
    features = (3 * torch.randn(9, 8, generator=generator, dtype=torch.float64)).requires_grad_()
    texts = normalize(torch.randn(5, 8, generator=generator, dtype=torch.float64), dim=-1).requires_grad_()
    ours, logits = bimodal_loss(features, texts, torch.full((9, 1), 20.0, dtype=torch.float64))
    plain = plain_loss(features, texts, logits)
    torch.testing.assert_close(ours, plain)
    for one, other in zip(
        *(torch.autograd.grad(loss, (features, texts), retain_graph=True) for loss in (ours, plain)), strict=True
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("images", [1, 2])
@pytest.mark.parametrize("classes", [1, 2])
def test_few_images_and_few_classes_have_a_loss(images: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(images, 8, generator=generator).requires_grad_()
    loss, logits = bimodal_loss(features, normalize(torch.eye(classes, 8), dim=-1), torch.full((images, 1), 20.0))
    loss.backward()
    assert logits.shape == (images, classes)
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_many_prompts_are_embedded_part_by_part(
    embedded_teacher: Teacher, embedded_batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = []
    for together in (256, 3):
        monkeypatch.setattr(batclip, "_PROMPTS_AT_ONCE", together)
        method = build(embedded_teacher, templates="simple7")
        pixels = method.pixels(embedded_batch)
        answers.append(torch.cat([predict(method, pixels, monkeypatch) for _ in range(2)]))
    torch.testing.assert_close(*answers, rtol=0, atol=2e-3)


def test_adapted_class_weights_begin_as_the_teachers_and_come_back(
    embedded_teacher: Teacher, embedded_batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = build(embedded_teacher, templates="simple7")
    first = method.adapted_weights().detach()
    torch.testing.assert_close(first, method.class_weights, rtol=0, atol=1e-5)
    predict(method, method.pixels(embedded_batch), monkeypatch)
    assert not torch.allclose(method.adapted_weights(), first, rtol=0, atol=1e-4)
    method.reset()
    assert torch.equal(method.adapted_weights(), first)


def test_settings_are_those_of_the_authors_configurations(embedded_teacher: Teacher) -> None:
    for dataset, family, expected in (
        ("imagenet-c", "imagenet", ("adamw", 5e-4, 64)),
        ("cifar10-c", "cifar", ("adamw", 1e-3, 200)),
        ("cifar100-c", "cifar", ("adam", 5e-4, 200)),
    ):
        chosen = build(embedded_teacher, dataset, family).parameters
        assert (chosen.optimizer, chosen.learning_rate, chosen.batch_size) == expected


def test_a_teacher_without_a_text_tower_is_refused(batch_norm_encoder: nn.Module, stub_teacher: Any) -> None:
    with pytest.raises(UserError, match="teacher stub has no text tower") as refused:
        build(stub_teacher(batch_norm_encoder))
    assert refused.value.exit_code == 2
