"""CLIPArTT (arXiv 2405.00754): the encoder adapted to a sentence of the likeliest classes of every image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.nn.functional import normalize

from apm_tta.device_copies import device_copy
from apm_tta.methods.base import Cost, register
from apm_tta.methods.pair_method import PairMethod
from apm_tta.methods.parameter_types import BatchSize, Rate, Steps
from apm_tta.methods.parameters import Templates
from apm_tta.methods.tpt import require_text_tower
from apm_tta.precision import full_precision
from apm_tta.teachers.templates import fill_template

_BETWEEN = " or "
_PROMPTS_AT_ONCE = 256


@dataclass(frozen=True)
class CLIPArTTParameters:
    """Parameters of ``clipartt``. Values are the defaults of the authors' ``configuration.py`` and ``adapt.py``.

    Attributes:
        named: K, classes in the sentence of an image; 3. Of fewer classes, all.
        steps: per batch; 10.
        learning_rate: of Adam; 1e-3.
        batch_size: images that are adapted to together; 128.
        channels_last: whether the adapted copy of a convolutional network has its channels together in memory: often
            quicker, and logits differ by about 1e-3; False.
        templates: of the class weights and of the sentences. The authors' is ``a photo of a {}``, without a full stop.
    """

    named: Annotated[int, Ge(1), Le(1000)] = 3
    steps: Steps = 10
    learning_rate: Rate = 1e-3
    batch_size: BatchSize = 128
    channels_last: bool = False
    templates: Templates = "dataset"


@register
class CLIPArTT(PairMethod[CLIPArTTParameters]):
    r"""Normalisation layers adapted to each batch, each of its images with a sentence that names its likeliest classes.

    .. math:: \theta &\leftarrow \theta - \eta \operatorname{Adam}(\nabla \mathcal L), \qquad
        \mathcal L = -\frac{1}{B} \sum_{ij} q_{ji} \log p_{ij}, \\
        p_i &= \operatorname{softmax}_j (s \, f_i \cdot t_j), \qquad
        q_j = \operatorname{softmax}_i \Bigl( 100 \, \frac{f_j \cdot f_i + t_j \cdot t_i}{2} \Bigr)

    t is the embedding of ``a photo of a A or B or C``, made anew at every step for the K likeliest classes of an image,
    the likeliest first. Everything starts from the teacher again for every batch, so that no state remains, and a
    single image, which is its own only target, is answered as by the teacher. It is ``online`` since the order of the
    stream decides which images are together.

    As in the authors' code, the targets q are differentiated too. The authors adapt LayerNorm, of convolutional
    networks BatchNorm with the statistics of the batch; here all such layers, and Group normalisation.
    """

    name = "clipartt"
    summary = "normalisation layers adapted to a sentence of each image's likeliest classes"
    paper = "arXiv 2405.00754"

    def setup(self) -> None:
        super().setup()
        self.tower = require_text_tower(self.teacher)
        self._refuse_long_sentences()

    def check_teacher(self) -> None:
        super().check_teacher()
        require_text_tower(self.teacher)

    def cost(self) -> Cost:
        steps = self.parameters.steps
        # A sentence that an image has had before is not embedded again.
        sentences = f"at most {steps} sentences of {self.parameters.named} classes through the text tower"
        return Cost(image_forwards=steps + 1, image_backwards=steps, other=sentences)

    def adapt(self, pixels: Tensor) -> None:
        sentences = _Sentences(self)
        for _ in range(self.parameters.steps):
            self.step(pixels, sentences)

    def embed(self, names: Sequence[str]) -> Tensor:
        """Embed names of any classes together, each under all templates: unit rows ``(n, F)``."""
        prompts = self._prompts(names)
        with torch.no_grad(), full_precision(self.teacher.device.type):
            encoded = []
            for start in range(0, len(prompts), _PROMPTS_AT_ONCE):
                tokens = self.tower.tokens(prompts[start : start + _PROMPTS_AT_ONCE])
                encoded.append(self.tower.encode(self.tower.embed(tokens), tokens))
            each = normalize(torch.cat(encoded).float(), dim=-1).unflatten(0, (len(names), -1))
            return normalize(each.mean(1), dim=-1)

    def _prompts(self, names: Sequence[str]) -> list[str]:
        return [fill_template(template, name) for name in names for template in self.templates]

    def _refuse_long_sentences(self) -> None:
        """Refuse classes whose names do not fit into one sentence.

        Raises:
            UserError: when some would be cut off: now, and not when an image first names them. Exit code 2.
        """
        tokens = self.tower.tokens(self.classes)
        lengths = (tokens != tokens[:, -1:]).sum(1)  # without the padding behind them
        longest = lengths.topk(min(self.parameters.named, len(self.classes))).indices.tolist()
        self.tower.tokens(self._prompts([_BETWEEN.join(self.classes[index] for index in longest)]))


class _Sentences:
    """The sentences of a batch, each embedded once."""

    def __init__(self, method: CLIPArTT) -> None:
        self._method = method
        self._rows: dict[tuple[int, ...], int] = {}
        self._embedded = torch.zeros(0)

    def __call__(self, features: Tensor) -> Tensor:
        """Return for each of the features ``(B, F)`` the embedding ``(B, F)`` of a sentence of its nearest classes."""
        method = self._method
        named = min(method.parameters.named, len(method.classes))
        likeliest = [tuple(row) for row in (features @ method.class_weights.T).topk(named).indices.tolist()]
        if new := [row for row in dict.fromkeys(likeliest) if row not in self._rows]:
            made = method.embed([_BETWEEN.join(method.classes[index] for index in row) for row in new])
            self._embedded = torch.cat([self._embedded, made]) if self._rows else made
            self._rows |= {row: len(self._rows) + place for place, row in enumerate(new)}
        return self._embedded[device_copy(torch.tensor([self._rows[row] for row in likeliest]), features.device)]
