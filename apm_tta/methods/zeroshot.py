"""Zero-shot classification (CLIP, arXiv 2103.00020, section 3.1): no adaptation at all."""

from __future__ import annotations

from dataclasses import dataclass

from apm_tta.methods.base import Method, Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.parameters import Templates
from apm_tta.methods.presets import Preset, Published


@dataclass(frozen=True)
class ZeroShotParameters:
    """Parameters of ``zeroshot``.

    Attributes:
        preset: ``published`` is all as in the authors' script; ``suite``.
        templates: the data set's own prompt: "a photo of a {}." for ImageNet, CoOp's for the fine-grained sets, as in
            the baselines of TPT (arXiv 2209.07511).
    """

    preset: Preset = "suite"
    templates: Templates = "dataset"


@register
class ZeroShot(Method[ZeroShotParameters]):
    r"""Classification by the class weight that is nearest to the image embedding.

    .. math:: \ell_c = s \cdot \frac{f \cdot w_c}{\lVert f \rVert}
    """

    name = "zeroshot"
    protocol = "episodic"
    summary = "the teacher's prediction with one template"
    fast = True
    paper = "arXiv 2103.00020"
    adapts = "nothing"
    published = Published(
        "CoOp's trainers/zsclip.py (arXiv 2109.01134): one sentence per data set, which the default is"
    )

    def predict(self, batch: Batch) -> Predictions:
        return Predictions(self.logits(self.features(batch)))
