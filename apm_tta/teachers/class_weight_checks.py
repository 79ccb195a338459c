"""What class weights of any source must be, so that every class can be predicted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from torch import Tensor

from apm_tta.data.imagenet_classes import imagenet_rows
from apm_tta.errors import UserError
from apm_tta.teachers.base import Classifier
from apm_tta.wording import pluralise

_log = logging.getLogger(__name__)

# Rounding: the same prompt at another place of a batch may come out this far away.
SAME = 1e-5
# Cosines of single precision above this may be those of equal rows, which their distance then tells.
_SIMILAR = 1 - 1e-5
_ROWS_AT_ONCE, _PAIRS_AT_ONCE = 1024, 2**16
_MAX_NAMED = 3


def check_class_weights(
    name: str,
    classifier: Classifier,
    classes: Sequence[str],
    weights: Tensor,
    tokens: Callable[[Sequence[str]], Tensor] | None = None,
) -> None:
    """Refuse class weights with which some class is never predicted, or every image is classified alike.

    Weights of two classes may be equal because their prompts are, or become so: refused, except that two pairs of
    ImageNet's published names are equal (missile, sunglasses), and that list is followed. Or the teacher knows neither
    of two words, or the checkpoint's head, or the labelled images, have it so: a warning names some of them.

    Args:
        name: the teacher's.
        classifier: where the weights come from.
        classes: names in label order.
        weights: unit rows, ``(C, F)``.
        tokens: of weights from text: takes classes, returns the tokens of a prompt of each.

    Raises:
        UserError: for weights that are not finite or all zeros; for weights of several classes that have the same
            prompts; for those of a head or of prototypes that are equal for all classes. Exit code 2.
    """
    usable = weights.isfinite().all(-1) & (weights.norm(dim=-1) > SAME)
    if not bool(usable.all()):
        first = classes[int((~usable).nonzero()[0])]
        raise UserError(f"teacher {name} has no weights for class {first!r}: they are all zeros, or not finite", 2)
    pairs = equal_rows(weights)
    if not pairs:
        return
    if tokens is None and len(pairs) == len(classes) * (len(classes) - 1) // 2:
        raise UserError(f"teacher {name} has equal weights for all classes: every image would be classified alike", 2)
    same = [] if tokens is None else _with_one_text(pairs, tokens(classes))
    published = imagenet_rows(classes) is not None and all(classes[one] == classes[other] for one, other in same)
    if same and not published:
        raise UserError(
            f"teacher {name} cannot tell apart {_said(same, classes)}: their prompts are equal; give the classes "
            "different names, and templates the place of the name",
            exit_code=2,
        )
    reasons = {
        "these published names are equal": same,
        "it does not know the words" if classifier == "text" else f"its {classifier} has equal weights": (
            [pair for pair in pairs if pair not in set(same)]
        ),
    }
    for reason, alike in reasons.items():
        if alike:
            _log.warning(
                "teacher %s cannot tell apart %s: %s, so that nothing but rounding decides between the two",
                *(name, _said(alike, classes), reason),
            )


def equal_rows(weights: Tensor) -> list[tuple[int, int]]:
    """Return the pairs of unit rows ``(C, F)`` that are equal up to rounding."""
    rows, pairs = weights.detach().float(), []
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        similar = rows[start : start + _ROWS_AT_ONCE] @ rows.T > _SIMILAR
        for candidates in similar.triu(start + 1).nonzero().split(_PAIRS_AT_ONCE):
            one, other = candidates[:, 0] + start, candidates[:, 1]
            same = (rows[one] - rows[other]).norm(dim=1) <= SAME
            pairs += [(int(first), int(second)) for first, second in zip(one[same], other[same], strict=True)]
    return pairs


def _with_one_text(pairs: list[tuple[int, int]], tokens: Tensor) -> list[tuple[int, int]]:
    texts = [tuple(row) for row in tokens.tolist()]
    return [(one, other) for one, other in pairs if texts[one] == texts[other]]


def _said(pairs: list[tuple[int, int]], classes: Sequence[str]) -> str:
    some = [f"{classes[one]!r} and {classes[other]!r} ({one}, {other})" for one, other in pairs[:_MAX_NAMED]]
    others = len(pairs) - len(some)
    return ", ".join(some) + (f" and {pluralise(others, 'pair')} more" if others else "")
