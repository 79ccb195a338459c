from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from apm_tta.data.cards import load_card
from apm_tta.data.task import Task
from apm_tta.errors import UserError
from apm_tta.methods import METHODS, Batch, build_parameters
from apm_tta.methods.reliable_layers import published_rate, top_layers
from apm_tta.methods.sar import Sar
from apm_tta.teachers import Teacher

CLASSES = load_card("fashion-mnist").class_list.names
TASK = Task(CLASSES)


def build(teacher: Teacher, task: Task = TASK, **settings: Any) -> Sar:
    method = METHODS.get("sar")(teacher, task, build_parameters("sar", settings), 0)
    assert isinstance(method, Sar)
    return method


def part(batch: Batch, *indices: int) -> Batch:
    return Batch(tuple(batch.ids[i] for i in indices), tuple(batch.images[i] for i in indices))


def predict(method: Sar, batch: Batch) -> Tensor:
    with torch.no_grad():
        return method.predict(Batch(batch.ids, batch.images)).logits


@pytest.fixture(scope="module")
def stream(clean_images: Callable[[int], Batch]) -> list[Batch]:
    """Return four batches of eight clean images: the teacher is confident about most and uncertain about some."""
    whole = clean_images(32)
    return [part(whole, *range(start, start + 8)) for start in range(0, 32, 8)]


class ByHand:
    """SAR following section 4 and algorithm 1 of the paper, on ``torch.optim.SGD``.

    Attributes:
        kept: images that pass the first and the second filter, per batch.
        averages: the moving average after each batch.
    """

    def __init__(self, teacher: Any, rate: float, top: str, rho: float = 0.05, recovery: float = 0.2) -> None:
        self.weights = teacher.class_weights(CLASSES, ("a photo of a {}.",))
        self.scale = teacher.logit_scale
        self.encoder = copy.deepcopy(teacher.image_encoder)
        self.moving = []
        for name, module in self.encoder.named_modules():
            if isinstance(module, nn.LayerNorm) and not any(each in name for each in top.split()):
                self.moving += [module.weight.requires_grad_(), module.bias.requires_grad_()]
        self.source = [parameter.detach().clone() for parameter in self.moving]
        self.optimizer = torch.optim.SGD(self.moving, lr=rate, momentum=0.9)
        self.rho, self.recovery = rho, recovery
        self.average: float | None = None
        self.kept: list[tuple[list[int], list[int]]] = []
        self.averages: list[float | None] = []

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder(pixels)
        logits = self.scale * (features / features.norm(dim=1, keepdim=True)) @ self.weights.T
        return logits, torch.special.entr(logits.softmax(1)).sum(1)

    def step(self, pixels: Tensor) -> Tensor:
        bound = 0.4 * math.log(10)
        logits, unsure = self.forward(pixels)
        first = [index for index, value in enumerate(unsure.tolist()) if value < bound]
        gradients = torch.autograd.grad(unsure[first].mean(), self.moving)
        length = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        before = [parameter.detach().clone() for parameter in self.moving]
        with torch.no_grad():
            for parameter, gradient in zip(self.moving, gradients, strict=True):
                parameter += self.rho * gradient / length
        _, unsure = self.forward(pixels)
        second = [index for index in first if unsure[index] < bound]
        loss = unsure[second].mean()
        self.optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter, value in zip(self.moving, before, strict=True):
                parameter.copy_(value)
        self.optimizer.step()
        value = loss.item()
        self.average = value if self.average is None else 0.9 * self.average + 0.1 * value
        if self.average < self.recovery:
            with torch.no_grad():
                for parameter, value in zip(self.moving, self.source, strict=True):
                    parameter.copy_(value)
        self.kept.append((first, second))
        self.averages.append(self.average)
        return logits.detach()


TOP = "resblocks.3 ln_post"


def test_batches_online_are_as_published(embedded_teacher: Teacher, stream: list[Batch]) -> None:
    """The parameters are the defaults except for the recovery, which has its own test."""
    method = build(embedded_teacher, recovery=0)
    by_hand = ByHand(embedded_teacher, rate=1e-3, top=TOP, recovery=0)
    for index, batch in enumerate(stream):
        ours = predict(method, batch)
        torch.testing.assert_close(ours, by_hand.step(method.pixels(batch)), rtol=0, atol=5e-5)
        assert method.average == pytest.approx(by_hand.average, abs=1e-5)
        moved = (ours - method.logits(method.features(batch))).abs().max()
        assert moved < 1e-4 if index == 0 else moved > 4e-4
    assert all(2 <= len(first) < 8 for first, _ in by_hand.kept), "the first filter passed all images, or none"


def test_the_step_looks_for_the_sharpest_loss_and_filters_again_there(
    embedded_teacher: Teacher, stream: list[Batch]
) -> None:
    """A long step to the sharpest point makes some images uncertain."""
    method = build(embedded_teacher, recovery=0, rho=0.3, learning_rate=0.005)
    by_hand = ByHand(embedded_teacher, rate=0.005, top=TOP, rho=0.3, recovery=0)
    flat = ByHand(embedded_teacher, rate=0.005, top=TOP, rho=0.0, recovery=0)
    difference = 0.0
    for batch in stream:
        ours = predict(method, batch)
        torch.testing.assert_close(ours, by_hand.step(method.pixels(batch)), rtol=0, atol=5e-5)
        difference = max(difference, float((ours - flat.step(method.pixels(batch))).abs().max()))
    assert difference > 1e-3, "the result would be the same without the climb"
    assert any(second != first for first, second in by_hand.kept), "the second filter excluded nothing"


def test_a_collapse_is_recovered_from(embedded_teacher: Teacher, stream: list[Batch]) -> None:
    """The parameters are restored when the average falls below the bound; momentum and average stay."""
    free = ByHand(embedded_teacher, rate=0.005, top=TOP, recovery=0)
    method = build(embedded_teacher, recovery=0, learning_rate=0.005)
    for batch in stream:
        free.step(method.pixels(batch))
    bound = sum(sorted(value for value in free.averages[:3] if value is not None)[:2]) / 2
    method = build(embedded_teacher, recovery=bound, learning_rate=0.005)
    by_hand = ByHand(embedded_teacher, rate=0.005, top=TOP, recovery=bound)
    recoveries = []
    for batch in stream:
        ours = predict(method, batch)
        torch.testing.assert_close(ours, by_hand.step(method.pixels(batch)), rtol=0, atol=5e-5)
        pairs = zip(method.encoder.parameters, by_hand.source, strict=True)
        recoveries.append(all(torch.equal(ours, source) for ours, source in pairs))
        assert method.average == pytest.approx(by_hand.average, abs=1e-5)
        assert method.optimizer.state, "the momentum is gone"
    assert True in recoveries[:3]
    assert False in recoveries[:3]


def test_a_high_bound_recovers_after_every_batch(embedded_teacher: Teacher, stream: list[Batch]) -> None:
    method = build(embedded_teacher, recovery=100, learning_rate=0.05)
    for batch in stream:
        frozen = method.logits(method.features(Batch(batch.ids, batch.images)))
        torch.testing.assert_close(predict(method, batch), frozen, rtol=0, atol=1e-4)


def test_without_a_confident_image_only_momentum_moves_parameters(
    embedded_teacher: Teacher, stream: list[Batch]
) -> None:
    """Nothing divides by zero, and the moving average stays."""
    method = build(embedded_teacher, margin=1e-9)
    before = [parameter.detach().clone() for parameter in method.encoder.parameters]
    predict(method, stream[0])
    assert all(torch.equal(*pair) for pair in zip(method.encoder.parameters, before, strict=True))
    assert method.average is None
    method = build(embedded_teacher, recovery=0)
    predict(method, stream[0])
    after = [parameter.detach().clone() for parameter in method.encoder.parameters]
    average, method.margin = method.average, 1e-9
    predict(method, stream[1])
    assert method.average == average
    for start, once, twice in zip(before, after, method.encoder.parameters, strict=True):
        torch.testing.assert_close(twice.detach() - once, 0.9 * (once - start), rtol=1e-2, atol=3e-7)


def test_a_reset_forgets_everything(embedded_teacher: Teacher, stream: list[Batch]) -> None:
    method = build(embedded_teacher, recovery=0)
    first = predict(method, stream[1])
    source = [parameter.detach().clone() for parameter in build(embedded_teacher).encoder.parameters]
    used = method.optimizer
    assert not any(torch.equal(*pair) for pair in zip(method.encoder.parameters, source, strict=True))
    method.reset()
    assert all(torch.equal(*pair) for pair in zip(method.encoder.parameters, source, strict=True))
    assert method.optimizer is not used
    assert not method.optimizer.state
    assert method.average is None
    assert torch.equal(predict(method, stream[1]), first)


def test_defaults_are_the_authors(embedded_teacher: Teacher) -> None:
    method = build(embedded_teacher)
    assert method.margin == pytest.approx(0.4 * math.log(10))
    assert (method.parameters.rho, method.parameters.recovery, method.stream_batch) == (0.05, 0.2, 64)
    assert (method.cost().image_forwards, method.cost().image_backwards) == (2, 2)
    assert method.resolved_parameters()["learning_rate"] == 1e-3
    assert build(embedded_teacher, batch_size=16).resolved_parameters()["learning_rate"] == pytest.approx(1e-3 / 4)
    adapted = method.resolved_parameters()["adapted_layers"]
    kept = [f"visual.transformer.resblocks.{block}.ln_{which}" for block in range(3) for which in (1, 2)]
    assert adapted == ["visual.ln_pre", *kept]
    whole = build(embedded_teacher, adapt_top=True).resolved_parameters()["adapted_layers"]
    top = ["visual.transformer.resblocks.3.ln_1", "visual.transformer.resblocks.3.ln_2", "visual.ln_post"]
    assert whole == [*adapted, *top]


def test_the_top_is_the_layers_that_the_authors_name() -> None:
    """These are ``layer4`` of a ResNet; blocks 9 to 11 and the final norm of ViT-Base."""
    import timm

    resnet = timm.create_model("resnet26", pretrained=False)
    top = top_layers(resnet)
    assert top
    assert all(name.startswith("layer4.") for name in top)
    norms = {name for name, layer in resnet.named_modules() if isinstance(layer, nn.BatchNorm2d)}
    assert {name for name in norms if name.startswith("layer4.")} == top
    assert published_rate(resnet, 64) == 2.5e-4
    assert published_rate(resnet, 16) == pytest.approx(2.5e-4 / 64 * 16 * 2)
    vit = timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=32)
    blocks = {f"blocks.{block}.norm{which}" for block in (9, 10, 11) for which in (1, 2)}
    assert top_layers(vit) == {*blocks, "norm"}
    assert published_rate(vit, 2) == pytest.approx(1e-3 / 64 * 2)


def test_for_single_images_the_rate_is_doubled() -> None:
    """``main.py`` ends the choice of the rate with ``if args.exp_type == 'bs1'``: of both kinds of networks."""
    layer, batch = nn.Sequential(nn.LayerNorm(4)), nn.Sequential(nn.LayerNorm(4), nn.BatchNorm2d(4))
    assert published_rate(layer, 1) == pytest.approx(2 * (1e-3 / 64))
    assert published_rate(batch, 1) == pytest.approx(2 * (2 * 2.5e-4 / 64))
    assert published_rate(batch, 2) == pytest.approx(2 * (2.5e-4 / 64 * 2))


def test_batch_normalisation_uses_the_batchs_statistics(
    stub_teacher: Any, batch_norm_encoder: nn.Module, embedded_batch: Batch
) -> None:
    teacher = stub_teacher(batch_norm_encoder)
    trained = copy.deepcopy(batch_norm_encoder)
    for layer in trained:  # type: ignore[attr-defined]
        layer.train(isinstance(layer, nn.BatchNorm2d))
    method = build(teacher)
    pixels = method.pixels(embedded_batch)
    ours = predict(method, embedded_batch)
    with torch.no_grad():
        expected = method.logits(trained(pixels))
        running = method.logits(teacher.encode_image(pixels))
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4)
    assert (expected - running).abs().max() > 0.1
    assert method.resolved_parameters() == {"learning_rate": 2.5e-4, "adapted_layers": ["1", "5"]}


def test_an_encoder_without_normalisation_is_refused(stub_teacher: Any, without_norm_encoder: nn.Module) -> None:
    with pytest.raises(UserError, match=r"method sar adapts .* of teacher stub has none") as refused:
        build(stub_teacher(without_norm_encoder))
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    "settings",
    [{"margin": 0}, {"margin": 1.1}, {"rho": -0.1}, {"recovery": -1}, {"learning_rate": 0}, {"batch_size": 0}],
)
def test_wrong_parameters_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(settings))) as refused:
        build_parameters("sar", settings)
    assert refused.value.exit_code == 2
