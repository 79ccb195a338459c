"""Learned context vectors of prompts, as CoOp publishes them (arXiv 2109.01134), in place of words before a name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from apm_tta.errors import UserError
from apm_tta.system.files import is_file
from apm_tta.teachers.base import Teacher
from apm_tta.teachers.checkpoints import read_state_dict, refuse_changed, weights_file
from apm_tta.teachers.class_weight_checks import check_class_weights
from apm_tta.teachers.encoding_of import WrappingTeacher
from apm_tta.teachers.text_tower import TextTower

_LEARNER = "prompt_learner."
_VECTORS, _NAMES = "ctx", "token_suffix"
_FIXED = ("token_prefix", _NAMES)
"""Embeddings of tokens around the vectors, for the class names of training; everyone computes them anew."""

_WORD = "X"
_PROMPTS_AT_ONCE = 256
_SAME_WORDS = 1e-2  # between embeddings that were saved in half precision
_OTHER_KINDS = {
    "meta_net": "CoCoOp's, whose prompts are others for every image",
    "compound_prompts": "MaPLe's, whose prompts go into deeper layers of both towers",
}


@dataclass(frozen=True)
class LearnedContext:
    """Vectors that stand before every class name.

    Attributes:
        vectors: ``(n, W)``, or ``(C, n, W)`` where every class has its own.
        names: what stands behind the vectors, as embeddings ``(C, L - 1 - n, W)`` of the class names of training; None
            where the file does not say.
        path: of the file.
    """

    vectors: Tensor
    names: Tensor | None
    path: Path

    @property
    def identity(self) -> str:
        """The number of vectors, and the SHA-256 of their values in single precision."""
        digest = hashlib.sha256(self.vectors.contiguous().numpy().tobytes()).hexdigest()
        count = f"{self.vectors.shape[-2]} vectors before the name"
        return f"{count}{'' if self.vectors.ndim == 2 else ' of each class'}, sha256 {digest}"


def shortened(identity: str) -> str:
    """Return an ``identity`` with the first 12 digits of its digest, as tables state digests."""
    text, _, digest = identity.rpartition(" ")
    return f"{text} {digest[:12]}".strip()


def placeholder(vectors: Tensor) -> str:
    """Return words of one token each, as many as there are vectors ``(..., n, W)``."""
    return " ".join([_WORD] * vectors.shape[-2])


def read_context(path: Path) -> LearnedContext:
    """Read the context vectors of a checkpoint: ``ctx`` or ``prompt_learner.ctx``, and nothing else that is learned.

    Raises:
        UserError: when there is no such file, it is no such checkpoint, or holds prompts of another kind. Exit code 2.
    """
    if not is_file(path):
        raise UserError(f"prompts {path}: there is no such file; give a checkpoint as CoOp writes it", exit_code=2)
    weights = weights_file(path)
    state = {name.removeprefix(_LEARNER): value for name, value in read_state_dict(weights, training=True).items()}
    for part, kind in _OTHER_KINDS.items():
        if any(part in name for name in state):
            raise UserError(f"prompts {path} are {kind}: class weights cannot be made of them; give CoOp's", 2)
    if _VECTORS not in state:
        raise UserError(f"prompts {path} have no {_VECTORS}; their first tensor is {next(iter(state))}", 2)
    if others := [name for name in state if name not in (_VECTORS, *_FIXED)]:
        raise UserError(f"prompts {path} hold more than context vectors, such as {others[0]}; give CoOp's", 2)
    vectors = state[_VECTORS].detach().clone()
    if vectors.ndim not in (2, 3) or not vectors.is_floating_point() or not bool(vectors.isfinite().all()):
        raise UserError(
            f"prompts {path} have no finite vectors (n, W) or (C, n, W), but {tuple(vectors.shape)}", exit_code=2
        )
    refuse_changed(weights)
    return LearnedContext(vectors.float(), state.get(_NAMES), path)


class PromptedTeacher(WrappingTeacher):
    """A teacher whose class weights come from learned prompts; everything else is the wrapped one's.

    A prompt is the vectors, the class name and a full stop, as in CoOp with the class at the end. Templates are
    ignored.

    Raises:
        UserError: when the teacher has no text tower, or one of another width. Exit code 2.
    """

    def __init__(self, teacher: Teacher, context: LearnedContext) -> None:
        if teacher.classifier != "text":
            raise UserError(
                f"prompts {context.path} need a text tower; the class weights of teacher {teacher.name} come from its "
                f"{teacher.classifier}",
                exit_code=2,
            )
        super().__init__(teacher, {"prompts": context.identity})
        self.classifier = "prompts"
        self._context = context
        self._computed: dict[tuple[str, ...], Tensor] = {}
        width, own = context.vectors.shape[-1], self._tower.width
        if width != own:
            raise UserError(
                f"prompts {context.path} are of width {width}; the text tower of teacher {teacher.name} has {own}", 2
            )

    @property
    def learned_context(self) -> Tensor:
        """The vectors; see ``Teacher.learned_context``."""
        return self._context.vectors.to(self.device)

    @property
    def _tower(self) -> TextTower:
        tower = self._teacher.text_tower
        assert tower is not None, "class weights come from it"
        return tower

    def class_weights(self, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
        """Return the embeddings of the learned prompts, unit rows ``(C, F)``. Templates are ignored.

        Raises:
            UserError: when the vectors are those of other classes, or a prompt is too long. Exit code 2.
        """
        key = tuple(classes)
        if key not in self._computed:
            with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
                found = self._compute(key)
            check_class_weights(self.name, "prompts", key, found)
            self._computed[key] = found
        return self._computed[key]

    def _compute(self, classes: tuple[str, ...]) -> Tensor:
        tower, vectors = self._tower, self.learned_context
        words = placeholder(vectors)
        prompts = [f"{words} {name}." for name in classes]
        empty, alone = tower.tokens(["", words])
        start, stop = int((empty != alone).nonzero()[0]), int((empty != alone).nonzero()[0]) + vectors.shape[-2]
        if bool((alone[start:stop] != alone[start]).any()):
            raise UserError(f"the tokenizer of teacher {self.name} has no room for learned prompts of this length", 2)
        if vectors.ndim == 3:
            self._refuse_other_classes(tower.embed(tower.tokens(prompts))[:, stop:], len(classes))
        encoded = []
        for first in range(0, len(prompts), _PROMPTS_AT_ONCE):
            tokens = tower.tokens(prompts[first : first + _PROMPTS_AT_ONCE])
            embedded = tower.embed(tokens).clone()
            embedded[:, start:stop] = vectors if vectors.ndim == 2 else vectors[first : first + len(tokens)]
            encoded.append(tower.encode(embedded, tokens))
        return normalize(torch.cat(encoded), dim=-1)

    def _refuse_other_classes(self, names: Tensor, count: int) -> None:
        """Refuse vectors of each class that are not known to be those of these classes, in this order.

        Args:
            names: embeddings behind the vectors, of our prompts, ``(C, L - stop, W)``.
            count: C.
        """
        context = self._context
        stated = f"prompts {context.path} have vectors of their own for each of {len(context.vectors)} classes"
        if len(context.vectors) != count:
            raise UserError(f"{stated}; the data set has {count}", exit_code=2)
        if context.names is None:
            raise UserError(f"{stated}, and do not say which these are ({_NAMES})", exit_code=2)
        theirs = context.names.to(names).float()
        if theirs.shape != names.shape or (theirs - names).abs().amax() > _SAME_WORDS:
            raise UserError(f"{stated}, which are not those of the data set, in its order", exit_code=2)
