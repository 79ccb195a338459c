"""What a row is to be compared with where its prompts are not those of zeroshot."""

from __future__ import annotations

from apm_tta.harness.storage.manifest import Numbers
from apm_tta.method_rows import method_of
from apm_tta.report.cell_answers import Answers

ZEROSHOT = "zeroshot"
_TEACHER_ALONE = (ZEROSHOT, "ensemble")
"""Rows that are the teacher's own answers, under their prompts."""


def beside(answers: Answers, numbers: Numbers) -> str:
    """Name the row of the teacher alone that has the prompts of these answers; empty where it is zeroshot, or this one.

    Where no row has them, it is the teacher's top-1 under the row's own templates, if these are what it began with.
    """
    method, methods = answers.cell["method"], numbers.methods
    if numbers.teacher.classifier != "text" or ZEROSHOT not in methods or method_of(method) in _TEACHER_ALONE:
        return ""
    own = methods[method]
    for name in (ZEROSHOT, *(row for row in methods if method_of(row) in _TEACHER_ALONE)):
        if methods[name].first_prompts == own.first_prompts:
            return "" if name == ZEROSHOT else name
    if own.prompts or not len(answers):
        return "no row has its prompts"
    right = answers.hits(answers.teacher_prediction).mean()
    return f"its teacher alone, {100 * float(right):.1f} %"
