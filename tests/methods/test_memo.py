from __future__ import annotations

import copy
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from apm_tta.data.cards import load_card
from apm_tta.data.task import Task
from apm_tta.errors import UserError
from apm_tta.methods import METHODS, Batch, build_parameters
from apm_tta.methods.memo import Memo, is_resnext_101
from apm_tta.teachers import Teacher, load_teacher
from apm_tta.teachers.preprocessing import Preprocessing

CLASSES = load_card("fashion-mnist").class_list.names
TASK = Task(CLASSES, crop_scale=(0.5, 1.0))


def build(teacher: Teacher, task: Task = TASK, **settings: Any) -> Memo:
    method = METHODS.get("memo")(teacher, task, build_parameters("memo", settings), 0)
    assert isinstance(method, Memo)
    return method


def part(batch: Batch, *indices: int) -> Batch:
    return Batch(tuple(batch.ids[i] for i in indices), tuple(batch.images[i] for i in indices))


def predict(method: Memo, batch: Batch) -> Tensor:
    with torch.no_grad():
        return method.predict(Batch(batch.ids, batch.images)).logits


def by_hand(
    teacher: Any, views: Tensor, optimizer: Any, which: str = "norm", steps: int = 1, **settings: float
) -> tuple[Tensor, Tensor]:
    """Adapt to one image by the paper's algorithm 1; return logits before and after."""
    model = copy.deepcopy(teacher.built.model)
    weights = teacher.class_weights(CLASSES, ("a photo of a {}.",))
    moving: list[nn.Parameter] = []
    for module in model.visual.modules():
        if which == "all" or isinstance(module, nn.LayerNorm):
            moving += module._parameters.values()  # each module's own, so that none comes twice
    moving = [parameter.requires_grad_() for parameter in moving if parameter is not None]

    def logits(pixels: Tensor) -> Tensor:
        features = model.encode_image(pixels)
        return model.logit_scale.exp() * (features / features.norm(dim=1, keepdim=True)) @ weights.T

    before = logits(views[:1]).detach()
    step = optimizer(moving, **settings)
    for _ in range(steps):
        mean = logits(views).softmax(1).mean(0)
        step.zero_grad()
        torch.special.entr(mean).sum().backward()
        step.step()
    return before, logits(views[:1]).detach()


@pytest.mark.parametrize(
    ("asked", "optimizer", "settings"),
    [
        ({}, torch.optim.AdamW, {"lr": 1e-5, "weight_decay": 0.01}),
        ({"parameters": "all"}, torch.optim.AdamW, {"lr": 1e-5, "weight_decay": 0.01}),
        ({"optimizer": "sgd"}, torch.optim.SGD, {"lr": 2.5e-4}),
        (
            {"steps": 3, "learning_rate": 1e-3, "weight_decay": 0.5},
            torch.optim.AdamW,
            {"lr": 1e-3, "weight_decay": 0.5},
        ),
    ],
)
def test_a_step_is_that_of_the_paper(
    asked: dict[str, Any], optimizer: Any, settings: dict[str, float], embedded_teacher: Teacher, embedded_batch: Batch
) -> None:
    batch = part(embedded_batch, 0, 1, 2)
    method = build(embedded_teacher, views=8, **asked)
    ours = predict(method, batch)
    for index, answer in enumerate(ours):
        views = method.view_pixels(batch, index, method.spec)
        before, after = by_hand(
            embedded_teacher, views, optimizer, asked.get("parameters", "norm"), asked.get("steps", 1), **settings
        )
        torch.testing.assert_close(answer, after[0], rtol=0, atol=5e-5)
        assert (after - before).abs().max() > 4e-4, "nothing moved"


def test_encoder_and_optimiser_are_reset_between_images(embedded_teacher: Teacher, embedded_batch: Batch) -> None:
    method = build(embedded_teacher, views=8, learning_rate=1e-3)
    both = predict(method, part(embedded_batch, 0, 1))
    assert torch.equal(predict(method, part(embedded_batch, 1))[0], both[1])
    assert torch.equal(
        predict(build(embedded_teacher, views=8, learning_rate=1e-3), part(embedded_batch, 1))[0], both[1]
    )


def test_defaults_are_the_authors(
    embedded_teacher: Teacher, stub_teacher: Any, batch_norm_encoder: nn.Module, stated: Any
) -> None:
    def chosen(teacher: Any, task: Task) -> dict[str, Any]:
        names = ("views", "optimizer", "learning_rate", "weight_decay", "crop_scale")
        return {name: stated(build(teacher, task))[name] for name in names}

    cifar = Task(CLASSES, family="cifar")
    transformer = {"optimizer": "adamw", "learning_rate": 1e-5, "weight_decay": 0.01, "crop_scale": [0.08, 1.0]}
    assert chosen(embedded_teacher, Task(CLASSES)) == {"views": 64, **transformer}
    assert chosen(embedded_teacher, cifar) == {"views": 32, **transformer}
    convolutions = {"optimizer": "sgd", "weight_decay": 0.0, "crop_scale": [0.08, 1.0]}
    teacher = stub_teacher(batch_norm_encoder)
    assert chosen(teacher, Task(CLASSES)) == {"views": 64, "learning_rate": 2.5e-4, **convolutions}
    assert chosen(teacher, cifar) == {"views": 32, "learning_rate": 5e-3, **convolutions}
    assert build(embedded_teacher).spec.augmix
    cost = build(embedded_teacher, views=8, steps=2).cost()
    assert (cost.image_forwards, cost.image_backwards, cost.text_forwards) == (17, 16, 0)


def test_batch_normalisation_blends_its_statistics_with_the_images(
    stub_teacher: Any, batch_norm_encoder: nn.Module, embedded_batch: Batch
) -> None:
    """By hand: 16 parts running averages, and one part the views' in the step, the crop's in the prediction."""
    teacher = stub_teacher(batch_norm_encoder)
    method = build(teacher, views=8, augmix=False, learning_rate=0.05)
    weights = teacher.class_weights(CLASSES, ())
    batch = part(embedded_batch, 0, 1)
    ours = predict(method, batch)
    for index, answer in enumerate(ours):
        views = method.view_pixels(batch, index, method.spec)
        encoder = copy.deepcopy(batch_norm_encoder).requires_grad_(False)
        norms = [layer for layer in encoder if isinstance(layer, nn.BatchNorm2d)]
        moving = [parameter.requires_grad_() for layer in norms for parameter in (layer.weight, layer.bias)]

        def logits(pixels: Tensor, encoder: nn.Module = encoder) -> Tensor:
            values = pixels
            for layer in encoder:  # type: ignore[attr-defined]
                if isinstance(layer, nn.BatchNorm2d):
                    mean = 16 / 17 * layer.running_mean + values.detach().mean((0, 2, 3)) / 17
                    variance = 16 / 17 * layer.running_var + values.detach().var((0, 2, 3)) / 17
                    normed = (values - mean[:, None, None]) / (variance[:, None, None] + layer.eps).sqrt()
                    values = normed * layer.weight[:, None, None] + layer.bias[:, None, None]
                else:
                    values = layer(values)
            return 20 * values / values.norm(dim=1, keepdim=True) @ weights.T

        before = logits(views[:1]).detach()
        step = torch.optim.SGD(moving, lr=0.05)
        torch.special.entr(logits(views).softmax(1).mean(0)).sum().backward()
        step.step()
        torch.testing.assert_close(answer, logits(views[:1])[0].detach(), rtol=0, atol=3e-4)
        assert (answer - before).abs().max() > 3e-3, "nothing moved"
        assert (before - method.logits(teacher.encode_image(views[:1]))).abs().max() > 3e-3, "nothing was blended"
    assert torch.equal(predict(method, part(batch, 1))[0], ours[1])


def test_an_encoder_without_normalisation_is_refused(
    stub_teacher: Any, without_norm_encoder: nn.Module, embedded_batch: Batch
) -> None:
    teacher = stub_teacher(without_norm_encoder)
    with pytest.raises(UserError, match="of teacher stub has none") as refused:
        build(teacher)
    assert refused.value.exit_code == 2
    assert predict(build(teacher, parameters="all", views=4), part(embedded_batch, 0)).isfinite().all()


@pytest.mark.parametrize(
    "settings",
    [
        {"parameters": "head"},
        {"views": 1},
        {"optimizer": "adam"},
        {"learning_rate": 0},
        {"weight_decay": -0.1},
        {"steps": 0},
        {"prior_strength": -1},
    ],
)
def test_wrong_parameters_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(settings))) as refused:
        build_parameters("memo", settings)
    assert refused.value.exit_code == 2


def small_network() -> nn.Module:
    """Build a network with Layer normalisation and a linear head."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        body = [nn.Conv2d(3, 8, 5, stride=3), nn.GELU(), nn.Flatten(), nn.LayerNorm(8 * 64), nn.Linear(8 * 64, 16)]
        return nn.Sequential(*body, nn.GELU(), nn.Linear(16, len(CLASSES))).eval()


def head_teacher() -> Any:
    preprocessing = Preprocessing(28, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "bilinear")
    return load_teacher(small_network(), classes=CLASSES, preprocessing=preprocessing)


@pytest.mark.parametrize(("optimizer", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
@pytest.mark.parametrize("crop_in_loss", [True, False])
def test_with_head_every_parameter_of_the_network_moves(
    optimizer: str, kind: Any, crop_in_loss: bool, embedded_batch: Batch
) -> None:
    """Compare with the network itself, adapted as a whole, on two images after another."""
    settings = {"views": 6, "learning_rate": 0.05, "weight_decay": 0.1, "steps": 2}
    chosen = {"parameters": "with_head", "optimizer": optimizer, "crop_in_loss": crop_in_loss}
    method = build(head_teacher(), **chosen, **settings)
    assert method.resolved_parameters()["adapted_head"] is True
    assert method.cost().image_forwards == 13
    batch = part(embedded_batch, 0, 1)
    ours = predict(method, batch)
    for index in range(2):
        views = method.view_pixels(batch, index, method.spec)
        assert len(views) == 6 + (not crop_in_loss)
        network = small_network().requires_grad_()
        step = kind(network.parameters(), lr=0.05, weight_decay=0.1)
        for _ in range(2):
            mean = network(views[-6:]).softmax(1).mean(0)
            step.zero_grad()
            torch.special.entr(mean).sum().backward()
            step.step()
        torch.testing.assert_close(ours[index : index + 1], network(views[:1]).detach(), rtol=0, atol=2e-4)
    frozen = predict(build(head_teacher(), **{**chosen, "parameters": "all"}, **settings), batch)
    assert (frozen - ours).abs().max() > 1e-2


def test_without_a_head_of_its_own_the_encoder_moves_alone(embedded_teacher: Teacher, embedded_batch: Batch) -> None:
    """Class weights from text are no layer of the network, nor are those of a network that ends otherwise."""
    batch = part(embedded_batch, 0, 1)
    logits = [predict(build(embedded_teacher, parameters=which, views=4), batch) for which in ("with_head", "all")]
    assert torch.equal(*logits)
    preprocessing = Preprocessing(28, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "bilinear")
    scaled = nn.Sequential(small_network(), nn.Tanh())
    teacher: Any = load_teacher(scaled.eval(), classes=CLASSES, preprocessing=preprocessing)
    for classes in (CLASSES, CLASSES[::-1]):  # whatever their order
        method = build(teacher, Task(classes), parameters="with_head", views=4)
        assert method.resolved_parameters()["adapted_head"] is False


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnext101_32x8d", True),
        ("resnext101_64x4d", True),
        ("resnet101", False),
        ("resnext50_32x4d", False),
        ("vit_tiny_patch16_224", False),
    ],
)
def test_adamw_is_also_for_resnext_101(name: str, expected: bool) -> None:
    with torch.device("meta"):
        assert is_resnext_101(timm.create_model(name)) is expected


def test_the_authors_network_is_recognised_too() -> None:
    with torch.device("meta"):
        assert is_resnext_101(torchvision.models.resnext101_32x8d())
        assert not is_resnext_101(torchvision.models.resnet50())


@pytest.mark.parametrize("name", ["memo", "tent", "sar"])
def test_channels_last_changes_no_more_than_rounding(
    name: str, batch_norm_encoder: nn.Module, stub_teacher: Any, embedded_batch: Batch
) -> None:
    """The copy has the other layout through restorations; the teacher has its own."""
    views = {"views": 4} if name == "memo" else {}

    def answers(channels_last: bool) -> Tensor:
        teacher = stub_teacher(batch_norm_encoder)
        parameters = build_parameters(name, {"channels_last": channels_last, "learning_rate": 0.01, **views})
        method: Any = METHODS.get(name)(teacher, TASK, parameters, 0)
        with torch.no_grad():
            given = [method.predict(Batch(embedded_batch.ids, embedded_batch.images)).logits for _ in range(2)]
        weights = [each for each in method.encoder.network.modules() if isinstance(each, nn.Conv2d)]
        layouts = {each.weight.is_contiguous(memory_format=torch.channels_last) for each in weights[1:]}
        assert layouts == {channels_last}
        assert teacher.image_encoder[4].weight.is_contiguous()
        return torch.cat(given)

    torch.testing.assert_close(answers(True), answers(False), rtol=0, atol=1e-3)
