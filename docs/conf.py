"""Build the pages as a site: ``tox -e docs``. The source is the repository's root: links work built and unbuilt.

Nothing on a page comes from elsewhere: the theme has no fonts of its own, and sphinx-mathjax-offline brings MathJax.
The pages are Markdown that is read in a repository too; what is written otherwise there is translated here.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parent.parent

project = "apm-tta"
author = "the authors of apm-tta"
project_copyright = author
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx-mathjax-offline",
]
root_doc = "docs/index"
include_patterns = ["docs/**", "results/*.md", "results/*/README.md", "*.md"]
exclude_patterns = ["**/.*", ".*", "build", "dist", "apm_tta", "tests", "docs/pictures"]
html_theme = "furo"
html_title = "apm-tta"
html_theme_options = {"top_of_page_buttons": []}
html_copy_source = False
html_static_path = ["static"]
html_extra_path = ["front"]
html_css_files = ["wide.css"]

# Every reference to a name that ``import apm_tta`` offers has to lead somewhere. Annotations also name classes of inner
# modules, which have no page, and other packages' names, whose inventories would have to come from the network.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!apm_tta\.\w+$).*")]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_use_ivar = True

myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300

# Written out on the front page; every other page below docs/ is listed there by itself.
OTHERS = "<!-- every other page -->"


def translate(app: Sphinx, name: str, source: list[str]) -> None:
    """Write formulas in a line as MyST does, take links off folders, and list the pages that the front page omits."""
    if Path(app.env.doc2path(name)).suffix != ".md":
        return
    text = re.sub(r"\$`([^`]+)`\$", r"$\1$", source[0])
    here = Path(app.env.doc2path(name)).parent
    text = re.sub(r"\[([^\]\n]+)\]\(([^):#\s]+)\)", lambda link: link[1 if (here / link[2]).is_dir() else 0], text)
    if OTHERS in text:
        listed = {f"docs/{page}" for page in re.findall(r"(?m)^(?:.*<)?([\w-]+)>?$", text)}
        found = sorted(page for page in app.env.found_docs if page.startswith("docs/") and page not in listed)
        text = text.replace(OTHERS, "\n".join(f"/{page}" for page in found if page != root_doc))
    source[0] = text


def setup(app: Sphinx) -> None:
    """Connect the translation."""
    app.connect("source-read", translate)
