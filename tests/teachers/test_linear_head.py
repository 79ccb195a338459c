"""A linear head as cosines, on real weights: tf_efficientnet_lite0 and 250 images of ImageNet, beside the checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import normalize

from apm_tta.data.class_lists import CLASS_LISTS, ClassList
from apm_tta.errors import UserError
from apm_tta.teachers import Teacher, load_teacher

IMAGENET: ClassList = CLASS_LISTS.get("imagenet-1k")()


def drawn_pixels(count: int) -> Tensor:
    return torch.randn(count, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def logits(teacher: Teacher, features: Tensor, weights: Tensor) -> Tensor:
    return teacher.scales(features) * normalize(features, dim=-1) @ weights.T


@pytest.fixture(scope="module")
def weights(shared: Path) -> Path:
    return shared / "weights" / "tf_efficientnet_lite0.safetensors"


@pytest.fixture(scope="module")
def teacher(weights: Path) -> Teacher:
    return load_teacher(f"timm:tf_efficientnet_lite0:{weights}")


def test_its_own_head_classifies_222_of_250_images_correctly(teacher: Teacher, weights: Path, shared: Path) -> None:
    """This is as many as timm alone; cosines with the head's rows would reach 219."""
    model: Any = timm.create_model("tf_efficientnet_lite0", checkpoint_path=str(weights)).eval()
    rows = normalize(model.classifier.weight.detach(), dim=1)
    paths = sorted((shared / "data" / "imagenet-sample" / "val").glob("*/*"))
    class_weights = teacher.class_weights(IMAGENET.names, ())
    right = by_rows_alone = 0
    with torch.no_grad():
        for start in range(0, len(paths), 25):
            part = paths[start : start + 25]
            pixels = torch.stack([teacher.preprocess(Image.open(path).convert("RGB")) for path in part])
            labels = torch.tensor([IMAGENET.folders.index(path.parent.name) for path in part])
            # A CPU convolves twice as fast where channels come last.
            features = teacher.encode_image(pixels.to(memory_format=torch.channels_last))
            found = logits(teacher, features, class_weights)
            expected = model.classifier(features[:, :-2])
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
            assert torch.equal(found.argmax(1), expected.argmax(1))
            right += int((found.argmax(1) == labels).sum())
            by_rows_alone += int(((features[:, :-2] @ rows.T).argmax(1) == labels).sum())
    assert (len(paths), right, by_rows_alone) == (250, 222, 219)


def test_its_logits_are_those_of_timms_own_forward(teacher: Teacher, weights: Path) -> None:
    model = timm.create_model("tf_efficientnet_lite0", checkpoint_path=str(weights)).eval()
    pixels = drawn_pixels(4)
    found = logits(teacher, teacher.encode_image(pixels), teacher.class_weights(IMAGENET.names, ()))
    expected = model(pixels).detach()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_a_part_of_imagenets_classes_takes_the_heads_rows_for_them(teacher: Teacher) -> None:
    part = CLASS_LISTS.get("imagenet-a")()
    whole = teacher.class_weights(IMAGENET.names, ())
    assert part.imagenet_rows is not None
    assert torch.equal(teacher.class_weights(part.names, ()), whole[list(part.imagenet_rows)])
    torch.testing.assert_close(whole.norm(dim=1), torch.ones(1000))


def test_it_refuses_other_classes(teacher: Teacher) -> None:
    with pytest.raises(UserError, match="ImageNet's 1000 classes, not these 2; use --classifier prototypes") as refused:
        teacher.class_weights(("cat", "dog"), ())
    assert refused.value.exit_code == 2


def test_stages_of_a_convolutional_network_are_grids(teacher: Teacher) -> None:
    pixels = drawn_pixels(1)
    with torch.no_grad():
        assert teacher.encode_grid(pixels).shape == (1, 7, 7, 320)
        assert teacher.encode_grid(pixels, 0).shape == (1, 112, 112, 16)
    with pytest.raises(UserError, match="layers 0 to 4; there is no layer 5"):
        teacher.encode_grid(pixels, 5)


def test_the_image_encoder_contains_exactly_what_features_depend_on(teacher: Teacher) -> None:
    pixels = drawn_pixels(1)
    encoder = teacher.image_encoder
    assert not any("classifier" in name for name, _ in encoder.named_parameters())
    assert any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in encoder.modules())
    parameters = {name: value.clone().requires_grad_() for name, value in encoder.named_parameters()}
    features = torch.func.functional_call(encoder, parameters, (pixels,))
    assert torch.equal(features, teacher.encode_image(pixels))
    assert features.shape == (1, teacher.feature_dim)
    gradients = torch.autograd.grad(features.sum(), list(parameters.values()))
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_a_model_that_is_built_under_autocast_is_the_same(teacher: Teacher, weights: Path) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        built = load_teacher(f"timm:tf_efficientnet_lite0:{weights}", cache=None)
        class_weights = built.class_weights(IMAGENET.names, ())
    assert built.logit_scale == teacher.logit_scale
    assert torch.equal(class_weights, teacher.class_weights(IMAGENET.names, ()))
