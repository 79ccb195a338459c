from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from apm_tta.errors import UserError
from apm_tta.teachers import Preprocessing, Support, Teacher
from apm_tta.teachers.support_features import SupportedTeacher, encode_support, knn_logits

CLASSES = ("cat", "dog", "emu")


def teacher(classifier: Literal["text", "head", "prototypes"] = "prototypes") -> Any:
    """Make a teacher whose features are an image's mean colour, with a head's constants if it has one."""

    def encode(pixels: Tensor) -> Tensor:
        features = pixels.mean((2, 3))
        constants = torch.tensor([[1.0, 0.0]]).expand(len(features), -1)
        return torch.cat([features, constants], dim=1) if classifier == "head" else features

    return SimpleNamespace(
        name="colours",
        classifier=classifier,
        identity={"weights_sha256": "0" * 64},
        device=torch.device("cpu"),
        preprocess=lambda image: torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255,
        encode_image=encode,
        class_weights=lambda classes, _: torch.ones(len(classes), 3),
        logit_scale=7.0,
        classifiers=(classifier,),
        feature_dim=3,
        image_size=2,
        patch_size=None,
        preprocessing=Preprocessing(2, (0.0,) * 3, (1.0,) * 3, "bilinear"),
        scales=lambda features: torch.full_like(features[..., :1], 7.0),
        support=None,
        text_tower=None,
    )


def images(count: int) -> list[tuple[Image.Image, int]]:
    generator = torch.Generator().manual_seed(1)
    colours = torch.randint(1, 256, (count, 3), generator=generator).tolist()
    return [(Image.new("RGB", (2, 2), tuple(colour)), index % 3) for index, colour in enumerate(colours)]


def reference_prototypes(labelled: list[tuple[Image.Image, int]]) -> Tensor:
    rows = []
    for label in range(3):
        units = [torch.tensor(image.getpixel((0, 0))).float() for image, own in labelled if own == label]
        mean = torch.stack([unit / unit.norm() for unit in units]).mean(0)
        rows.append(mean / mean.norm())
    return torch.stack(rows)


def test_a_prototype_is_the_unit_mean_of_a_classs_unit_features() -> None:
    labelled = images(130)  # more than are encoded at once, classes of unequal size
    support = encode_support(teacher(), labelled, CLASSES, "f" * 64)
    supported = SupportedTeacher(teacher(), support, "prototypes")
    torch.testing.assert_close(supported.class_weights(CLASSES, ("a {}",)), reference_prototypes(labelled))
    assert supported.classifier == "prototypes"
    assert supported.logit_scale == 7
    assert supported.support is support
    assert supported.identity == {"weights_sha256": "0" * 64, "support_sha256": "f" * 64}


def test_prototypes_exist_only_for_the_classes_of_the_support() -> None:
    supported = SupportedTeacher(teacher(), encode_support(teacher(), images(9), CLASSES, ""), "prototypes")
    for others in (("dog", "cat", "emu"), ("cat", "dog"), ()):
        with pytest.raises(UserError, match="the support has 3 classes, of which cat is the first") as refused:
            supported.class_weights(others, ())
        assert refused.value.exit_code == 2


def test_a_class_without_an_image_is_named() -> None:
    with pytest.raises(UserError, match=r"no image of emu \(classes without an image: 1\)"):
        encode_support(teacher(), images(2), CLASSES, "")


def test_own_class_weights_stay_if_the_support_is_for_neighbours() -> None:
    supported = SupportedTeacher(teacher("text"), encode_support(teacher("text"), images(9), CLASSES, ""), "text")
    assert torch.equal(supported.class_weights(("any",), ()), torch.ones(1, 3))


def test_everything_else_is_delegated_to_the_teacher(
    embedded_teacher: Teacher, supported_teacher: SupportedTeacher
) -> None:
    for member in ("name", "feature_dim", "image_size", "patch_size", "logit_scale", "device", "classifiers"):
        assert getattr(supported_teacher, member) == getattr(embedded_teacher, member)
    for member in ("preprocessing", "preprocess", "image_encoder", "text_tower", "layers"):
        assert getattr(supported_teacher, member) is getattr(embedded_teacher, member)
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        features = embedded_teacher.encode_image(pixels)
        assert torch.equal(supported_teacher.encode_image(pixels), features)
        assert torch.equal(supported_teacher.scales(features), embedded_teacher.scales(features))
        assert torch.equal(supported_teacher.encode_grid(pixels, 1), embedded_teacher.encode_grid(pixels, 1))
        ours, own = (each.encode_grids(pixels, (2, 0)) for each in (supported_teacher, embedded_teacher))
    assert all(torch.equal(one, other) for one, other in zip(ours, own, strict=True))
    with pytest.raises(AttributeError, match="encode_imgae"):
        _ = supported_teacher.encode_imgae  # type: ignore[attr-defined]


def test_a_heads_constants_do_not_affect_neighbours() -> None:
    labelled = images(60)
    plain, headed = (encode_support(teacher(kind), labelled, CLASSES, "") for kind in ("prototypes", "head"))
    assert torch.equal(plain.features, headed.features)
    pixels = torch.rand(5, 3, 2, 2, generator=torch.Generator().manual_seed(2))
    expected = knn_logits(teacher().encode_image(pixels), plain, 5, 0.07, 3)
    assert torch.equal(knn_logits(teacher("head").encode_image(pixels), headed, 5, 0.07, 3), expected)
    with pytest.raises(UserError, match="load teacher colours with classifier prototypes"):
        SupportedTeacher(teacher("head"), headed, "prototypes")


@pytest.mark.parametrize("neighbours", [1, 7, 20, 500])
def test_neighbours_vote_as_in_dinos_own_evaluation(neighbours: int) -> None:
    """Compare with its ``knn_classifier``, one image and one neighbour at a time."""
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(40, 16, generator=generator)
    labels = torch.randint(0, 5, (40,), generator=generator)
    queries = torch.randn(6, 16, generator=generator)
    support = Support(normalize(features, dim=1), labels, tuple("abcde"), "", lambda _: torch.zeros(3, 4, 4))
    found = knn_logits(queries, support, neighbours, 0.07, 5)
    for query, row in zip(queries, found, strict=True):
        cosines = [float(torch.cosine_similarity(query, feature, dim=0)) for feature in features]
        nearest = sorted(range(40), key=lambda index: -cosines[index])[:neighbours]
        votes = torch.zeros(5)
        for index in nearest:
            votes[labels[index]] += torch.tensor(cosines[index] / 0.07).exp()
        torch.testing.assert_close(row.softmax(0), votes / votes.sum(), rtol=1e-4, atol=1e-6)
        assert row.isfinite().all()
        assert row.argmax() == votes.argmax()
