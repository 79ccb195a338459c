"""DMN (arXiv 2403.17589): a memory of the stream's images per class, read by each image for itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.nn.functional import normalize

from apm_tta.methods.base import Cost, Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.confident import in_full_precision, number_kept, select
from apm_tta.methods.data_defaults import by_family
from apm_tta.methods.parameter_types import Share, Views, Weight
from apm_tta.methods.parameters import Templates
from apm_tta.methods.view_method import ViewMethod
from apm_tta.methods.views import ViewSpec

# Added to probabilities before their logarithm, where views are selected and where a memory is filled (authors' code).
_VIEW_FLOOR, _MEMORY_FLOOR = 1e-6, 1e-8


@dataclass(frozen=True)
class DMNParameters:
    """Parameters of ``dmn``.

    Attributes:
        views: N, the evaluation crop included; 32 (the authors' ``scripts/run.sh``).
        share: of the views, those of lowest entropy, whose mean probability decides where an image is kept; 0.1
            (``scripts/run.sh``), at least one view.
        augmix: whether to apply AugMix to views; only for the fine-grained sets, as in the code that theirs builds on.
        memory_size: images per class; 50 (``dmn_main.py``).
        beta: how fast an entry's influence falls with its distance; 5.5 (``dmn_main.py``).
        memory_weight: of what the memory predicts, beside the text's prediction of weight 1; 1. The authors choose it
            among 13 values by accuracy on the test labels, which is no setting here.
        templates: of the class weights.
    """

    views: Views = 32
    share: Share = 0.1
    augmix: bool = by_family(False, {"fine-grained": True})
    memory_size: Annotated[int, Ge(1), Le(1000)] = 50
    beta: Weight = 5.5
    memory_weight: Weight = 1.0
    templates: Templates = "dataset"


@register
class DMN(ViewMethod[DMNParameters]):
    r"""The teacher's probabilities and those by what a memory of the stream makes of each class for this very image.

    .. math:: p(c) \propto \operatorname{softmax}_c (s f \cdot t_c) + \lambda \operatorname{softmax}_c \Bigl(
        s f \cdot \frac{m_c}{\lVert m_c \rVert} \Bigr), \qquad
        m_c = \sum_{k \in M_c \cup \{ t_c \}} e^{-\beta (1 - f \cdot k)} \, k

    M_c has the images of lowest entropy that were taken for class c by their confident views; of each, its evaluation
    crop is kept. An image enters before it is answered. The static memory of the paper needs labelled images, and is
    not used: this is DMN-ZS.
    """

    name = "dmn"
    protocol = "online"
    summary = "a memory of the stream's images per class, read by each image for itself"
    paper = "arXiv 2403.17589"
    keeps = "at most 50 embeddings per class"
    adapts = "a memory of embeddings"

    def setup(self) -> None:
        self.spec = ViewSpec(self.parameters.views, self.crop_scale, self.parameters.augmix)
        self.reset()

    def reset(self) -> None:
        self.memory_of = StreamMemory(self.class_weights, self.parameters)

    def cost(self) -> Cost:
        return Cost(image_forwards=self.spec.count, other="products with the filled memory")

    def predict(self, batch: Batch) -> Predictions:
        views, scales = self.unit_views(batch)
        text, remembered = self.memory_of.stream(views, scales)
        fused = text + self.parameters.memory_weight * remembered
        return Predictions(fused.clamp_min(torch.finfo(fused.dtype).tiny).log())


class StreamMemory:
    """Per class, the embeddings of the images of lowest entropy.

    Args:
        class_weights: unit rows, ``(C, F)``.
        parameters: see ``DMNParameters``.

    Attributes:
        slots: by class, entropy and row of every entry.
        keys: the entries' rows, ``(R, F)``.
    """

    def __init__(self, class_weights: Tensor, parameters: DMNParameters | None = None) -> None:
        self.parameters = parameters or DMNParameters()
        self._class_weights = class_weights
        self.slots: dict[int, list[tuple[float, int]]] = {}
        self.keys = class_weights.new_zeros(0, class_weights.shape[1])
        self._classes = torch.zeros(0, dtype=torch.long, device=class_weights.device)
        self._filled = 0

    @in_full_precision
    def stream(self, views: Tensor, logit_scale: Tensor | float) -> tuple[Tensor, Tensor]:
        """Let images enter and answer them, one after another.

        Args:
            views: unit rows, ``(B, N, F)``.
            logit_scale: one for all, or ``(B, N, 1)``.

        Returns:
            Probabilities by the text and by the memory, ``(B, C)`` each.
        """
        scales = torch.as_tensor(logit_scale, dtype=views.dtype, device=views.device).expand(*views.shape[:2], 1)
        probabilities = (scales * views @ self._class_weights.T).softmax(-1)
        entropies = -(probabilities * (probabilities + _VIEW_FLOOR).log()).sum(-1)
        kept = entropies.argsort(dim=-1, stable=True)[:, : number_kept(views.shape[1], self.parameters.share)]
        mean = select(probabilities, kept).mean(1)
        unsure = -(mean * (mean + _MEMORY_FLOOR).log()).sum(-1)
        # Both in one table, so that a GPU is waited for once; float64 holds either exactly.
        table = torch.stack([mean.argmax(-1).double(), unsure.double()], dim=-1).tolist()
        remembered = []
        for feature, scale, (predicted, entropy) in zip(views[:, 0], scales[:, 0], table, strict=True):
            self._enter(feature, int(predicted), entropy)
            remembered.append((scale * self._read(feature)).softmax(-1))
        return probabilities[:, 0], torch.stack(remembered)

    def _enter(self, feature: Tensor, predicted: int, entropy: float) -> None:
        """Keep an embedding where its class has room, or an entry of higher entropy than its own."""
        own = self.slots.setdefault(predicted, [])
        if len(own) < self.parameters.memory_size:
            row, self._filled = self._filled, self._filled + 1
            self._make_room()
            own.append((entropy, row))
            self._classes[row] = predicted
        else:
            slot = max(range(len(own)), key=lambda index: own[index][0])
            if not entropy < own[slot][0]:
                return
            row = own[slot][1]
            own[slot] = (entropy, row)
        self.keys[row] = feature

    def _make_room(self) -> None:
        if self._filled > len(self.keys):
            more = max(64, len(self.keys))
            self.keys = torch.cat([self.keys, self.keys.new_zeros(more, self.keys.shape[1])])
            self._classes = torch.cat([self._classes, self._classes.new_zeros(more)])

    def _read(self, feature: Tensor) -> Tensor:
        """Compute the cosine of an image ``(F,)`` and what the memory makes of each class for it, ``(C,)``."""
        keys, beta = self.keys[: self._filled], self.parameters.beta
        to_text = self._class_weights @ feature
        sums = (beta * (to_text - 1)).exp()[:, None] * self._class_weights
        weighted = (beta * (keys @ feature - 1)).exp()[:, None] * keys
        sums = sums.index_add(0, self._classes[: self._filled], weighted)
        cosines: Tensor = normalize(sums, dim=-1) @ feature
        return cosines
