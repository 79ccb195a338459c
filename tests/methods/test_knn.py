from __future__ import annotations

import pytest

from apm_tta.data.cards import load_card
from apm_tta.data.task import Task
from apm_tta.errors import UserError
from apm_tta.methods import METHODS, build_parameters
from apm_tta.teachers import Teacher

TASK = Task(load_card("fashion-mnist").class_list.names)


def test_a_teacher_without_labelled_images_is_refused(embedded_teacher: Teacher) -> None:
    with pytest.raises(UserError, match="give --support FOLDER") as refused:
        METHODS.get("knn")(embedded_teacher, TASK, build_parameters("knn", {}), 0)
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("settings", [{"neighbours": 0}, {"temperature": 0}])
def test_values_that_mean_nothing_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(settings))):
        build_parameters("knn", settings)
