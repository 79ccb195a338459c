from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from apm_tta.data.cards import load_card
from apm_tta.data.task import Family, Task
from apm_tta.errors import UserError
from apm_tta.methods import METHODS, Batch, build_parameters
from apm_tta.methods.tent import Tent
from apm_tta.teachers import Teacher

CLASSES = load_card("fashion-mnist").class_list.names
TASK = Task(CLASSES)


def build(teacher: Teacher, task: Task = TASK, **settings: Any) -> Tent:
    method = METHODS.get("tent")(teacher, task, build_parameters("tent", settings), 0)
    assert isinstance(method, Tent)
    return method


def part(batch: Batch, *indices: int) -> Batch:
    return Batch(tuple(batch.ids[i] for i in indices), tuple(batch.images[i] for i in indices))


def predict(method: Tent, batch: Batch) -> Tensor:
    with torch.no_grad():
        return method.predict(Batch(batch.ids, batch.images)).logits


def state(method: Tent) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in method.encoder.parameters]


class ByHand:
    """TENT as in the authors' code: an encoder in training mode without running averages, and an optimiser."""

    def __init__(self, teacher: Any, optimizer: Any, **settings: float) -> None:
        self.weights = teacher.class_weights(CLASSES, ("a photo of a {}.",))
        self.scale = teacher.logit_scale
        self.encoder = copy.deepcopy(teacher.image_encoder)
        moving = []
        for module in self.encoder.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train()
                module.track_running_stats, module.running_mean, module.running_var = False, None, None
            if isinstance(module, nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm):
                moving += [module.weight.requires_grad_(), module.bias.requires_grad_()]
        self.optimizer = optimizer(moving, **settings)

    def logits(self, pixels: Tensor) -> Tensor:
        features = self.encoder(pixels)
        return self.scale * (features / features.norm(dim=1, keepdim=True)) @ self.weights.T

    def step(self, pixels: Tensor) -> Tensor:
        logits = self.logits(pixels)
        self.optimizer.zero_grad()
        torch.special.entr(logits.softmax(1)).sum(1).mean().backward()
        self.optimizer.step()
        return logits.detach()


@pytest.mark.parametrize(
    ("family", "optimizer", "settings"),
    [
        ("imagenet", torch.optim.SGD, {"lr": 2.5e-4, "momentum": 0.9}),
        ("other", torch.optim.SGD, {"lr": 2.5e-4, "momentum": 0.9}),
        ("cifar", torch.optim.Adam, {"lr": 1e-3}),
    ],
)
def test_batches_online_are_as_published(
    family: Family, optimizer: Any, settings: dict[str, float], embedded_teacher: Teacher, embedded_batch: Batch
) -> None:
    """Three consecutive batches, so that momentum matters; each prediction is from before its own step."""
    method = build(embedded_teacher, Task(CLASSES, family=family))
    by_hand = ByHand(embedded_teacher, optimizer, **settings)
    batches = [part(embedded_batch, *range(start, start + 4)) for start in (0, 4, 8)]
    answers = [predict(method, batch) for batch in batches]
    for ours, batch in zip(answers, batches, strict=True):
        torch.testing.assert_close(ours, by_hand.step(method.pixels(batch)), rtol=0, atol=5e-5)
    frozen = [method.logits(method.features(batch)) for batch in batches]
    torch.testing.assert_close(answers[0], frozen[0], rtol=0, atol=1e-4)
    assert all((ours - before).abs().max() > 1e-3 for ours, before in zip(answers[1:], frozen[1:], strict=True))


def test_several_steps_predict_with_the_last_forward_pass(embedded_teacher: Teacher, embedded_batch: Batch) -> None:
    batch = part(embedded_batch, 0, 1, 2)
    method = build(embedded_teacher, steps=3, learning_rate=0.003)
    by_hand = ByHand(embedded_teacher, torch.optim.SGD, lr=0.003, momentum=0.9)
    passes = [by_hand.step(method.pixels(batch)) for _ in range(3)]
    torch.testing.assert_close(predict(method, batch), passes[2], rtol=0, atol=5e-5)
    assert (passes[2] - passes[1]).abs().max() > 0.01


def test_an_episodic_prediction_is_for_one_image_after_its_step(
    embedded_teacher: Teacher, embedded_batch: Batch
) -> None:
    method = build(embedded_teacher, mode="episodic", setting="cifar")
    ours = predict(method, part(embedded_batch, 0, 1, 2))
    for index in range(3):
        one = part(embedded_batch, index)
        by_hand = ByHand(embedded_teacher, torch.optim.Adam, lr=1e-3)
        before = by_hand.step(method.pixels(one))
        after = by_hand.logits(method.pixels(one)).detach()
        torch.testing.assert_close(ours[index], after[0], rtol=0, atol=5e-5)
        assert (after - before).abs().max() > 5e-3
        assert torch.equal(predict(method, one)[0], ours[index]), "another image had an influence"
    online = predict(build(embedded_teacher, setting="cifar"), part(embedded_batch, 0, 1, 2))
    assert (online - ours).abs().max() > 5e-3
    assert all(torch.equal(*pair) for pair in zip(state(method), state(build(embedded_teacher)), strict=True))


def test_modes_declare_their_protocol(embedded_teacher: Teacher) -> None:
    online = build(embedded_teacher, batch_size=7)
    assert (online.protocol, online.stream_batch, online.cost().image_forwards) == ("online", 7, 1)
    episodic = build(embedded_teacher, mode="episodic", steps=2)
    assert (episodic.protocol, episodic.stream_batch, episodic.cost().image_forwards) == ("episodic", None, 3)
    assert build(embedded_teacher).stream_batch == 64
    assert Tent.protocol == "online", "one object must not change the others"


def test_defaults_are_those_of_the_paper(embedded_teacher: Teacher, stated: Any) -> None:
    def chosen(task: Task = TASK, **settings: Any) -> dict[str, Any]:
        return {name: stated(build(embedded_teacher, task, **settings))[name] for name in ("setting", "learning_rate")}

    published = {"cifar": 1e-3, "imagenet": 2.5e-4, "fine-grained": 2.5e-4, "other": 2.5e-4}
    for family, rate in published.items():
        setting = "cifar" if family == "cifar" else "imagenet"
        task = Task(CLASSES, family=family)  # type: ignore[arg-type]
        assert chosen(task) == {"setting": setting, "learning_rate": rate}
    assert chosen(setting="cifar") == {"setting": "cifar", "learning_rate": 1e-3}
    assert chosen(learning_rate=0.5) == {"setting": "imagenet", "learning_rate": 0.5}


@pytest.mark.parametrize("setting", ["cifar", "imagenet"])
def test_a_reset_restores_every_bit_and_makes_a_new_optimiser(
    setting: str, embedded_teacher: Teacher, embedded_batch: Batch
) -> None:
    method = build(embedded_teacher, setting=setting)
    encoder = embedded_teacher.image_encoder
    norms = [module for module in encoder.modules() if isinstance(module, nn.LayerNorm)]
    source = [parameter for module in norms for parameter in (module.weight, module.bias)]
    assert len(source) == len(method.encoder.parameters) == 2 * 10
    predict(method, embedded_batch)
    used = method.optimizer
    assert used.state
    assert not any(torch.equal(ours, theirs) for ours, theirs in zip(state(method), source, strict=True))
    method.reset()
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(state(method), source, strict=True))
    assert method.optimizer is not used
    assert not method.optimizer.state
    assert all(parameter.grad is None for parameter in method.encoder.parameters)


def test_batch_normalisation_uses_the_batchs_statistics(
    stub_teacher: Any, batch_norm_encoder: nn.Module, embedded_batch: Batch
) -> None:
    """This equals the authors' training mode without its dropout."""
    teacher = stub_teacher(batch_norm_encoder)
    running = copy.deepcopy(batch_norm_encoder.state_dict())
    batches = [part(embedded_batch, *range(start, start + 4)) for start in (0, 4, 8)]
    method = build(teacher, learning_rate=0.02)
    by_hand = ByHand(teacher, torch.optim.SGD, lr=0.02, momentum=0.9)
    answers = [predict(method, batch) for batch in batches]
    for ours, batch in zip(answers, batches, strict=True):
        torch.testing.assert_close(ours, by_hand.step(method.pixels(batch)), rtol=0, atol=1e-4)
        assert (ours - method.logits(method.features(batch))).abs().max() > 0.1, "running averages have the same effect"
    unadapted = ByHand(teacher, torch.optim.SGD, lr=0.0)
    assert (answers[1] - unadapted.step(method.pixels(batches[1]))).abs().max() > 0.01, "nothing moved"
    assert all(torch.equal(value, running[name]) for name, value in batch_norm_encoder.state_dict().items())


def test_alone_an_image_is_normalised_by_its_own_statistics(
    stub_teacher: Any, batch_norm_encoder: nn.Module, embedded_batch: Batch
) -> None:
    teacher = stub_teacher(batch_norm_encoder)
    method = build(teacher, mode="episodic", learning_rate=0.02)
    ours = predict(method, part(embedded_batch, 0, 1, 2))
    for index in range(3):
        one = part(embedded_batch, index)
        by_hand = ByHand(teacher, torch.optim.SGD, lr=0.02, momentum=0.9)
        by_hand.step(method.pixels(one))
        torch.testing.assert_close(ours[index], by_hand.logits(method.pixels(one))[0].detach(), rtol=0, atol=1e-4)
        assert torch.equal(predict(method, one)[0], ours[index])


def test_group_normalisation_is_adapted_too(stub_teacher: Any, embedded_batch: Batch) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 24)]
        teacher = stub_teacher(nn.Sequential(*layers))
    method = build(teacher, learning_rate=0.05)
    by_hand = ByHand(teacher, torch.optim.SGD, lr=0.05, momentum=0.9)
    for start in (0, 6):
        batch = part(embedded_batch, *range(start, start + 6))
        torch.testing.assert_close(predict(method, batch), by_hand.step(method.pixels(batch)), rtol=0, atol=1e-4)
    assert len(method.encoder.parameters) == 2
    assert not torch.equal(method.encoder.parameters[1], torch.zeros(8))


def test_an_encoder_without_normalisation_is_refused(stub_teacher: Any, without_norm_encoder: nn.Module) -> None:
    with pytest.raises(UserError, match=r"method tent adapts .* of teacher stub has none") as refused:
        build(stub_teacher(without_norm_encoder))
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "offline"},
        {"setting": "mnist"},
        {"learning_rate": 0},
        {"steps": 0},
        {"batch_size": 0},
        {"templates": "nonsense"},
    ],
)
def test_wrong_parameters_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(settings))) as refused:
        build_parameters("tent", settings)
    assert refused.value.exit_code == 2
