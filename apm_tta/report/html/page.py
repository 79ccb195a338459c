"""The page: its content, and the policy that limits what it may do."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from apm_tta.report.caption import caption, notes
from apm_tta.report.html.figures import figures
from apm_tta.report.html.questions import answer_questions
from apm_tta.report.html.samples import Islands, choose_samples
from apm_tta.report.reproduction import reproducing_command
from apm_tta.report.results_table import results_table
from apm_tta.report.run_data import ReportData
from apm_tta.report.sampled_images import MOST
from apm_tta.report.tables import cost_table
from apm_tta.report.trust import trust_table
from apm_tta.system.files import MAKE_ROOM, write_file
from apm_tta.wording import pluralise, visible

HTML_FILE = "report.html"
_FOLDER = Path(__file__).parent


def write_html(data: ReportData, islands: Islands | None = None) -> Path:
    """Write ``report.html`` into the run folder: one file that makes no network request.

    Args:
        data: data of the run.
        islands: additional pictures of the images shown, by condition and id.

    Raises:
        UserError: when the file cannot be written.
    """
    results = data.merged
    gallery = choose_samples(data, MOST, islands)
    script, style = ((_FOLDER / name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    numbers = data.manifest.numbers
    text = _template().render(
        title=data.manifest.title,
        caption=caption(data.manifest, data.sites),
        notes=[note.replace("**", "") for note in notes(data)],
        missing=data.missing,
        questions=answer_questions(data, results),
        table=results_table(results),
        trust=trust_table(data.trust, len(numbers.conditions)),
        cost=cost_table(results, data.manifest),
        figures=figures(data, results),
        gallery=gallery,
        votes=[name for name in data.methods if numbers.methods[name].votes],
        methods=data.methods,
        command=reproducing_command(data),
        own_methods=sorted(numbers.revisions.sources),
        versions=numbers.versions,
        weights=numbers.teacher.weights_sha256,
        fingerprint=numbers.dataset.fingerprint,
        seeds=data.seeds,
        sites=[site.model_dump(mode="json") for site in data.sites.distinct],
        batch_sizes=data.sites.batch_sizes_text(),
        policy=policy,
        script=Markup(script),
        style=Markup(style),
    )
    path = data.run / HTML_FILE
    text += _END.format((len(text.encode()) + len(_END)) / 1e6, gallery.picture_bytes / 1e6)
    write_file(path, text.encode(), MAKE_ROOM)
    return path


_END = (
    '<footer><p class="note">This file: {:.2f} MB; its pictures: {:.2f} MB before base64 encoding. It needs no '
    "network.</p></footer>\n</body>\n</html>\n"
)


@cache
def _template() -> Template:
    """Compile the page's template, once per process."""
    environment = Environment(
        loader=PackageLoader(__package__, "."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["pluralise"] = pluralise
    return environment.get_template("page.html.j2")


def _shown(value: Any) -> Any:
    """Show what a browser would fold or reorder: line breaks and marks of direction in names."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
