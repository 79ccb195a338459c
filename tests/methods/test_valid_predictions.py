"""What a method returns is validated whole, with the method's name in the message."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from apm_tta.errors import UserError
from apm_tta.methods import Predictions
from apm_tta.methods.valid_predictions import validated

IDS, CLASSES = ("a", "b"), 3
LOGITS = torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]])
ENDING_RIGHT = torch.tensor([[0, 1], [2, 0]])
REAL = torch.zeros(2, 2)


def with_value(row: int, value: float, like: torch.Tensor = REAL) -> torch.Tensor:
    changed = like.clone()
    changed[row, -1] = value
    return changed


@pytest.mark.parametrize(
    ("answered", "message"),
    [
        (None, "None, not Predictions(logits)"),
        (LOGITS, "torch.Tensor, not Predictions(logits)"),
        ((LOGITS,), "tuple, not Predictions(logits)"),
        (Predictions(None), "logits of type None, not a tensor"),  # type: ignore[arg-type]
        (Predictions(LOGITS.tolist()), "logits of type list, not a tensor"),  # type: ignore[arg-type]
        (Predictions(LOGITS.numpy()), "logits of type numpy.ndarray, not a tensor"),  # type: ignore[arg-type]
        (Predictions(np.float64(3)), "logits of type numpy.float64, not a tensor"),  # type: ignore[arg-type]
        (Predictions(LOGITS.long()), "logits of torch.int64; they must be floating-point numbers"),
        (Predictions(LOGITS > 0), "logits of torch.bool; they must be floating-point numbers"),
        (Predictions(LOGITS.to(torch.complex64)), "logits of torch.complex64; they must be floating-point numbers"),
        (Predictions(LOGITS.to("meta")), "logits as a tensor of meta"),
        (Predictions(LOGITS.to_sparse()), "logits as a tensor of cpu with layout torch.sparse_coo"),
        (Predictions(LOGITS[:1]), "logits of shape (1, 3), not (2, 3)"),
        (Predictions(LOGITS[:, :2]), "logits of shape (2, 2), not (2, 3)"),
        (Predictions(LOGITS[0]), "logits of shape (3,), not (2, 3)"),
        (Predictions(LOGITS[..., None]), "logits of shape (2, 3, 1), not (2, 3)"),
        (Predictions(with_value(1, float("nan"), LOGITS)), "logits that are not finite, first for image b"),
        (Predictions(with_value(0, float("-inf"), LOGITS)), "logits that are not finite, first for image a"),
        (Predictions(with_value(1, 1e300, LOGITS.double())), "logits that are not finite, first for image b"),
        (Predictions(LOGITS, ENDING_RIGHT.float()), "iteration_classes of torch.float32; they must be integers"),
        (Predictions(LOGITS, ENDING_RIGHT > 0), "iteration_classes of torch.bool; they must be integers"),
        (Predictions(LOGITS, ENDING_RIGHT.tolist()), "iteration_classes of type list"),  # type: ignore[arg-type]
        (Predictions(LOGITS, ENDING_RIGHT[0]), "iteration_classes of shape (2,), not (2, 1)"),
        (Predictions(LOGITS, ENDING_RIGHT[:, :0]), "iteration_classes of shape (2, 0), not (2, 1)"),
        (
            Predictions(LOGITS, ENDING_RIGHT + 1),
            "iteration_classes that are not classes from 0 to 2, first for image b",
        ),
        (
            Predictions(LOGITS, ENDING_RIGHT - 1),
            "iteration_classes that are not classes from 0 to 2, first for image a",
        ),
        (
            Predictions(LOGITS, ENDING_RIGHT.flip(1)),
            "iteration_classes that end in another class than its highest logit",
        ),
        (Predictions(LOGITS, ENDING_RIGHT, REAL[:, :1]), "losses of shape (2, 1), not (2, 2)"),
        (Predictions(LOGITS, losses=REAL, cosines=torch.zeros(2, 3)), "cosines of shape (2, 3), not (2, 2)"),
        (Predictions(LOGITS, losses=REAL[:1]), "losses of shape (1, 2), not (2, 2)"),
        (Predictions(LOGITS, losses=REAL.long()), "losses of torch.int64"),
        (Predictions(LOGITS, losses=0.5), "losses of type float"),  # type: ignore[arg-type]
        (Predictions(LOGITS, losses=with_value(1, float("inf"))), "losses that are not finite, first for image b"),
        (Predictions(LOGITS, cosines=with_value(1, float("nan"))), "cosines that are not finite, first for image b"),
        (Predictions(LOGITS, cosines=with_value(0, 1.5)), "cosines beyond 1, first for image a"),
        (Predictions(LOGITS, cosines=with_value(1, -1.5)), "cosines beyond 1, first for image b"),
        (Predictions(LOGITS, target_classes=torch.tensor([0, 3])), "target_classes that are not classes from 0 to 2"),
        (Predictions(LOGITS, target_classes=torch.tensor([-1, 0])), "target_classes that are not classes from 0 to 2"),
        (Predictions(LOGITS, target_classes=torch.zeros(2)), "target_classes of torch.float32; they must be integers"),
        (Predictions(LOGITS, target_classes=ENDING_RIGHT), "target_classes of shape (2, 2), not (2,)"),
    ],
)
def test_what_would_become_a_wrong_number_is_refused(answered: Any, message: str) -> None:
    with pytest.raises(UserError) as refused:
        validated(answered, "sample", IDS, CLASSES)
    assert str(refused.value).startswith(f"method sample answered {message}")
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 1


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_what_is_valid_is_kept_in_the_types_of_the_records(kind: torch.dtype) -> None:
    """In memory of its own, without a gradient; a cosine may be past 1 by what bfloat16 rounds."""
    logits = LOGITS.clone().to(kind).requires_grad_()
    answered = Predictions(
        logits, ENDING_RIGHT.to(torch.uint8), REAL.to(kind), REAL.to(kind) + 1.004, ENDING_RIGHT[:, 0]
    )
    kept, _ = validated(answered, "sample", IDS, CLASSES)
    assert kept.logits.dtype == torch.float32
    assert not kept.logits.requires_grad
    assert kept.iteration_classes is not None
    assert kept.iteration_classes.dtype == torch.int64
    with torch.no_grad():
        logits.zero_()
    assert torch.equal(kept.logits, LOGITS)


def test_either_of_two_equal_classes_may_be_the_last() -> None:
    """Two logits that only float64 tells apart are equal in the records."""
    logits = torch.tensor([[1.0, 1.0 + 1e-12, 0.0]], dtype=torch.float64)
    for last in (0, 1):
        validated(Predictions(logits, torch.tensor([[last]])), "sample", ("a",), CLASSES)


def test_no_images_have_no_wrong_answers() -> None:
    assert (
        len(validated(Predictions(torch.empty(0, 3), torch.empty(0, 2).long()), "sample", (), CLASSES)[0].logits) == 0
    )
