"""Other sentences: one instead of many, CLIP's 80, the data set's own, the bare class name."""

from __future__ import annotations

from dataclasses import replace

from apm_tta.report.published_rows import TEMPLATES as FILES
from apm_tta.teachers import TEMPLATES, read_templates
from apm_tta.verification.causes.base import CAUSES, Attempt, need_text
from apm_tta.verification.setup import Case
from apm_tta.wording import pluralise


@CAUSES.register("templates")
def templates(case: Case) -> list[Attempt]:
    """Try every list of sentences that the package has, each without its full stops, and none."""
    need_text(case)
    lists = {"the data set's own": (case.dataset.template,), **TEMPLATES}
    lists |= {file.name: read_templates(str(file), "") for file in sorted(FILES.glob("*.txt"))}
    attempts = [Attempt("no template: the bare class names", replace(case.start, templates=("{}",)))]
    for name, sentences in lists.items():
        number = repr(sentences[0]) if len(sentences) == 1 else pluralise(len(sentences), "template")
        attempts.append(Attempt(f"{number} ({name})", replace(case.start, templates=sentences)))
    if any(sentence.endswith(".") for sentence in case.start.templates):
        bare = tuple(sentence.removesuffix(".") for sentence in case.start.templates)
        attempts.append(Attempt("the same templates without full stops", replace(case.start, templates=bare)))
    return attempts
