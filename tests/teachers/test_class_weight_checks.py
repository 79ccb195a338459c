"""Class weights with which a class cannot be predicted are refused, or named where a published list has them."""

from __future__ import annotations

import logging

import pytest
import torch
from torch.nn.functional import normalize

from apm_tta.data.class_lists import CLASS_LISTS
from apm_tta.errors import UserError
from apm_tta.teachers import load_teacher
from apm_tta.teachers.base import Classifier
from apm_tta.teachers.class_weight_checks import check_class_weights, equal_rows

THREE = ("bag", "boot", "coat")


def drawn(classes: int, width: int = 16) -> torch.Tensor:
    return normalize(torch.randn(classes, width, generator=torch.Generator().manual_seed(0)), dim=1)


def test_equal_rows_are_those_equal_up_to_rounding() -> None:
    weights = drawn(3000)
    weights[2500] = weights[7] + 1e-8
    weights[1024] = weights[1023]
    weights[5] = normalize(weights[4] + 1e-4, dim=0)  # similar, and another row
    assert equal_rows(weights) == [(7, 2500), (1023, 1024)]
    assert equal_rows(torch.ones(3, 1)) == [(0, 1), (0, 2), (1, 2)]


@pytest.mark.parametrize("classifier", ["text", "head", "prototypes"])
@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_weights_that_are_none_are_refused(classifier: Classifier, value: float) -> None:
    weights = drawn(3)
    weights[1] = value
    with pytest.raises(UserError, match="no weights for class 'boot': they are all zeros, or not finite") as refused:
        check_class_weights("small", classifier, THREE, weights)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("classifier", ["head", "prototypes"])
def test_weights_that_are_the_same_for_all_are_refused(classifier: Classifier) -> None:
    with pytest.raises(UserError, match="equal weights for all classes: every image"):
        check_class_weights("small", classifier, THREE, drawn(1).expand(3, -1))


@pytest.mark.parametrize("classifier", ["head", "prototypes"])
def test_two_equal_rows_that_do_not_come_from_text_are_named(
    classifier: Classifier, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "apm_tta"):
        check_class_weights("small", classifier, THREE, drawn(2)[[0, 1, 0]])
    assert f"cannot tell apart 'bag' and 'coat' (0, 2): its {classifier} has equal weights" in caplog.text


def test_imagenet_s_published_names_are_followed_and_the_equal_ones_named(caplog: pytest.LogCaptureFixture) -> None:
    """Noted in every run, whether the class weights were computed or read from the cache."""
    names = CLASS_LISTS.get("imagenet-1k")().names
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "apm_tta"):
            load_teacher("embedded").class_weights(names, ("a photo of a {}.",))
        names_said, words_said = (record.getMessage() for record in caplog.records)
        assert "'missile' and 'missile' (657, 744), 'sunglasses' and 'sunglasses' (836, 837): these" in names_said
        assert "'tench' and 'tiger shark' (0, 3)" in words_said
        assert words_said.endswith("it does not know the words, so that nothing but rounding decides between the two")
    with pytest.raises(UserError, match="their prompts are equal"):
        load_teacher("embedded").class_weights(names, ("a photo",))
    some = [names[row] for row in (3, 657, 744)]
    with pytest.raises(UserError, match="cannot tell apart 'missile' and 'missile'"):
        load_teacher("embedded").class_weights(some, ("a {}",))
