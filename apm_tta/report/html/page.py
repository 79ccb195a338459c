"""The page: what stands on it, and what it may do."""

from __future__ import annotations

import base64
import hashlib
import shlex
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from apm_tta.report.caption import caption, notes
from apm_tta.report.data import ReportData
from apm_tta.report.html.figures import figures
from apm_tta.report.html.questions import answers
from apm_tta.report.html.samples import RULE, choose_samples
from apm_tta.report.results import over_seeds
from apm_tta.report.tables import cost_table, results_table
from apm_tta.report.text import write_text

HTML_FILE = "report.html"
SAMPLES = 60
_FOLDER = Path(__file__).parent


def write_html(data: ReportData, samples: int = SAMPLES) -> Path:
    """Writes ``report.html`` into the run folder.

    Args:
        data: of the run.
        samples: images that are shown, at most.

    Raises:
        UserError: when it cannot be written.
    """
    results = over_seeds(data.results)
    shown, why = choose_samples(data, samples)
    environment = Environment(loader=PackageLoader(__package__, "."), autoescape=True, undefined=StrictUndefined)
    script, style = ((_FOLDER / name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    text = environment.get_template("page.html.j2").render(
        title=data.manifest["title"],
        caption=caption(data.manifest),
        notes=notes(data.manifest, data.damaged),
        missing=data.missing,
        answers=answers(data, results),
        table=results_table(results),
        cost=cost_table(results, data.manifest),
        figures=figures(data, results),
        samples=shown,
        sample_rule=RULE,
        no_pictures=why,
        votes=[name for name in data.methods if data.manifest["numbers"]["methods"][name].get("votes")],
        methods=data.methods,
        conditions=list(dict.fromkeys(sample.condition for sample in shown)),
        command=" ".join(shlex.quote(word) for word in data.manifest.get("command", [])),
        versions=data.manifest["numbers"]["versions"],
        weights=data.manifest["numbers"]["teacher"]["weights_sha256"],
        fingerprint=data.manifest["numbers"]["dataset"]["fingerprint"],
        places=[data.manifest["environment"], *data.manifest.get("also_computed_on", [])],
        policy=policy,
        script=Markup(script),
        style=Markup(style),
    )
    path = data.run / HTML_FILE
    write_text(path, text)
    return path


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
