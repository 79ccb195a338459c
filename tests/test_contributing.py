"""What is said to contributors is true: files and symbols exist, and hooks, workflow and citation fit the project."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from trove_classifiers import classifiers as known_classifiers

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/architecture.md",
    "docs/your-method.md",
    "docs/your-data-set.md",
    ".github/PULL_REQUEST_TEMPLATE.md",
    ".github/ISSUE_TEMPLATE/addition.md",
]
FOLDERS = ("apm_tta", "tests", "datasets", "benchmarks", "docs", "results", ".ci")

pytestmark = pytest.mark.skipif(
    not (ROOT / "CONTRIBUTING.md").is_file(),
    reason="these files are part of a checkout, not of the source distribution",
)


def read_yaml(name: str) -> Any:
    # "on" is a key of workflows, and true in YAML 1.1.
    return yaml.load((ROOT / name).read_text(encoding="utf-8"), yaml.BaseLoader)


def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def defined(path: Path) -> set[str]:
    """Return the names that a module defines at its top."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


@pytest.mark.parametrize("page", PAGES)
def test_every_file_and_symbol_that_is_named_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    spans = [span for span in re.findall(r"`([^`\n]+)`", text) if span.partition("/")[0] in FOLDERS]
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / page).parent / link).exists(), link
    for span in [span for span in spans if "NAME" not in span]:
        path, _, symbol = span.partition("::")
        assert (ROOT / path).exists(), span
        assert not symbol or symbol in defined(ROOT / path), span
    for line in re.findall(r"^\| `tox -e (\w+)", text, flags=re.MULTILINE):
        assert line in tox_commands(), line


def tox_commands() -> dict[str, list[str]]:
    """Return the commands of every environment of tox."""
    tox = ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    sections = {name.partition(":")[2]: tox[name].get("commands", "") for name in tox.sections() if ":" in name}
    return {name: commands.split("\n") for names, commands in sections.items() for name in names.strip("{}").split(",")}


STAND_IN = """#!{python}
import shlex, subprocess, sys
assert sys.argv[1:] == ["-q", "-e", "lint"], sys.argv
sys.exit(max(subprocess.run([sys.executable, "-m", *shlex.split(line)]).returncode for line in {commands}))
"""


def test_pre_commit_refuses_what_tox_refuses(tmp_path: Path) -> None:
    """Run the hooks themselves, in a repository of their own; a stand-in for tox runs what its file says, from here."""
    for tool in ("pre_commit", "ruff"):
        if subprocess.run([sys.executable, "-m", tool, "--version"], capture_output=True, check=False).returncode:
            pytest.skip(f"{tool} is not installed")
    commands = [line for line in tox_commands()["lint"] if line]
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "tox").write_text(STAND_IN.format(python=sys.executable, commands=commands))
    (tools / "tox").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
    repository = tmp_path / "repository"
    repository.mkdir()
    for name in (".pre-commit-config.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, repository)

    def hooks(content: str) -> int:
        (repository / "module.py").write_text(content)
        subprocess.run(["git", "add", "-A"], cwd=repository, env=environment, check=True)
        command = [sys.executable, "-m", "pre_commit", "run", "--all-files"]
        return subprocess.run(command, cwd=repository, env=environment, capture_output=True, check=False).returncode

    subprocess.run(["git", "init", "-q"], cwd=repository, env=environment, check=True)
    assert hooks("import os\n") == 1
    assert hooks("x  =  1\n") == 1
    assert hooks("x = 1\n") == 0


def test_every_hook_calls_an_environment_of_tox() -> None:
    (repository,) = read_yaml(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local", "nothing is downloaded for a hook"
    for hook in repository["hooks"]:
        words = shlex.split(hook["entry"])
        assert words[:3] == ["tox", "-q", "-e"]
        assert words[3] in tox_commands()


def test_the_workflow_runs_what_has_to_pass_and_nothing_else() -> None:
    workflow = read_yaml(".github/workflows/tests.yml")
    assert {"push", "pull_request"} <= workflow["on"].keys()
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert [command for command in commands if not command.startswith("git config ")] == [".ci/run"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "pip install --quiet tox && tox\n" in script
    version = re.search(r"python:(\d+)\.(\d+)", job["container"])
    assert version
    lowest = project()["requires-python"].removeprefix(">=")
    assert [int(part) for part in version.groups()] >= [int(part) for part in lowest.split(".")]


def test_the_citation_file_is_valid_and_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    # The required keys, and those of other types than text that are used.
    assert all(isinstance(citation[key], str) and citation[key] for key in ("message", "title"))
    assert citation["authors"]
    assert all({"name"} == author.keys() or "family-names" in author for author in citation["authors"])
    assert citation["type"] in ("software", "dataset")
    stated = project()
    assert citation["version"] == stated["version"]
    assert citation["title"] == f"{stated['name']}: {stated['description']}"
    assert citation["license"] == stated["license"].split(" AND ")
    assert citation["keywords"] == stated["keywords"]
    program = (ROOT / "apm_tta" / "papers.bib").read_text(encoding="utf-8")
    assert re.sub(r"[{}]", "", program.partition("title = ")[2].partition(",\n")[0]) == citation["title"]


def test_classifiers_exist_and_no_address_is_made_up() -> None:
    stated = project()
    assert set(stated["classifiers"]) <= set(known_classifiers)
    assert len(stated["classifiers"]) == len(set(stated["classifiers"]))
    assert "urls" not in stated, "the project has no public address yet"


def test_issue_templates_have_what_a_platform_shows() -> None:
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.md"):
        _, head, body = path.read_text(encoding="utf-8").split("---\n", 2)
        assert {"name", "about"} <= yaml.safe_load(head).keys()
        assert body.strip()


def test_every_dependency_has_a_lower_bound() -> None:
    stated = project()
    extras = [line for lines in stated["optional-dependencies"].values() for line in lines]
    for line in [*stated["dependencies"], *extras]:
        assert re.fullmatch(r"[\w-]+>=\d[\w.]*(; .*)?", line), line
