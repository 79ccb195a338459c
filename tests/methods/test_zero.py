from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from apm_tta.data.cards import load_card
from apm_tta.data.task import Task
from apm_tta.methods import METHODS, Batch, build_parameters
from apm_tta.methods.confident import entropy
from apm_tta.methods.zero import count_votes, from_features
from apm_tta.teachers import Teacher

TASK = Task(load_card("fashion-mnist").class_list.names, crop_scale=(0.5, 1.0))
# Integer logits: entropies are then equal only if they are equal in exact arithmetic.
LOGITS = arrays(np.float64, (10, 4), elements=st.integers(-9, 9))


@pytest.mark.vectors("method_vectors/views_seed*.npz")
def test_votes_are_those_of_the_authors_code_ties_included(vectors: dict[str, np.ndarray]) -> None:
    views, weights = torch.tensor(vectors["views"]), torch.tensor(vectors["class_weights"])
    scale, expected = float(vectors["logit_scale"]), torch.tensor(vectors["zero_votes"])
    assert (expected.sum(1) == 20).any(), "no tie among the vectors"
    logits = scale * views @ weights.T
    assert torch.equal(count_votes(logits), expected)
    assert torch.equal(torch.stack([count_votes(one) for one in logits]), expected)
    answers = from_features(views, weights, scale)
    torch.testing.assert_close(answers, expected, rtol=0, atol=2e-5)
    assert torch.equal(answers.argmax(1), expected.argmax(1))


def views_of(*predicted: tuple[int, float], classes: int = 3) -> torch.Tensor:
    """Make one view for each pair (class, confidence)."""
    logits = torch.zeros(len(predicted), classes)
    for row, (index, confidence) in zip(logits, predicted, strict=True):
        row[index] = confidence
    return logits


@pytest.mark.parametrize(
    ("views", "share", "expected"),
    [
        ([(0, 9), (0, 8), (1, 7), (2, 1), (2, 1), (2, 1)], 0.5, [2, 1, 0]),
        ([(0, 9), (1, 8), (2, 3), (1, 2)], 0.5, [1, 2, 0]),
        # In order of confidence, not of the views: the last view is more confident than the one before it.
        ([(0, 9), (1, 8), (0, 2), (1, 3)], 0.5, [1, 2, 0]),
        ([(0, 2), (1, 3), (0, 9), (1, 8)], 0.5, [1, 2, 0]),
        # A remaining view that predicts no tied class is skipped.
        ([(0, 9), (1, 8), (2, 7), (2, 6), (0, 5), (1, 4)], 1 / 3, [2, 1, 0]),
        # Three classes tie.
        ([(0, 9), (1, 8), (2, 7), (2, 3), (1, 2), (0, 1)], 0.5, [1, 1, 2]),
    ],
)
def test_a_tie_goes_to_the_first_tied_class_that_the_remaining_views_predict(
    views: list[tuple[int, float]], share: float, expected: list[float]
) -> None:
    assert count_votes(views_of(*views), share).tolist() == expected


def test_a_tie_that_no_remaining_view_breaks_is_decided_by_the_most_confident_of_them() -> None:
    logits = torch.tensor([[9.0, 0, 0, 0], [0, 8.0, 0, 0], [0, 1.0, 6.0, 0], [2.0, 0, 0, 5.0]])
    assert count_votes(logits, 0.5).tolist() == [1, 2, 0, 0]


def test_a_tie_among_all_views_goes_to_the_class_of_the_most_confident() -> None:
    assert count_votes(views_of((1, 5), (0, 9)), 1.0).tolist() == [2, 1, 0]
    assert count_votes(views_of((1, 5)), 0.3).tolist() == [0, 1, 0]


@given(LOGITS, st.sampled_from([0.1, 0.3, 0.5, 0.9, 1.0]))
def test_every_kept_view_has_one_vote_and_one_class_wins(logits: np.ndarray, share: float) -> None:
    counts = count_votes(torch.tensor(logits), share)
    kept = max(1, int(10 * share))
    assert counts.sum() in (kept, kept + 1)
    assert (counts == counts.max()).sum() == 1
    # The extra vote is that of a tie.
    first = torch.tensor(logits)[entropy(torch.tensor(logits)).argsort(stable=True)[:kept]].argmax(1)
    plain = torch.bincount(first, minlength=4)
    assert ((plain == plain.max()).sum() > 1) == (counts.sum() == kept + 1)
    assert (counts - plain).max() == counts.sum() - kept


@given(LOGITS, st.permutations(range(10)))
def test_the_order_of_views_that_differ_in_confidence_does_not_matter(logits: np.ndarray, order: list[int]) -> None:
    values = torch.tensor(logits) + 0.01 * torch.arange(10)[:, None] * torch.tensor([1.0, 0.3, 0.2, 0.7])
    if entropy(values).sort().values.diff().min() > 1e-9:
        assert torch.equal(count_votes(values[order]), count_votes(values))


@pytest.mark.vectors("method_vectors/views_seed*.npz")
def test_classes_of_equal_votes_are_ranked_by_mean_probability_far_below_a_vote(vectors: dict[str, np.ndarray]) -> None:
    views, weights = (torch.tensor(vectors[name], dtype=torch.float64) for name in ("views", "class_weights"))
    for one in views[:10]:
        logits = 100 * one @ weights.T
        kept = logits[entropy(logits).argsort()[:19]]
        likely = kept.softmax(1).mean(0)
        expected = sorted(range(10), key=lambda index: (-float(count_votes(logits)[index]), -float(likely[index])))
        assert from_features(one, weights, 100.0).argsort(descending=True).tolist() == expected


def test_on_real_images_a_batch_equals_one_at_a_time(embedded_teacher: Teacher, embedded_batch: Batch) -> None:
    method = METHODS.get("zero")(embedded_teacher, TASK, build_parameters("zero", {"views": 16}), 0)
    with torch.no_grad():
        together = method.predict(embedded_batch).logits
        alone = [
            method.predict(Batch((name,), (image,))).logits
            for name, image in zip(embedded_batch.ids[:3], embedded_batch.images, strict=False)
        ]
    assert together.isfinite().all()
    assert set(together.round().sum(1).tolist()) <= {4.0, 5.0}
    torch.testing.assert_close(torch.cat(alone), together[:3], rtol=0, atol=2e-3)
    assert method.cost().image_forwards == 16
    assert method.resolved_parameters() == {"crop_scale": [0.5, 1.0]}
