"""Any torch network as a teacher: its own logits, its own preprocessing, on real weights and on every kind of head."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize
from torchvision.transforms import v2

import apm_tta
from apm_tta.data.class_lists import CLASS_LISTS
from apm_tta.data.sample import CLEAN
from apm_tta.teachers import NetworkTeacher, Preprocessing, load_teacher

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PREPROCESSING = Preprocessing(64, MEAN, STD, "bilinear")
TEN = [f"class {index}" for index in range(10)]


def logits(teacher: NetworkTeacher, pixels: Tensor) -> Tensor:
    features = teacher.encode_image(pixels)
    return teacher.scales(features) * normalize(features, dim=-1) @ teacher.class_weights(teacher.classes, ("{}",)).T


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


class Sharpened(nn.Module):
    """A network whose last layer is not its last step."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(8, 10)

    def forward(self, pixels: Tensor) -> Tensor:
        return 3 * self.head(self.body(pixels)).tanh()


class Answering(Sharpened):
    """A network that returns an object with logits, as those of transformers do."""

    def forward(self, pixels: Tensor) -> Any:
        return type("Output", (), {"logits": self.head(self.body(pixels))})()


class Twice(Sharpened):
    """A network that reads its head's attributes, and calls it twice."""

    def forward(self, pixels: Tensor) -> Tensor:
        features = self.body(pixels)
        return self.head(features) + self.head(features) + self.head.weight.sum()


@pytest.mark.parametrize(
    ("make", "head"),
    [
        (lambda: torchvision.models.resnet18(num_classes=10), "fc"),
        (lambda: torchvision.models.mobilenet_v3_small(num_classes=10), "classifier.3"),
        (lambda: torchvision.models.squeezenet1_1(num_classes=10), ""),
        (lambda: timm.create_model("test_vit", num_classes=10, img_size=64), "head"),
        (lambda: timm.create_model("resnet10t", num_classes=10), "fc"),
        (Sharpened, ""),
        (Answering, "head"),
        (Twice, ""),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 10)), "1"),
    ],
)
def test_cosines_with_the_class_weights_are_the_network_s_own_logits(make: Callable[[], nn.Module], head: str) -> None:
    """Wherever its last linear layer is, and where there is none, every method sees the network's logits."""
    network = seeded(make).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    pixels = torch.randn(5, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        output = network(pixels)
        expected = getattr(output, "logits", output)
        teacher = load_teacher(network, classes=TEN, preprocessing=PREPROCESSING)
        found = logits(teacher, pixels)
    assert teacher.head_layer == head
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    # The network itself is as it was.
    with torch.no_grad():
        output = network(pixels)
    assert torch.equal(getattr(output, "logits", output), expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_a_real_network_answers_photographs_as_it_does_by_itself(shared: Path) -> None:
    """In three lines, on real weights: what timm's own transform and head give, which is right for most of them."""
    network = timm.create_model(
        "tf_efficientnet_lite0", checkpoint_path=shared / "weights" / "tf_efficientnet_lite0.safetensors"
    )
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=network))
    classes = CLASS_LISTS.get("imagenet-1k")().names

    teacher = apm_tta.load_teacher(network, classes=classes, preprocessing=transform)
    zeroshot = apm_tta.load_method("zeroshot", teacher)

    dataset = apm_tta.open_dataset("imagenet-part", shared / "data" / "imagenet-sample")
    entries = dataset.entries(CLEAN)[::14]
    images = [dataset.read(entry, CLEAN).image for entry in entries]
    with torch.no_grad():
        expected = network.eval()(torch.stack([transform(image) for image in images])).argmax(1).tolist()
    predicted = [int(best) for best in zeroshot(images).table["prediction"]]
    assert predicted == expected
    assert sum(best == entry.label for best, entry in zip(predicted, entries, strict=True)) >= 0.8 * len(entries)


def test_methods_that_adapt_the_encoder_work_on_a_network() -> None:
    """TENT moves normalisation layers of a copy; APM is fitted to the network's features; views are made alike."""
    network = seeded(lambda: torchvision.models.resnet18(num_classes=10))
    teacher = load_teacher(network, classes=TEN, preprocessing=PREPROCESSING)
    images = [Image.effect_noise((80, 70), 40 + index).convert("RGB") for index in range(4)]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for name, parameters in {"tent": {}, "mta": {"views": 4}, "apm": {"iterations": 1, "hidden": [16]}}.items():
        predicted = apm_tta.load_method(name, teacher, **parameters)(images)
        assert predicted.logits.shape == (4, 10)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda logits: logits + torch.randn(len(logits), 10), "is random"),
        (lambda logits: nn.functional.dropout(logits, training=True), "is random"),
        (lambda logits: logits - logits.mean(0), "for an image alone than in a batch"),
        (lambda logits: logits.argmax(1, keepdim=True).expand(-1, 10), "returns torch.int64 values"),
        (lambda logits: logits.to_sparse(), "dense floating-point logits"),
    ],
)
def test_a_network_whose_logits_are_not_the_image_s_own_is_refused(
    change: Callable[[Tensor], Tensor], message: str
) -> None:
    """Random, or of the batch: what it says of an image would not be a property of the image."""

    class Changed(Sharpened):
        def forward(self, pixels: Tensor) -> Tensor:
            return change(super().forward(pixels))

    with pytest.raises(apm_tta.UserError, match=message):
        load_teacher(seeded(Changed), classes=TEN, preprocessing=PREPROCESSING)


def test_some_of_its_classes_in_another_order() -> None:
    teacher = load_teacher(seeded(Sharpened), classes=TEN, preprocessing=PREPROCESSING)
    every = teacher.class_weights(TEN, ("{}",))
    assert torch.equal(teacher.class_weights(["class 7", "class 2"], ("{}",)), every[[7, 2]])
    with pytest.raises(apm_tta.UserError, match="has no class 'cat'; its 10 classes are class 0, class 1"):
        teacher.class_weights(["cat"], ("{}",))


def test_a_name_that_two_classes_share_is_taken_by_place_alone() -> None:
    """ImageNet has two classes named crane: all classes in order are told apart, one of them alone is not."""
    names = [*TEN[:8], "crane", "crane"]
    teacher = load_teacher(seeded(Sharpened), classes=names, preprocessing=PREPROCESSING)
    assert len(teacher.class_weights(names, ("{}",))) == 10
    with pytest.raises(apm_tta.UserError, match="has several classes named 'crane'"):
        teacher.class_weights(["crane"], ("{}",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": TEN[:9]}, "returns 10 logits per image, but 9 class names were given"),
        ({"classes": None}, "needs its class names and its preprocessing"),
        ({"preprocessing": None}, "needs its class names and its preprocessing"),
        ({"name": nn.Conv2d(3, 10, 1)}, "it must return logits"),
        ({"name": nn.Linear(7, 10)}, "fails on images"),
        (
            {"name": nn.Sequential(nn.Flatten(), nn.LazyLinear(10))},
            "cannot be copied to cpu: ValueError: Attempted to use an un",
        ),
        ({"preprocessing": lambda image: image}, "returns an object of type Image"),
        ({"preprocessing": v2.PILToTensor()}, "returns torch.uint8 values"),
        (
            {"preprocessing": v2.Compose([v2.Resize((64, 48)), v2.ToImage(), v2.ToDtype(torch.float32, True)])},
            r"must return \(3, S, S\)",
        ),
        ({"classes": "abcdefghij"}, "are a sequence of names, not 'abcdefghij'"),
        ({"device": "tpu"}, "device 'tpu' is not available"),
    ],
)
def test_what_is_not_a_classifier_of_images_is_refused(change: dict[str, Any], message: str) -> None:
    chosen = {"name": seeded(Sharpened), "classes": TEN, "preprocessing": PREPROCESSING, **change}
    with pytest.raises(apm_tta.UserError, match=message) as caught:
        load_teacher(**chosen)
    assert "\n" not in str(caught.value)


def test_a_head_of_zeros_and_one_that_is_not_finite_are_refused() -> None:
    """Both would become numbers: chance, or the first class."""
    network = seeded(Sharpened)
    answering = seeded(Answering)
    nn.init.zeros_(answering.head.weight)
    nn.init.zeros_(answering.head.bias)
    with pytest.raises(apm_tta.UserError, match="all zeros"):
        load_teacher(answering, classes=TEN, preprocessing=PREPROCESSING)
    nn.init.constant_(network.head.weight, float("nan"))
    with pytest.raises(apm_tta.UserError, match="not finite"):
        load_teacher(network, classes=TEN, preprocessing=PREPROCESSING)


def silent(network: nn.Module) -> nn.Module:
    """Silence the first layer."""
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    nn.init.zeros_(first.weight)
    return network


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: silent(seeded(Sharpened)), "returns the same logits for every image"),
        (lambda: silent(seeded(Answering)), "returns the same logits for every image"),
        (lambda: silent(seeded(lambda: torchvision.models.squeezenet1_1(num_classes=10))), "returns the same logits"),
    ],
)
def test_a_network_that_sees_nothing_is_refused(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(apm_tta.UserError, match=message):
        load_teacher(make(), classes=TEN, preprocessing=PREPROCESSING)


def test_a_head_with_a_bias_alone_is_refused() -> None:
    """Every image would get the class of the largest bias."""
    answering = seeded(Answering)
    nn.init.zeros_(answering.head.weight)
    with pytest.raises(apm_tta.UserError, match="the head of teacher Answering is all zeros"):
        load_teacher(answering, classes=TEN, preprocessing=PREPROCESSING)


def test_a_parameter_that_is_not_finite_is_named_though_no_logit_shows_it() -> None:
    network = seeded(Answering)
    network.unused = nn.Parameter(torch.tensor([1.0, float("inf")]))
    with pytest.raises(apm_tta.UserError, match="has a parameter that is not finite: unused"):
        load_teacher(network, classes=TEN, preprocessing=PREPROCESSING)


def test_the_order_of_its_classes_is_part_of_a_network_s_identity() -> None:
    identities = [
        load_teacher(seeded(Sharpened), classes=names, preprocessing=PREPROCESSING).identity
        for names in (TEN, TEN, [*TEN[:8], TEN[9], TEN[8]])
    ]
    assert identities[0] == identities[1] != identities[2]


def crops(resized: int | tuple[int, int]) -> v2.Compose:
    mode = v2.InterpolationMode.BILINEAR
    pixels = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]
    return v2.Compose([v2.Resize(resized, mode), v2.CenterCrop(64), *pixels])


def test_the_part_of_an_image_that_a_network_sees_is_part_of_its_identity() -> None:
    """Nothing else tells these transforms apart: size, normalisation and interpolation are the same."""
    transforms = [crops(64), crops(72), crops((64, 64)), crops(64)]
    teachers = [load_teacher(seeded(Sharpened), classes=TEN, preprocessing=each) for each in transforms]
    stated = [teacher.identity["preprocessing"] for teacher in teachers]
    assert len(set(stated)) == 3
    assert stated[0] == stated[3]
    wide, cropped, squashed = (json.loads(each)["region"]["640 x 480"] for each in stated[:3])
    assert wide == pytest.approx([32, 223, 1, 254], abs=2)
    assert cropped == pytest.approx([43, 212, 15, 240], abs=2)
    assert squashed == pytest.approx([1, 254, 1, 254], abs=2)


def test_names_of_a_network_s_own_do_not_go_with_a_named_teacher() -> None:
    with pytest.raises(apm_tta.UserError, match="a named teacher has its own"):
        load_teacher("embedded", classes=TEN)  # type: ignore[call-overload]
    with pytest.raises(apm_tta.UserError, match=r"must be a name or a torch\.nn\.Module, got int"):
        load_teacher(7)  # type: ignore[call-overload]
