"""Nearest neighbours among labelled images, as DINO (arXiv 2104.14294) evaluates features."""

from __future__ import annotations

from dataclasses import dataclass

from apm_tta.errors import UserError
from apm_tta.methods.base import Method, Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.parameter_types import Entries, Scale
from apm_tta.methods.parameters import Templates
from apm_tta.methods.presets import Preset, Published
from apm_tta.teachers import Teacher
from apm_tta.teachers.base import Support
from apm_tta.teachers.support_features import knn_logits


@dataclass(frozen=True)
class NearestNeighboursParameters:
    """Parameters of ``knn``.

    Attributes:
        neighbours: number of neighbours that vote; 20 (the authors' ``eval_knn.py`` tries 10, 20, 100 and 200; 20
            usually works best).
        temperature: of the votes' weights; 0.07 (the authors' ``eval_knn.py``).
        preset: ``published`` is all as in the authors' script; ``suite``.
        templates: of the teacher's own prediction, which ``agreement`` compares with; no neighbour is found by it.
    """

    neighbours: Entries = 20
    temperature: Scale = 0.07
    preset: Preset = "suite"
    templates: Templates = "dataset"


@register
class NearestNeighbours(Method[NearestNeighboursParameters]):
    r"""A vote of the nearest labelled images, where nearer ones count more.

    .. math:: v_c = \sum_{i \in N_k(f)} [y_i = c] \, \exp \Bigl( \frac{f \cdot f_i}
        {\lVert f \rVert \lVert f_i \rVert \tau} \Bigr)

    N_k(f) are the k images of the support nearest to f by cosine.
    """

    name = "knn"
    protocol = "episodic"
    summary = "vote of the nearest labelled images (needs --support)"
    fast = True
    paper = "arXiv 2104.14294"
    adapts = "nothing"
    knows = "labelled images"
    published = Published(
        "facebookresearch/dino, eval_knn.py: 20 neighbours and temperature 0.07, which the defaults are"
    )
    votes = True

    def check_teacher(self) -> None:
        require_support(self.teacher)

    def setup(self) -> None:
        self.support = require_support(self.teacher)

    def predict(self, batch: Batch) -> Predictions:
        chosen, features = self.parameters, self.features(batch)
        return Predictions(knn_logits(features, self.support, chosen.neighbours, chosen.temperature, len(self.classes)))


def require_support(teacher: Teacher) -> Support:
    """Return the labelled images of ``teacher``.

    Raises:
        UserError: when there are none. Exit code 2.
    """
    if teacher.support is None:
        raise UserError(
            "method knn needs labelled images: give --support FOLDER, with one folder per class", exit_code=2
        )
    return teacher.support
