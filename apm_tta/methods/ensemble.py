"""Zero-shot classification with an ensemble of prompts (CLIP, arXiv 2103.00020, section 3.1.4)."""

from __future__ import annotations

from dataclasses import dataclass

from apm_tta.methods.base import register
from apm_tta.methods.parameters import Templates
from apm_tta.methods.presets import Published
from apm_tta.methods.zeroshot import ZeroShot, ZeroShotParameters


@dataclass(frozen=True)
class EnsembleParameters(ZeroShotParameters):
    """Parameters of ``ensemble``.

    Attributes:
        preset: ``published`` is all as in the authors' script; ``suite``.
        templates: CLIP's 80 ImageNet templates, as open_clip ships them.
    """

    templates: Templates = "openai80"


@register
class Ensemble(ZeroShot):
    """Zero-shot classification with the mean embedding of each class over many templates."""

    name = "ensemble"
    summary = "the teacher's prediction with CLIP's 80 templates"
    fast = True
    needs_text = True
    published = Published(
        "openai/CLIP, notebooks/Prompt_Engineering_for_ImageNet.ipynb: its 80 sentences, which the default is"
    )
    Parameters = EnsembleParameters
